"""How long a search will take: by hand from given steps, and against a real one."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autokd.config.search_space import load_space
from autokd.data.images import Card
from autokd.data.training import describe
from autokd.search import estimate
from autokd.search.estimate import Timings, Unknown, predict
from autokd.search.run import fit

SPACE: dict[str, Any] = {
    "name": "timed",
    "data": {"name": "digits", "validation": 0.2},
    "teachers": {"wide": {"model": "resnet14", "train": {"epochs": 3}}, "deep": {"model": "resnet20", "train": {"epochs": 5}}},
    "students": ["resnet8"],
    "space": {"method": "ce", "recipe": {"batch": 10}, "policy": "none"},
    "budgets": [{"name": "any"}],
    "search": {"trials": 4, "epochs": 10, "scheduler": "none"},
}
START, MARK = 20.0, 0.1


def space_of(**changes: Any):
    space = load_space({**SPACE, **{key: value for key, value in changes.items() if key != "search"},
                        "search": {**SPACE["search"], **changes.get("search", {})}})  # fmt: skip
    return space, fit(space)


def times(**changes: Any) -> Timings:
    return replace(Timings({("resnet8", "ce"): 0.1, ("resnet8", "kd"): 0.1}, {"wide": 0.004, "deep": 0.004}, {}), **changes)


# of 100 images in batches of 10, ten epochs are 100 steps of 0.1 s; five times 25 images are scored, each a third of 0.01 s
TRIAL = 10 + 5 * (MARK + 25 / 300)


@pytest.mark.parametrize(("places", "seconds"), [(1, 4 * TRIAL), (2, 2 * TRIAL), (3, 2 * TRIAL), (4, TRIAL)])
def test_whole_trials_take_their_steps_and_scorings_as_many_at_once_as_there_are_places(places, seconds):
    told = predict(*space_of(), times(), 100, places=places)
    assert told.seconds == pytest.approx(START + seconds) and (told.begun, told.ended) == (4, 4)
    assert (told.low, told.high) == pytest.approx((0.75 * told.seconds, 1.6 * told.seconds))
    quick = predict(*space_of(), times(busy=2.0), 100, places=places, workers=2)  # two workers halve a step
    assert quick.seconds == pytest.approx(2 * START + seconds * (5 + 5 * MARK + 25 / 120) / TRIAL)


def test_teachers_are_trained_side_by_side_and_the_longest_is_waited_for():
    timings = times(training={"wide": 0.01, "deep": 0.02})  # 3 s and 10 s
    for places, seconds in ((1, 13), (2, 10), (4, 10)):
        told = predict(*space_of(), timings, 100, places=places)
        assert told.teachers == pytest.approx(seconds)
        assert told.seconds == pytest.approx(START + seconds + 4 * TRIAL / places)


def test_a_teacher_s_answers_count_once_where_they_are_kept():
    """Of 0.1 s a step 10 x 0.004 s are the teacher's. One policy and one teacher: the four trials share one set of answers."""
    changes = {"teachers": {"wide": SPACE["teachers"]["wide"]}, "space": {**SPACE["space"], "method": "kd"}}
    own = 6 + 5 * (MARK + 25 / 500)
    kept = predict(*space_of(**changes), times(), 100, places=1)
    assert kept.seconds == pytest.approx(START + 4 * own + 4)
    live = predict(*space_of(**changes, signals={"mode": "live"}), times(), 100, places=1)
    assert live.seconds == pytest.approx(START + 4 * TRIAL)


@pytest.mark.parametrize(
    ("search", "seconds", "begun"),
    [
        ({"hours": 15 / 3600}, START + 15, 2),  # a trial and a part of the next
        ({"trials": None, "hours": 100 / 3600}, START + 100, 10),
        ({"images": 2500}, START + 2.5 * TRIAL, 3),
        ({"trials": 4000}, START + 4000 * TRIAL, 4000),  # two thousand, and as many again,
    ],
)
def test_a_limit_that_is_hit_first_ends_it(search, seconds, begun):
    told = predict(*space_of(search=search), times(), 100, places=1, searches=3)
    assert told.seconds == pytest.approx(seconds, rel=1e-6) and told.begun == begun
    if "hours" in search:
        assert told.high == pytest.approx(seconds)


