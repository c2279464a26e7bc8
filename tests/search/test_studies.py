"""What Optuna is told: as it happens, or all at once when a ledger has been replayed."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from autokd.search.recall import Point
from autokd.search.studies import Lesson, Studies

LR = FloatDistribution(0.0, 1.0)
DONE = Lesson(TrialState.COMPLETE, 0.5, {0: 0.25, 1: 0.5})
STOPPED = Lesson(TrialState.PRUNED, 0.25, {0: 0.25})
DIVERGED = Lesson(TrialState.PRUNED)
BROKEN = Lesson(TrialState.FAIL)


def point(lr):
    return Point({"lr": lr}, {"lr": LR})


def told(path, name):
    """What a stranger reads in the journal."""
    study = optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(path))))
    return [(one.number, one.state, one.value, one.params, one.distributions, one.intermediate_values, one.system_attrs)
            for one in study.trials]  # fmt: skip


def test_what_was_replayed_is_handed_over_as_what_it_has_become(tmp_path):
    path = tmp_path / "study.journal"
    studies = Studies(["tiny", "free"], "tpe", path)
    assert [studies.put("tiny", point(lr), {}) for lr in (0.1, 0.2, 0.3, 0.4)] == [0, 1, 2, 3]
    for number, lesson in ((2, DIVERGED), (0, STOPPED), (1, BROKEN)):
        studies.tell("tiny", number, lesson)
    studies.teach("free", point(0.9), DONE)
    assert not path.exists(), "nothing is written before it is opened"
    studies.open()
    assert told(path, "tiny") == [
        (0, TrialState.PRUNED, 0.25, {"lr": 0.1}, {"lr": LR}, {0: 0.25}, {}),
        (1, TrialState.FAIL, None, {"lr": 0.2}, {"lr": LR}, {}, {}),
        (2, TrialState.PRUNED, None, {"lr": 0.3}, {"lr": LR}, {}, {}),
        (3, TrialState.RUNNING, None, {"lr": 0.4}, {"lr": LR}, {}, {}),
    ]
    assert told(path, "free") == [(0, TrialState.COMPLETE, 0.5, {"lr": 0.9}, {"lr": LR}, {0: 0.25, 1: 0.5}, {})]
    studies.tell("tiny", 3, DONE)
    assert told(path, "tiny")[3][1:3] == (TrialState.COMPLETE, 0.5)
    assert studies.put("tiny", point(0.6), {}) == 4


LESSONS = st.sampled_from([DONE, STOPPED, DIVERGED, BROKEN])
STEPS = st.lists(st.tuples(st.sampled_from(["put", "teach", "tell"]), LESSONS), max_size=12)


@given(STEPS, st.integers(0, 12))
def test_told_at_once_or_as_it_happens_a_study_is_the_same(tmp_path_factory, steps, opened):
    """`opened`: after so many steps the one goes live; the other from the beginning."""
    folder = tmp_path_factory.mktemp("studies")
    for when, name in ((0, "live"), (opened, "late")):
        studies, running = Studies(["tiny"], "tpe", folder / name), []
        for number, (what, lesson) in enumerate(steps):
            if number == when:
                studies.open()
            if what == "put":
                running.append(studies.put("tiny", point(number / 16), {}))
            elif what == "teach":
                studies.teach("tiny", point(number / 16), lesson)
            elif running:
                studies.tell("tiny", running.pop(0), lesson)
        if when >= len(steps):
            studies.open()
    assert told(folder / "live", "tiny") == told(folder / "late", "tiny")


def test_the_sampler_proposes_the_same_after_a_replay():
    def asked(studies):
        trial = studies.ask("tiny", "tpe", seed=7)
        return trial.suggest_float("lr", 0.0, 1.0)

    live, late = Studies(["tiny"], "tpe"), Studies(["tiny"], "tpe")
    live.open()
    for studies in (live, late):
        for number in range(15):
            studies.put("tiny", point(number / 15), {})
            scores = {0: number / 30, 1: number / 15}
            studies.tell("tiny", number, Lesson(TrialState.COMPLETE, number / 15, scores) if number % 3 else DIVERGED)
    late.open()
    assert asked(live) == asked(late)


def test_a_generation_and_whom_it_descends_from_are_put_back():
    """NSGA-II would choose them again from more trials."""
    live = Studies(["tiny"], "nsga2")
    live.open()
    events = []
    for number in range(25):  # ten a generation
        trial = live.ask("tiny", "nsga2", seed=number)
        value = trial.suggest_float("lr", 0.0, 1.0)
        event = {"value": value, **live.evolution("tiny", trial)}
        live.reached("tiny", event["generation"])
        events.append(event)
        live.tell("tiny", number, Lesson(TrialState.COMPLETE, value, {0: value}))
    assert [event["generation"] for event in events] == [0] * 10 + [1] * 10 + [2] * 5
    assert [number for number, event in enumerate(events) if "parents" in event] == [10, 20]
    late = Studies(["tiny"], "nsga2")
    for number, event in enumerate(events):
        assert late.put("tiny", point(event["value"]), event) == number
        late.reached("tiny", event["generation"])
        late.tell("tiny", number, Lesson(TrialState.COMPLETE, event["value"], {0: event["value"]}))
    late.open()
    one, other = (studies.ask("tiny", "nsga2", seed=99) for studies in (live, late))
    assert one.suggest_float("lr", 0.0, 1.0) == other.suggest_float("lr", 0.0, 1.0)
    assert live.evolution("tiny", one) == late.evolution("tiny", other) == {"generation": 2}


@pytest.mark.parametrize("when", ["before", "after"])
def test_renewed_studies_begin_empty_and_the_old_ones_stay(tmp_path, when):
    path = tmp_path / "study.journal"
    studies = Studies(["tiny"], "random", path)
    if when == "after":
        studies.open()
    studies.put("tiny", point(0.1), {})
    studies.renew("1: 9 epochs")
    assert studies.put("tiny", point(0.2), {}) == 0
    if when == "before":
        studies.open()
    studies.complete()
    assert [one[3] for one in told(path, "tiny")] == [{"lr": 0.1}]
    assert [one[3] for one in told(path, "tiny (1: 9 epochs)")] == [{"lr": 0.2}]
    assert studies.ask("tiny", "random", seed=0, start={"lr": 0.75}).suggest_float("lr", 0.0, 1.0) == 0.75


def test_a_long_past_is_handed_over_study_by_study_and_the_old_journal_stays_until_all_are(tmp_path, monkeypatch):
    monkeypatch.setattr("autokd.search.studies._AT_ONCE", 3)
    path = tmp_path / "study.journal"
    path.write_text("of an earlier session\n")
    studies = Studies(["tiny", "free"], "random", path)
    for number in range(2):
        for budget in ("tiny", "free"):
            studies.put(budget, point(number / 4), {})
    studies.open()
    studies.ask("tiny", "random", seed=0).suggest_float("lr", 0.0, 1.0)
    studies.tell("free", 1, DONE)  # not asked yet
    assert path.read_text() == "of an earlier session\n"
    studies.ask("free", "random", seed=0)
    studies.tell("free", 0, STOPPED)
    states = [[one[1] for one in told(path, budget)] for budget in ("tiny", "free")]
    assert states == [[TrialState.RUNNING] * 3, [TrialState.PRUNED, TrialState.COMPLETE, TrialState.RUNNING]]


def test_a_search_that_asks_nothing_more_leaves_a_whole_journal_when_it_is_complete(tmp_path, monkeypatch):
    monkeypatch.setattr("autokd.search.studies._AT_ONCE", 0)
    path = tmp_path / "study.journal"
    studies = Studies(["tiny", "free"], "random", path)
    studies.put("tiny", point(0.5), {})
    studies.open()
    assert not path.exists()
    for _ in range(2):
        studies.complete()
        assert [len(told(path, budget)) for budget in ("tiny", "free")] == [1, 0]
