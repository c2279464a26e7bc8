from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autokd.config.search_space import load_space
from autokd.config.trial import StudentConfig
from autokd.errors import AutokdError
from autokd.search.grid import ARM, grid
from autokd.search.inline_engine import InlineEngine
from autokd.search.run import resume, search
from autokd.track.ledger import FILE, read_events

SPACE = {
    "name": "digits",
    "data": {"name": "digits"},
    "teachers": {"teacher": {"model": "resnet8", "train": {"epochs": 1}}},
    "students": ["resnet8x0.5", "resnet14x0.5"],
    "space": {"method": {"kd": {"temperature": {"log": [1, 20]}}}},
    "budgets": [{"name": "tiny", "params": "1 k"}],  # that no student keeps: a grid has no limits
    "search": {"trials": 3, "epochs": 9, "hours": 1, "sampler": "tpe"},
    "tracking": {"mlflow": False},
}


@pytest.fixture
def space():
    return load_space(SPACE)


@pytest.fixture
def arms(space):
    """Two temperatures with two seeds each."""
    from autokd.config.trial import MethodConfig, RecipeConfig, TrialConfig

    base = TrialConfig(
        data=space.data,
        student=space.students["resnet8x0.5"],
        teacher=space.teachers["teacher"],
        ratio=0.0,
        recipe=RecipeConfig(batch=10),
        epochs=9,
    )
    return {
        f"T{heat:g} #{seed}": base.with_(method=MethodConfig("kd", {"temperature": heat}), seed=seed)
        for seed in (5, 6)
        for heat in (2.0, 4.0)
    }


class Cut(InlineEngine):
    """Stops for good after so many reports, as a kill would."""

    def __init__(self, reports: int) -> None:
        super().__init__({"factory": "autokd_grid_fakes:Bench"})
        self.left = reports

    def run(self, brain, run, tick=lambda: None):
        def count() -> None:
            self.left -= 1
            if self.left < 0:
                self.cancel()

        super().run(brain, run, count)


@pytest.fixture(autouse=True)
def students_of_a_formula(monkeypatch):
    """Training is a formula of the configuration: what is tested is the search around it."""
    import sys
    import types

    class Report:
        def __init__(self, values):
            self.values = values

        def to_dict(self):
            return dict(self.values)

    class Trial:
        total_images = 9000

        def __init__(self, config):
            self.config, self.images = config, 0

        def advance(self, images):
            self.images = images
            score = self.config.method.settings["temperature"] / 10 + self.config.seed / 1000
            return Report({"images": images, "epochs": images / 1000, "val_top1": score, "val_loss": 1.0, "seconds": 1.0})

        def save(self, path):
            (path / "trial.pt").write_text(str(self.images))

        def load(self, path):
            self.images = int((path / "trial.pt").read_text())

    class Made:
        def trial(self, config, **_):
            return Trial(config)

        def verify(self, *_):
            return types.SimpleNamespace(top1=0.9, loss=0.3, ece=0.05, images=1000, classes=10)

    module = types.ModuleType("autokd_grid_fakes")
    module.Bench = lambda **_: Made()
    monkeypatch.setitem(sys.modules, "autokd_grid_fakes", module)
    monkeypatch.setattr("autokd.train.teachers.train_teacher", lambda data, teacher, folder, **_: _weights(folder, teacher))


def _weights(folder, teacher):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{teacher.name}.safetensors"
    path.write_text("weights")
    return path


def run(made, tmp_path, reports=10**9):
    return search(made, runs=tmp_path, engine=Cut(reports))


def trials(folder):
    return [event for event in read_events(folder / FILE) if event["event"] == "trial"]


