"""What a trained teacher is kept by, and what happens where one that lies there no longer answers as it did."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from autokd.config.trial import (
    DataConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTraining,
    TrialConfig,
)
from autokd.errors import AutokdError
from autokd.models.build import build
from autokd.models.checkpoint import save_weights
from autokd.train import stages, teachers
from autokd.train.recorded import Quality, quality_of
from autokd.train.stages import stage_key
from autokd.train.teachers import check_recorded, teacher_key, teacher_path, train_teacher
from autokd.train.workshop import Workshop

NETS = '''
"""A network that starts from a file, with a layer from the file beside it."""
from pathlib import Path

import torch
from torch import nn

from blocks import layer

def net(classes, channels, width=4, extra=None):
    model = nn.Sequential(layer(channels, width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    model[0].weight.data.fill_(float((Path(__file__).parent / "start.txt").read_text()))
    return model
'''
BLOCKS = '''
from torch import nn

def layer(channels, width):
    """A convolution."""
    return nn.Conv2d(channels, width, 3, padding=1)
'''


@pytest.fixture
def place(tmp_path):
    """Two classes of twelve images (nineteen are for training), and a network of one's own that is made of three files."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(("apple", "pear")):
        (tmp_path / "images" / "train" / name).mkdir(parents=True)
        for one in range(12):
            pixels = (draw.integers(0, 120, (8, 8, 3)) + 100 * number).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / "train" / name / f"{one:02d}.png")
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "blocks.py").write_text(BLOCKS)
    (tmp_path / "start.txt").write_text("0.5")
    (tmp_path / "widths.txt").write_text("4")
    rows = {"train": list(range(0, 18, 2)), "validation": list(range(1, 18, 2))}
    (tmp_path / "split.json").write_text(json.dumps(rows))
    return tmp_path


def asked(place: Path) -> tuple[DataConfig, TeacherConfig]:
    data = DataConfig("folder", root=str(place / "images"), validation=0.25)
    training = TeacherTraining(epochs=1, recipe=RecipeConfig(batch=8), policy="randaugment", ratio=0.5)
    return data, TeacherConfig("own", f"{place}/nets.py:net", {"extra": str(place / "widths.txt")}, training=training)


def where(data: DataConfig, teacher: TeacherConfig) -> str:
    """The name of its file, as a process that starts now would find it."""
    return teacher_path(Workshop(), data, teacher, "teachers").name


def image(place: Path, name: str) -> Path:
    return place / "images" / "train" / name


