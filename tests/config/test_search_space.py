"""Trials drawn from a space, its first points, its knobs, its overrides, and the file that says the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autokd.config.search_space import load_space
from autokd.config.tree import needs_teacher
from autokd.config.trial import TrialConfig
from autokd.errors import Faults
from autokd.space.document import Document

SPACES = sorted((Path(__file__).resolve().parents[2] / "search_spaces").rglob("*.yaml"))

RICH = """\
name: rich
data: {name: digits, validation: 0.2}
teachers:
  big: {model: wrn_16_2, train: {epochs: 3}}
  deep: {model: resnet20, train: {epochs: 4, schedule: step, policy: {cutmix: {alpha: 0.5}}}}
students: [resnet8, {model: resnet8, name: wide, options: {}}, resnet14]
pairs: [[big, resnet8], [deep, resnet8], [big, wide], [deep, resnet14]]
space:
  method:
    choose:
      kd: {temperature: {log: [1, 20]}, ce_weight: {uniform: [0, 1]}}
      spkd: {layer: search, also: {at: {weight: {log: [10, 1000]}}}, adapt: {choose: [fixed, loss_ratio]}}
      ce: {}
    prior: spkd
  policy:
    choose:
      none: {}
      cutmix: {alpha: {choose: [0.5, 1.0], prior: 1.0}, shared_geometry: {choose: [true, false]}}
      rotation: {ratio: {choose: [0.5, 0.75]}}
      custom:
        steps:
          - {op: rotate, magnitude: {choose: [5, 10]}, sign: true, probability: 0.3}
          - {op: cutout, magnitude: 0.2, probability: {uniform: [0, 1]}}
  ratio: {uniform: [0.25, 0.75]}
  loss: {kd_weight: {log: [0.1, 10], prior: 2}, kd_on_plain: {choose: [true, false]}}
  recipe:
    optimizer: {choose: {sgd: {momentum: {uniform: [0.5, 0.95]}, lr: {log: [0.01, 0.4]}}, adamw: {lr: {log: [1e-4, 1e-2]}}}}
    schedule: {choose: {cosine: {}, step: {milestones: [0.5, 0.75]}, trapezoid: {cooldown: {uniform: [0.1, 0.5]}}}, prior: step}
    batch: {int: [16, 64], log: true}
    ema: {choose: [null, 0.99]}
budgets:
  - {name: tiny, params: 100 k, macs: 50 % of teacher}
  - {name: any}
search:
  trials: 20
  start:
    - {method: {kd: {temperature: 2}}, student: resnet8, teacher: deep}
    - {method: ce, recipe: {batch: 32}}
"""


class Drawer:
    """Draws at random, and notes each knob's domain."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.asked: dict[str, Any] = {}

    def _note(self, path: str, domain: Any) -> None:
        assert path not in self.asked, f"{path} was asked for twice"
        self.asked[path] = domain

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        self._note(path, tuple(options))
        return self.random.choice(list(options))

    def uniform(self, path: str, low: float, high: float) -> float:
        self._note(path, (low, high))
        return self.random.uniform(low, high)

    def log(self, path: str, low: float, high: float) -> float:
        self._note(path, (low, high))
        return low * (high / low) ** self.random.random()

    def integer(self, path: str, low: int, high: int, log: bool = False) -> int:
        self._note(path, (low, high))
        return self.random.randint(low, high)


class Told:
    """Gives the values of a starting point, and priors nowhere: what is not told is a fault."""

    def __init__(self, point: dict[str, Any]) -> None:
        self.point, self.left = point, set(point)

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        self.left.discard(path)
        if path not in self.point and path.split("[")[0] in ("student", "teacher"):
            return options[0]
        assert self.point[path] in options
        return self.point[path]

    def uniform(self, path: str, low: float, high: float, log: bool = False) -> Any:
        self.left.discard(path)
        assert low <= self.point[path] <= high
        return self.point[path]

    log = integer = uniform


@pytest.fixture
def rich(load):
    return load(RICH)


def check(space: Any, trial: TrialConfig, pairs: Any) -> None:
    """What every drawn trial keeps."""
    student = next(name for name, known in space.students.items() if known == trial.student)
    taught = needs_teacher(trial.method.name)
    assert (trial.teacher is not None) == taught
    names = [name for name, known in space.students.items() if known == trial.student]
    assert any(((trial.teacher.name if trial.teacher else None), name) in pairs for name in names), student
    assert 0 <= trial.ratio <= 1 and (trial.ratio == 0) == (trial.policy.name == "none")
    assert trial.loss.kd_weight >= 0 and trial.recipe.lr > 0 and trial.recipe.batch >= 1
    assert trial.data == space.data and trial.epochs == space.search.epochs
    assert TrialConfig.from_dict(trial.to_dict()) == trial  # survives Ray and JSON
    assert len(trial.key) == 12