def test_rungs_leave_a_part_of_it():
    """27 trials, rungs at a quarter and a half: at least the first rungs, and not every whole trial."""
    rungs = {"scheduler": "strata", "trials": 27, "rungs": {"count": 2, "eta": 3, "grace": 0.25}}
    told = predict(*space_of(search=rungs), times(), 100, places=1)
    assert START + 27 * TRIAL / 4 < told.seconds < START + 0.7 * 27 * TRIAL
    assert told.begun == 27 and 3 <= told.ended < 20 and told.low < told.seconds < told.high


def test_what_was_not_timed_is_put_together_from_what_was():
    macs = {"a": 100.0, "b": 200.0, "c": 400.0}
    timings = Timings({("a", "ce"): 1.0, ("a", "kd"): 3.0, ("b", "ce"): 2.0}, {}, {})
    assert timings.step(("b", "ce"), macs) == 2.0
    assert timings.step(("b", "kd"), macs) == pytest.approx(6.0)  # kd takes three times what ce does
    assert timings.step(("c", "ce"), macs) == pytest.approx(4.0)  # twice the arithmetic of b
    assert timings.step(("c", "kd"), macs) == pytest.approx(12.0)
    assert timings.step(("a", "crd"), macs) == pytest.approx(2.0)  # a method nobody timed: the mean of its student


@pytest.mark.timed
def test_steps_are_timed_with_stand_ins_for_teachers_and_nothing_is_left_behind(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    space, found = space_of(space={**SPACE["space"], "method": {"choose": ["ce", "kd"]}}, students=["resnet8", "resnet8x0.5"])
    threads, card = torch.get_num_threads(), describe("digits")
    told = estimate.estimate(space, found, card, 1150, seconds=0.0)
    assert told.kinds == 1 < told.all_kinds == 4 and told.steps >= 3 * 2  # two teachers and a student, at least two steps each
    assert 0 < told.low < told.seconds < told.high and told.teachers > 0 and told.places >= 1
    assert torch.get_num_threads() == threads and not list(tmp_path.glob("tmp*"))


@pytest.mark.timed
def test_where_nothing_can_be_said_the_words_say_why(tmp_path: Path):
    space, found = space_of(resources={"address": "ray://head:10001"})
    with pytest.raises(Unknown, match="cluster"):
        estimate.estimate(space, found, None, 1150)
    large = replace(describe("digits"), train_images=10**9)
    assert isinstance(large, Card)
    with pytest.raises(Unknown, match="too many"):
        estimate.estimate(*space_of(), large, 1150)
    own = tmp_path / "net.py"
    own.write_text("from torch import nn\n\nclass Net(nn.Linear):\n    def __init__(self, classes):\n"
                   "        super().__init__(64, classes)\n\n    def forward(self, x):\n        if len(x) > 2:\n"
                   "            raise RuntimeError('not today')\n        return super().forward(x.flatten(1))\n")  # fmt: skip
    space, found = space_of(students=[f"{own}:Net"])
    with pytest.raises(Unknown, match="no training step could be timed: .*not today"):
        estimate.estimate(space, found, describe("digits"), 1150)


@pytest.mark.slow
@pytest.mark.timed
def test_a_real_search_takes_about_as_long(tmp_path: Path, repository: Path, monkeypatch):
    """Both in seconds of the processor, which other processes do not lengthen."""
    from autokd.search.run import search

    changes = ["search.trials=10", "search.epochs=10", "search.concurrent=1", "tracking.mlflow=false"]
    space = load_space(repository / "search_spaces" / "digits.yaml", overrides=changes)
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        told = estimate.estimate(space, fit(space), describe("digits"), 1150)
        start = time.process_time()
        search(space, runs=tmp_path / "runs", engine="inline")
        took = time.process_time() - start
    finally:
        torch.set_num_threads(threads)
    assert told.places == 1 and took / 1.6 < told.seconds - START < 1.6 * took, (told, took)