def test_every_arm_is_trained_once_in_the_order_given_and_to_its_end(space, arms, tmp_path):
    done = run(grid(space, arms), tmp_path)
    told = trials(done.folder)
    assert [event["values"] for event in told] == [{ARM: name} for name in arms]
    assert [event["seed"] for event in told] == [5, 5, 6, 6]  # its own, not one of the search's
    assert {event["budget"] for event in told} == {"study"}
    rows = done.trials.to_pylist()
    assert {row["status"] for row in rows} == {"done"}
    assert [round(row["val_top1"], 4) for row in rows] == [0.205, 0.405, 0.206, 0.406]
    assert done.status()["reason"] == "4 trials"


def test_arms_that_differ_in_their_seed_alone_are_two_trials_and_equal_arms_are_refused(space, arms):
    first, second = list(arms.values())[:2]
    made = grid(space, {"a": first, "b": replace(first, seed=9)})
    assert made.key(made.arms["a"]) != made.key(made.arms["b"])
    with pytest.raises(AutokdError, match="'a' and 'c' are the same"):
        grid(space, {"a": first, "b": second, "c": replace(first)})


def test_a_teacher_that_has_been_trained_since_does_not_make_another_arm(space, arms):
    made = grid(space, arms)
    config = next(iter(arms.values()))
    trained = replace(config, teacher=replace(config.teacher, checkpoint="there.safetensors", training=None))
    assert made.key(config) == made.key(trained)


def test_what_is_not_in_the_space_is_refused(space, arms):
    arm = next(iter(arms.values()))
    with pytest.raises(AutokdError, match="no student 'resnet20'"):
        grid(space, {"a": replace(arm, student=StudentConfig("resnet20"))})
    with pytest.raises(AutokdError, match="no teacher 'other'"):
        grid(space, {"a": replace(arm, teacher=replace(arm.teacher, name="other"))})
    with pytest.raises(AutokdError, match="without arms"):
        grid(space, {})


def test_the_files_of_a_grid_lie_in_the_run_before_the_ledger_and_its_labels_with_each_trial(space, arms, tmp_path):
    made = grid(space, arms, files={"about.json": "{}"}, labels={name: {"group": name[:2]} for name in arms})
    seen = []
    folder = tmp_path / "runs"

    def watch(event):
        if event["event"] == "begin":
            seen.extend(folder.glob("*/about.json"))

    run_ = search(made, runs=folder, engine=Cut(10**9), on_event=watch)
    assert seen == [run_.folder / "about.json"]
    assert trials(run_.folder)[0]["tags"] == {"arm": "T2 #5", "seed": "5", "group": "T2"}


def test_the_kept_space_is_one_that_loads_with_the_teachers_of_the_grid(space, arms, tmp_path):
    done = run(grid(space, arms), tmp_path)
    kept = load_space(done.folder / "space.yaml")
    assert list(kept.teachers) == ["teacher"] and [budget.name for budget in kept.budgets] == ["study"]
    assert kept.search.scheduler == "none" and kept.search.trials == 4 and kept.search.hours is None


@pytest.mark.parametrize("reports", [0, 1, 4, 7])
def test_a_grid_that_was_cut_off_goes_on_and_ends_as_if_it_had_not_been(space, arms, tmp_path, reports):
    whole = run(grid(space, arms), tmp_path / "whole")
    cut = run(grid(space, arms), tmp_path / "cut", reports)
    assert cut.status()["state"] == "cancelled"
    again = resume(cut.folder, space=grid(space, arms), engine=Cut(10**9))
    assert again.status()["state"] == "finished"
    scores = [[(r["trial"], r["seed"], r["val_top1"]) for r in one.trials.to_pylist()] for one in (whole, again)]
    assert scores[0] == scores[1]
    assert [json.dumps(e["values"]) for e in trials(again.folder)] == [json.dumps({ARM: name}) for name in arms]


def test_nothing_is_trained_when_a_finished_grid_is_taken_up_again(space, arms, tmp_path):
    done = run(grid(space, arms), tmp_path)
    before = len(trials(done.folder))
    resume(done.folder, space=grid(space, arms), engine=Cut(0))
    assert len(trials(done.folder)) == before