@given(seed=st.integers(0, 2**32), trial_seed=st.integers(0, 100))
def test_every_draw_is_a_valid_trial_and_asks_for_each_knob_once(seed, trial_seed):
    space = load_space(Document.from_text(RICH).values)
    drawer = Drawer(seed)
    trial = space.sample(drawer, space.pairs(), trial_seed)
    check(space, trial, space.pairs())
    assert trial.seed == trial_seed
    assert set(drawer.asked) <= {knob.path for knob in space.knobs()}
    # a knob of a branch is asked for in that branch alone
    for word, name in (("method", trial.method.name), ("policy", trial.policy.name)):
        assert all(path.split(".")[1] == name for path in drawer.asked if path.startswith(f"{word}."))
    if trial.policy.name == "custom":
        assert [step["op"] for step in trial.policy.steps] == ["rotate", "cutout"]


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_every_draw_from_a_shipped_space_is_valid(path, seed):
    space = _shipped(path)
    check(space, space.sample(Drawer(seed), space.pairs(), 0), space.pairs())


def _shipped(path: Path, known: dict[Path, Any] = {}) -> Any:  # noqa: B006
    if path not in known:
        known[path] = load_space(path)
    return known[path]


def test_equal_spaces_draw_equal_trials(rich):
    trials = [rich.sample(Drawer(seed), rich.pairs(), 0) for seed in range(20)]
    again = [load_space(rich.to_dict()).sample(Drawer(seed), rich.pairs(), 0) for seed in range(20)]
    assert trials == again and len({trial.key for trial in trials}) > 10


def test_a_draw_stays_within_the_pairs_it_is_given(rich):
    some = [("deep", "resnet14"), (None, "resnet14")]
    for seed in range(20):
        trial = rich.sample(Drawer(seed), some, 0)
        assert trial.student.name == "resnet14" and trial.teacher in (None, rich.teachers["deep"])
    only_alone = [(None, "resnet8")]
    assert {rich.sample(Drawer(seed), only_alone, 0).method.name for seed in range(20)} == {"ce"}
    with pytest.raises(ValueError, match="no pair"):
        rich.sample(Drawer(0), [], 0)


def test_a_student_s_teachers_are_its_own(rich):
    paths = {knob.path: knob for knob in rich.knobs() if knob.path.startswith(("student", "teacher"))}
    # resnet8 has two teachers; wide and resnet14 one each, which is no knob
    assert set(paths) == {"student", "teacher[resnet8]"}
    assert paths["teacher[resnet8]"].domain.options == ("big", "deep")
    assert paths["teacher[resnet8]"].condition == "student is resnet8"


def test_knobs_are_what_is_searched_in_the_order_of_drawing(load):
    method = "method: {choose: {kd: {temperature: {log: [1, 9]}}, ce: {}}}"
    space = load({"policy: none\n  method: kd": f"{method}\n  recipe: {{lr: {{log: [0.1, 1]}}}}"})
    assert [(knob.path, knob.condition) for knob in space.knobs()] == [
        ("method", ""),
        ("student", ""),
        ("method.kd.temperature", "method is kd"),
        ("recipe.lr", ""),
    ]


def test_the_size_counts_pairs_by_method(load):
    method = "method: {choose: {kd: {temperature: {log: [1, 9]}}, ce: {}}}"
    space = load({"method: kd": f"{method}\n  recipe: {{batch: {{choose: [32, 64]}}}}"})
    # two students with one teacher, and two alone; two batches
    assert (space.size().points, space.size().ranges) == ((2 + 2) * 2, 1)
    assert str(space.size()) == "8 configurations x 1 continuous range"


# -- starting points -------------------------------------------------------------------------------------------------------


def test_the_published_values_of_every_method_come_first_then_the_file_s_own(rich):
    starts = rich.starts(rich.pairs())
    assert [point["method"] for point in starts] == ["kd", "spkd", "ce", "kd", "ce"]
    first = starts[0]
    assert first["method.kd.temperature"] == 4.0 and first["method.kd.ce_weight"] == 0.1  # the file's default, as published
    assert first["recipe.schedule"] == "step" and first["policy"] == "none"
    assert "student" not in first  # left to the sampler
    assert starts[1]["loss.kd_weight"] == 2  # the prior
    asked = starts[3]
    assert (asked["method.kd.temperature"], asked["student"], asked["teacher[resnet8]"]) == (2.0, "resnet8", "deep")
    assert starts[4]["recipe.batch"] == 32


@pytest.mark.parametrize("path", [None, *SPACES], ids=lambda path: path.stem if path else "rich")
def test_a_starting_point_decides_every_knob_of_its_branch_and_no_other(path, rich):
    space = rich if path is None else _shipped(path)
    for point in space.starts(space.pairs()):
        told = Told(point)
        check(space, space.sample(told, space.pairs(), 0), space.pairs())
        assert not told.left, "the point says more than its trial asks"