def paint(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


FILES = {
    "a pixel": lambda place: paint(image(place, "apple/03.png")),
    "another image": lambda place: paint(image(place, "apple/99.png")),
    "an image of another class": lambda place: image(place, "apple/11.png").rename(image(place, "pear/98.png")),
    "the order of the classes": lambda place: image(place, "apple").rename(image(place, "zucchini")),
    "a class name alone": lambda place: image(place, "apple").rename(image(place, "banana")),
    "the code of the network": lambda place: edit(place / "nets.py", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d"),
    "a number in its code": lambda place: edit(place / "nets.py", "width=4", "width=6"),
    "the code beside it": lambda place: edit(place / "blocks.py", "padding=1", "padding=2"),
    "a file that an option names": lambda place: (place / "widths.txt").write_text("5"),
    "a file that its code reads": lambda place: (place / "start.txt").write_text("0.6"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_the_weights_depend_on_cannot_change_without_another_teacher(place, what):
    before = where(*asked(place))
    assert where(*asked(place)) == before
    FILES[what](place)
    assert where(*asked(place)) != before


def test_no_setting_that_the_weights_depend_on_can_change_without_another_teacher(place, monkeypatch):
    data, teacher = asked(place)
    training, recipe = teacher.training, teacher.training.recipe
    workshop = Workshop()

    def path(data: DataConfig = data, teacher: TeacherConfig = teacher, **changes) -> str:
        changed = replace(teacher, training=replace(training, **changes)) if changes else teacher
        return teacher_path(workshop, data, changed, "teachers").name

    changed = {
        "nothing": path(),
        "validation": path(replace(data, validation=0.5)),
        "split_seed": path(replace(data, split_seed=1)),
        "split_file": path(replace(data, split_file=str(place / "split.json"))),
        "size": path(replace(data, options={"size": 6})),
        "mean": path(replace(data, mean=(0.5,) * 3, std=(0.2,) * 3)),
        "its own mean": path(teacher=replace(teacher, mean=(0.4,) * 3, std=(0.2,) * 3)),
        "padding": path(replace(data, padding=2)),
        "flip": path(replace(data, flip=False)),
        "views_seed": path(replace(data, views_seed=3)),
        "model": path(teacher=replace(teacher, model="resnet8x0.5", options={})),
        "another model": path(teacher=replace(teacher, model="resnet8x0.75", options={})),
        "options": path(teacher=replace(teacher, options={"width": 5})),
        "epochs": path(epochs=2),
        "seed": path(seed=1),
        "lr": path(recipe=replace(recipe, lr=0.01)),
        "ema": path(recipe=replace(recipe, ema=0.9)),
        "precision": path(recipe=replace(recipe, precision="bf16")),
        "policy": path(policy="trivialaugment"),
        "its settings": path(policy_settings={"level": 3}),
        "ratio": path(ratio=0.25),
    }
    monkeypatch.setattr(teachers, "_VERSION", 2)
    changed["version"] = path()
    assert len(set(changed.values())) == len(changed)
    split = json.loads((place / "split.json").read_text())
    (place / "split.json").write_text(json.dumps({"train": split["validation"], "validation": split["train"]}))
    swapped = teacher_path(Workshop(), replace(data, split_file=str(place / "split.json")), teacher, "teachers").name
    assert swapped not in changed.values()


def test_where_things_lie_and_how_code_is_laid_out_trains_nothing_again(place, tmp_path):
    data, teacher = asked(place)
    before = where(data, teacher)
    edit(place / "nets.py", '"""A network', '"""Some network')
    edit(place / "nets.py", "    return model", "    # the network\n    return (model)")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("images", "nets.py", "blocks.py", "start.txt", "widths.txt"):
        shutil.move(place / name, moved / name)
    data, teacher = asked(moved)
    assert where(replace(data, fraction=0.5), replace(teacher, saw_validation=True)) == before
    renamed = where(data, replace(teacher, name="other"))
    assert renamed.removeprefix("other") == before.removeprefix("own")


def test_the_fingerprint_of_a_data_set_is_the_same_whatever_share_of_it_trains(place):
    data, _ = asked(place)
    whole = Workshop().fingerprints(data)
    assert Workshop().fingerprints(replace(data, fraction=0.5)) == whole
    assert len({*whole, *Workshop().fingerprints(replace(data, split_seed=1))}) == 4


def test_a_network_whose_first_weights_are_chance_of_its_own_is_found_again(place):
    edit(place / "nets.py", "fill_(float(", "uniform_(generator=torch.Generator()).mul_(time_ns() % 1000).add_(float(")
    edit(place / "nets.py", "import torch\n", "from time import time_ns\nimport torch\n")
    assert where(*asked(place)) == where(*asked(place))
    (place / "widths.txt").write_text("5")
    data, teacher = asked(place)
    key = teacher_key(Workshop(), data, teacher)
    assert key["first weights"] == ""


def trained(place: Path, **changes) -> Path:
    data, teacher = asked(place)
    return train_teacher(data, replace(teacher, **changes), place / "teachers", workshop=Workshop(threads=1))


def test_an_unchanged_teacher_is_measured_and_taken_and_a_changed_one_is_trained_beside_it(place, monkeypatch):
    first = trained(place)
    record = json.loads(first.with_suffix(".json").read_text())
    assert quality_of(record).images == 5 and {"torch", "autokd"} <= set(record["versions"])
    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "trial", lambda *_: pytest.fail("trained again"))
        assert trained(place) == first


def test_why_a_teacher_is_trained_anew_is_told_by_the_one_that_is_most_like_it(place, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(Workshop, "tell", lambda self, text: told.extend([text] if text else []))
    first = trained(place)
    assert not told
    edit(place / "blocks.py", "padding=1", "padding=2")
    second = trained(place)
    assert told == [f"own is trained anew: {first.name} differs in network"] and first.exists() and second != first
    for path in (first, second):  # as an earlier version wrote it
        record = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps({word: value for word, value in record.items() if word != "key"}))
    edit(place / "blocks.py", "padding=2", "padding=3")
    trained(place)
    assert "is of an earlier version, which did not note all that a teacher depends on" in told[-1]
    FILES["the order of the classes"](place)
    edit(place / "blocks.py", "padding=3", "padding=1")
    trained(place)
    assert "is of an earlier version" in told[-1]  # another network on other images is no forebear


def test_no_answer_of_a_teacher_outlives_what_it_depends_on(place):
    """The names of what is kept of one teacher's answers: signals, its attention, and what a method adds to it."""
    save_weights(build("resnet8x0.5", classes=2, seed=0), place / "one.safetensors")
    save_weights(build("resnet8x0.5", classes=2, seed=1), place / "two.safetensors")
    (place / "nets.py").write_text(
        "from autokd.models.build import build\n\ndef net(classes, channels, **more):\n"
        "    return build('resnet8x0.5', classes=classes, channels=channels)\n"
    )
    data, teacher = asked(place)
    given = replace(teacher, training=None, checkpoint=str(place / "one.safetensors"))

    def kept(data: DataConfig = data, teacher: TeacherConfig = given) -> tuple[str, ...]:
        workshop = Workshop(threads=1, signals="cached", cache_dir=place / "cache")
        student, policy = StudentConfig("resnet8x0.5"), PolicyConfig("randaugment")
        trial = TrialConfig(data, student, teacher, policy, recipe=RecipeConfig(batch=8), epochs=1)
        signals, loaded = workshop.signals(trial), workshop.data(data)
        module = SimpleNamespace(stage={"epochs": 1}, turns=4)
        views = workshop.views(data, PolicyConfig()).key(False)
        stage = stage_key(module, workshop.teacher(data, teacher), data=loaded.fingerprint, views=views)
        names = [json.dumps(stage), *(str(signals.store.path(signals.key(0, kind))) for kind in (False, True))]
        return *names, workshop._attention(data, teacher).key

    found = [kept()]
    assert kept() == found[0]
    found.append(kept(teacher=replace(given, checkpoint=str(place / "two.safetensors"))))
    found.append(kept(teacher=replace(given, mean=(0.5,) * 3, std=(0.5,) * 3)))
    found.append(kept(teacher=replace(given, options={"width": 3})))
    found.append(kept(replace(data, split_seed=1)))
    for what in ("a pixel", "the order of the classes", "a file that an option names"):
        FILES[what](place)
        found.append(kept())
    edit(place / "nets.py", "    return build", "    assert classes\n    return build")
    found.append(kept())
    shutil.copy(place / "two.safetensors", place / "one.safetensors")
    found.append(kept())
    for names in zip(*found, strict=True):
        assert len(set(names)) == len(found)


def test_a_stage_is_kept_by_its_method_and_its_settings(monkeypatch):
    def key(method="sskd", stage=None, turns=4, precision="auto", **changes):
        teacher = SimpleNamespace(fingerprint="f", mean=(0.5,), std=(0.5,), precision=precision)
        module = type(method, (), {"stage": stage or {"epochs": 1}, "turns": turns})()
        return json.dumps(stage_key(module, teacher, **{"data": "d", "views": "v", **changes}))

    found = [key(), key("hsakd"), key(stage={"epochs": 2}), key(turns=1), key(data="e"), key(views="w"), key(precision="tf32")]
    monkeypatch.setattr(stages, "_VERSION", 2)
    assert len({*found, key()}) == 8


HIDDEN = '''
import json
from pathlib import Path

import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes))
        self.sign = json.loads((Path(__file__).parent / "sign.json").read_text())
    def forward(self, x):
        return self.sign * self.body(x)
'''


def test_what_no_key_can_see_is_found_by_the_score_and_told_with_the_way_out(place):
    (place / "nets.py").write_text(HIDDEN)
    (place / "sign.json").write_text("1")
    recipe = RecipeConfig(batch=8, lr=0.01)
    training = TeacherTraining(epochs=6, recipe=recipe)
    changes = {"model": f"{place}/nets.py:Net", "options": {}, "training": training}
    path = trained(place, **changes)
    (place / "sign.json").write_text("-1")  # the same weights, all answers turned round
    data, teacher = asked(place)
    with pytest.raises(AutokdError) as caught:
        trained(place, **changes)
    told = str(caught.value)
    before = quality_of(json.loads(path.with_suffix(".json").read_text()))
    now = Quality(*Workshop().verify(data, replace(teacher, **{**changes, "training": None, "checkpoint": str(path)}))[:2])
    assert before.top1 > 0.8 and now.top1 < 0.2
    assert str(path) in told and str(before) in told and str(now) in told
    assert "autokd teacher train SPACE.yaml --teacher own --again" in told and f"remove {path.name}" in told
    again = train_teacher(
        data, replace(teacher, **changes), place / "teachers", workshop=Workshop(threads=1), again=True
    )
    assert again == path
    assert check_recorded(Workshop(), data, replace(teacher, **changes), path).top1 > 0.8
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(AutokdError, match="is no longer as it was written"):
        check_recorded(Workshop(), data, replace(teacher, **changes), path)


def test_its_own_normalisation_is_what_a_teacher_is_trained_with(place):
    data, teacher = asked(place)
    teacher = replace(teacher, mean=(0.9,) * 3, std=(0.1,) * 3)
    config = teachers.teacher_trial(data, teacher)
    assert (config.data.mean, config.data.std) == (teacher.mean, teacher.std)
    path = trained(place, mean=teacher.mean, std=teacher.std)
    made = Workshop().teacher(data, replace(teacher, training=None, checkpoint=str(path)))
    assert (made.mean, made.std) == (teacher.mean, teacher.std)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (Quality(0.7, 1.0, 10_000), True),
        (Quality(0.7020, 1.009, 10_000), True),  # 20 images of 10,000 and one: rounding
        (Quality(0.7025, 1.0, 10_000), False),
        (Quality(0.7, 1.02, 10_000), False),
        (Quality(0.71, 1.0, 100), True),  # one image of a hundred
        (Quality(0.72, 1.0, 100), False),
    ],
)
def test_rounding_moves_an_image_or_two_in_a_thousand_and_a_hundredth_of_the_loss(now, same):
    assert Quality(0.7, 1.0, now.images).agrees(now) == same


def test_other_arithmetic_stays_within_the_tolerance(place):
    """bfloat16 is coarser than what any device answers in."""
    draw = torch.Generator().manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    images, labels = torch.randn(2000, 64, generator=draw), torch.randint(0, 10, (2000,), generator=draw)
    from autokd.train.evaluate import score

    with torch.no_grad():
        exact = score(body(images), labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = score(body(images).float(), labels)
    assert Quality(exact.top1, exact.loss, 2000).agrees(Quality(coarse.top1, coarse.loss, 2000))


def test_records_that_say_nothing_or_nonsense_are_none():
    assert quality_of({}) is None and quality_of({"val_top1": "high", "val_loss": 1}) is None
    assert quality_of({"val_top1": 0.5, "val_loss": 1}) == Quality(0.5, 1.0, 0)
