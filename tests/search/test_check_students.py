"""Which networks train a step before a search, what is kept of it, and that all faults are told at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from autokd.config.search_space import load_space
from autokd.errors import AutokdError, Faults
from autokd.models import origin as origin_room
from autokd.search.check_students import check_students

CARD = SimpleNamespace(classes=10, channels=1, size=8, height=8, width=8)


def space(*students, **more):
    return load_space({"name": "x", "data": {"name": "digits"}, "students": list(students), "space": {"method": "ce"}, **more})


class Step:
    """Stands for the training step: what it was asked, and what it says of some."""

    def __init__(self, notes=(), **faults):
        self.asked, self.notes, self.faults = [], notes, faults

    def __call__(self, name, *, label, **image):
        self.asked.append(label)
        for word, what in self.faults.items():
            if word in name:
                raise AutokdError(what)
        return tuple(f"{label}: {note}" for note in self.notes)


def ask(made, path, step, **more):
    return check_students(made, CARD, code=more.pop("code", "a"), path=path / "kept.json", check=step, **more)


def test_only_networks_that_are_not_the_zoos_train_a_step_unless_all_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("def net(classes): ...\n")
    teachers = {"big": {"model": "torchvision:resnet18", "train": {"epochs": 1}}}
    made = space("resnet8", "timm:mobileone_s0", "nets.py:net", teachers=teachers)
    step = Step()
    ask(made, tmp_path, step)
    assert step.asked == ["timm:mobileone_s0", "nets.py:net", "the teacher big"]
    step = Step()
    ask(made, tmp_path / "b", step, every=True)
    assert step.asked == ["resnet8", "timm:mobileone_s0", "nets.py:net", "the teacher big"]


def test_what_a_librarys_network_showed_is_kept_by_version_and_code_and_own_code_is_run_each_time(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text("def net(classes): ...\n")
    own = f"{tmp_path}/nets.py:net"
    made = space("timm:mobileone_s0", own)
    first, again = Step(["slow"]), Step()
    assert ask(made, tmp_path, first) == ("timm:mobileone_s0: slow", f"{own}: slow")
    assert ask(made, tmp_path, again) == ("timm:mobileone_s0: slow",)  # told again, though not tried again
    assert again.asked == [own]
    step = Step()
    ask(made, tmp_path, step, code="b")
    monkeypatch.setattr(origin_room, "_version", lambda name: "9.9")
    ask(made, tmp_path, step, code="b")
    assert len(step.asked) == 4


def test_all_that_cannot_be_trained_is_told_at_once_and_not_kept(tmp_path):
    made = space("timm:mobileone_s0", "timm:resnet18", "torchvision:resnet18")
    step = Step(mobileone="no gradient", **{"torchvision": "no logits"})
    with pytest.raises(Faults) as fault:
        ask(made, tmp_path, step)
    assert [one.what for one in fault.value.faults] == ["no gradient", "no logits"]
    step = Step()
    ask(made, tmp_path, step)
    assert step.asked == ["timm:mobileone_s0", "torchvision:resnet18"]


def test_what_turns_by_right_angles_is_refused_where_images_are_not_square(tmp_path):
    card = SimpleNamespace(classes=10, channels=1, size=(8, 6), height=8, width=6)
    custom = {"steps": [{"op": "quarter_turn", "magnitude": 1}]}
    more = {
        "teachers": {"big": {"model": "resnet14", "train": {"epochs": 1}}},
        "space": {
            "method": {"choose": {"kd": {}, "sskd": {}, "hsakd": {}}},
            "policy": {"choose": {"rotation": {}, "custom": custom, "none": {}}},
        },
    }
    made = space("resnet8", **more)
    assert check_students(made, CARD, code="", path=tmp_path / "kept.json") == ()
    with pytest.raises(Faults) as fault:
        check_students(made, card, code="", path=tmp_path / "kept.json")
    said = [one.what for one in fault.value.faults]
    assert {word for one in said for word in one.split() if word in ("sskd", "hsakd", "rotation", "custom", "kd")} == {
        "sskd", "hsakd", "rotation", "custom"}  # fmt: skip
    assert all("8 x 6 pixels" in one for one in said)