def test_a_start_of_a_pair_that_the_budget_leaves_out_is_left_out(rich):
    starts = rich.starts([("big", "wide")])
    assert [point["method"] for point in starts] == ["kd", "spkd", "ce", "ce"]  # the kd with teacher `deep` is not there


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ("{method.kd.temperatur: 4}", ["there is no knob 'method.kd.temperatur'"]),
        ("{method: {kd: {temperature: 40}}}", ["method.kd.temperature cannot be 40", "1 to 20, log"]),
        ("{method: hsakd}", ["method cannot be 'hsakd' here", "kd | spkd | ce"]),
        ("{method: ce, method.kd.temperature: 4}", ["method.kd.temperature does not matter in this point"]),
        ("{student: resnet14, teacher: big}", ["teacher cannot be 'big' here"]),
    ],
)
def test_a_start_that_cannot_be_is_told(faults, start, told):
    text = RICH.replace("{method: ce, recipe: {batch: 32}}", start)
    (fault,) = faults(text)
    assert fault.startswith(f"{len(text.splitlines())}: ") and all(words in fault for words in told), fault


# -- overrides -------------------------------------------------------------------------------------------------------------


def test_overrides_are_applied_in_order_and_checked_like_the_file(load, faults):
    texts = ["search.trials=3", "search.trials=4", "space.method.kd.temperature={log: [2, 8]}", "budgets.tiny.params=50 k"]
    space = load(set=texts)
    assert space.search.trials == 4 and space.budgets[0].params == 50_000
    assert str(space.tree.method.settings("kd")["temperature"]) == "2 to 8, log"
    found = faults(set=["search.trials=0", "space.method=kdd", "data.nmae=x", "nowhere", "budgets.other.params=1"])
    assert [fault.split(": ")[0] for fault in found if fault.startswith("--set")]
    for name in ("--set search.trials=0", "--set space.method=kdd", "--set data.nmae=x", "--set nowhere", "--set budgets.other"):
        assert sum(fault.startswith(name) for fault in found) == 1, name


def test_naming_a_checkpoint_puts_the_training_of_the_file_aside(load, tmp_path):
    (tmp_path / "t.pt").write_bytes(b"x")
    teacher = load(set=["teachers.big.checkpoint=t.pt"]).teachers["big"]
    assert teacher.training is None and teacher.checkpoint == str(tmp_path / "t.pt")


# -- the file that says the same -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, *SPACES], ids=lambda path: path.stem if path else "rich")
def test_a_space_written_out_is_read_back_as_itself(path, rich, tmp_path):
    space = rich if path is None else _shipped(path)
    written = tmp_path / "written.yaml"
    written.write_text(space.to_yaml(), encoding="utf-8")
    again = load_space(written)
    assert again == space
    assert again.to_yaml() == space.to_yaml()
    assert again.pairs() == space.pairs() and again.knobs() == space.knobs() and again.size() == space.size()
    assert again.starts(space.pairs()) == space.starts(space.pairs())


def test_everything_with_a_default_is_written_out(load):
    told = load().to_dict()
    assert told["search"]["rungs"] == {"count": 3, "eta": 3.0, "grace": 0.15}
    assert told["space"]["method"]["choose"]["kd"]["temperature"] == 4.0
    assert told["teachers"]["big"]["train"]["milestones"] == [0.625, 0.75, 0.875]
    assert {"resources", "tracking", "finalize", "signals"} <= set(told)


knob_values = st.fixed_dictionaries(
    {
        "temperature": st.one_of(
            st.floats(0.5, 30).map(lambda x: round(x, 3)),
            st.tuples(st.floats(0.1, 5), st.floats(6, 40)).map(lambda r: {"log": list(r)}),
            st.tuples(st.floats(0.1, 5), st.floats(6, 40)).map(lambda r: {"uniform": list(r)}),
            st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True).map(lambda v: {"choose": v}),
        ),
        "batch": st.one_of(
            st.integers(1, 512),
            st.tuples(st.integers(1, 32), st.integers(33, 512)).map(lambda r: {"int": list(r), "log": True}),
        ),
        "macs": st.floats(1, 1e10).map(lambda x: float(f"{x:.5g}")) | st.integers(1, 99).map(lambda p: f"{p} % of teacher"),
    }
)


@given(drawn=knob_values)
def test_any_space_survives_being_written(drawn):
    values = Document.from_text(RICH).values
    values["space"]["method"]["choose"]["kd"]["temperature"] = drawn["temperature"]
    values["space"]["recipe"]["batch"] = drawn["batch"]
    values["budgets"][0]["macs"] = drawn["macs"]
    values["search"].pop("start")
    space = load_space(values)
    text = space.to_yaml()
    assert load_space(Document.from_text(text).values) == space


def test_a_space_of_python_values_tells_faults_by_their_keys():
    with pytest.raises(Faults) as told:
        load_space({"name": "x", "data": {"name": "digits"}, "students": ["resnet8"], "space": {"method": "kdd"}})
    assert "space.method" in str(told.value)
