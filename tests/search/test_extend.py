"""A run is extended: what had ended is kept and counts, the sampler learns it again, nothing is trained twice."""

from __future__ import annotations

import collections
import json
import shutil

import optuna
import pytest
from search_fakes import BUDGETS, IMAGES, Space, curve, divided
from test_run import Killed, again, dies_after, engine, run_of, what_happened

from autokd.config.sections import Budget, Rungs
from autokd.config.trial import TrialConfig
from autokd.errors import AutokdError
from autokd.search.run import resume
from autokd.track.ledger import FILE, read_events


def events_of(run, *kinds):
    return [event for event in read_events(run.folder / FILE) if event["event"] in kinds]


def longer(run, epochs=27.0, **settings):
    return again(run.folder, Space(epochs=epochs, **settings))


def test_a_longer_search_takes_the_best_of_each_budget_further_from_their_checkpoints(tmp_path):
    run = run_of(tmp_path)
    before, rows = what_happened(run.folder), run.trials.drop(["version"]).to_pylist()
    made = longer(run)
    assert what_happened(made.folder)[: len(before)] == before
    assert [row for row in made.trials.drop(["version"]).to_pylist() if row in rows] == rows  # they keep their rows
    later = {e["trial"]: e for e in events_of(made, "trial") if e.get("of")}
    assert later and len(events_of(made, "trial")) == 12 + len(later)

    done = {e["trial"] for e in before if e["event"] == "end" and e["status"] == "done"}
    final = {e["trial"]: e["val_top1"] for e in before if e["event"] == "report" and e["final"]}
    admitted = {e["trial"]: e["budgets"] for e in before if e["event"] == "trial"}
    expected = set()
    for budget in ("tiny", "mid", "free"):  # the first third of those that came to the end
        there = sorted((one for one in done if budget in admitted[one]), key=lambda one: -final[one])
        expected |= set(there[: max(1, len(there) // 3)])
    assert {e["of"] for e in later.values()} == expected

    for trial, event in later.items():
        reports = [e for e in events_of(made, "report") if e["trial"] == trial]
        assert reports[0]["behind"]["images"] == 9 * IMAGES
        assert min(e["images"] for e in reports) > 9 * IMAGES  # nothing of what lay behind was trained again
        config = TrialConfig.from_dict(event["config"])
        assert config.epochs == 27.0 and config.seed == next(e["seed"] for e in before if e.get("trial") == event["of"])
        assert all(e["val_top1"] == pytest.approx(curve(config, e["images"] / (27 * IMAGES))) for e in reports)
    assert made.status()["state"] == "finished"


def test_images_that_a_shorter_training_had_done_are_not_counted_twice(tmp_path):
    run = run_of(tmp_path)
    images = run.status()["images"]
    made = longer(run)
    later = {e["trial"] for e in events_of(made, "trial") if e.get("of")}
    reports = [e for e in events_of(made, "report") if e["trial"] in later]
    spent = sum(max(e["images"] for e in reports if e["trial"] == one) - 9 * IMAGES for one in {e["trial"] for e in reports})
    assert spent > 0 and made.status()["images"] == images + spent


def test_where_the_checkpoint_is_gone_a_longer_trial_starts_anew(tmp_path):
    run = run_of(tmp_path)
    shutil.rmtree(run.folder / "ray" / "checkpoints")
    made = longer(run)
    later = {e["trial"] for e in events_of(made, "trial") if e.get("of")}
    firsts = [next(e for e in events_of(made, "report") if e["trial"] == one) for one in sorted(later)]
    assert firsts and all(e["mark"] == 0 and "behind" not in e and e["images"] < 9 * IMAGES for e in firsts)


def test_what_finished_at_the_new_length_is_not_trained_again(tmp_path):
    made = longer(run_of(tmp_path))
    before = what_happened(made.folder)
    assert what_happened(longer(made).folder) == before
    more = longer(made, trials=15)
    told = collections.Counter((e["trial"], e["mark"]) for e in events_of(more, "report"))
    assert set(told.values()) == {1}
    keys = [json.dumps({**e["config"], "seed": 0}, sort_keys=True) for e in events_of(more, "trial")]
    assert len(keys) == len(set(keys))
    new = [e for e in events_of(more, "trial") if not e.get("of")][12:]
    assert len(new) == 3 and all(e["config"]["epochs"] == 27.0 for e in new)


def test_the_sampler_is_told_every_trial_again_and_none_that_was_shorter_as_complete(tmp_path):
    made = longer(run_of(tmp_path))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(made.folder / "study.journal")))
    study = optuna.load_study(storage=storage, study_name="free (1: 27 epochs)")
    trials = study.get_trials()
    ends = {e["trial"]: e["status"] for e in events_of(made, "end")}
    later = {e["trial"] for e in events_of(made, "trial") if e.get("of")}
    told = [one for one in trials if one.state.is_finished()]
    assert len(told) == len(ends)  # the budget `free` admits every student
    complete = [one for one in told if one.state is optuna.trial.TrialState.COMPLETE]
    assert len(complete) == sum(ends[one] == "done" for one in later)


@pytest.mark.parametrize("count", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 7))])
def test_a_longer_search_that_is_killed_and_resumed_equals_one_that_was_not(tmp_path, count):
    whole = longer(run_of(tmp_path / "whole"), trials=14)
    run = run_of(tmp_path / "cut")
    with pytest.raises(Killed):
        again(run.folder, Space(epochs=27.0, trials=14), on_event=dies_after(count))
    made = again(run.folder, Space(epochs=27.0, trials=14))
    assert what_happened(made.folder) == what_happened(whole.folder)


def test_what_was_under_way_comes_to_its_end_and_may_then_go_further(tmp_path):
    from test_run import killed_after

    folder = killed_after(tmp_path, 40, Space())  # one trial has ended, one is under way
    last = {e["trial"]: e["event"] for e in read_events(folder / FILE) if e["event"] in ("trial", "again", "end")}
    under_way = {trial for trial, event in last.items() if event != "end"}
    assert under_way
    made = again(folder, Space(epochs=27.0))
    last = {e["trial"]: e for e in events_of(made, "report")}
    assert all(last[one]["images"] <= 9 * IMAGES for one in under_way)
    assert {e["of"] for e in events_of(made, "trial") if e.get("of")} and made.status()["trials"]["running"] == 0


def test_a_search_is_not_made_shorter(tmp_path):
    run = run_of(tmp_path, trials=2)
    before = (run.folder / "space.yaml").read_text()
    with pytest.raises(AutokdError, match="cannot be made shorter"):
        again(run.folder, Space(epochs=3.0, trials=2))
    assert (run.folder / "space.yaml").read_text() == before
    assert again(run.folder, Space(trials=2)).status()["state"] == "finished"


def test_old_trials_count_for_a_budget_that_is_added(tmp_path):
    run = run_of(tmp_path)
    before = what_happened(run.folder)
    space = Space(trials=15)
    space.budgets = (*BUDGETS, Budget(name="new", params=250.0))  # small and middle
    made = resume(run.folder, space=space, feasible=divided(space.budgets), engine=engine())
    assert what_happened(made.folder)[: len(before)] == before
    after = [e for e in events_of(made, "trial")][12:]
    assert len(after) == 3 and {e["budget"] for e in after} == {"new"}  # it has had none of its own
    known = {e["trial"] for e in before if e["event"] == "trial" and e["student"] in ("small", "middle")}
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(made.folder / "study.journal")))
    study = optuna.load_study(storage=storage, study_name="new")
    taught = [one for one in study.get_trials() if one.state.is_finished()]
    known |= {e["trial"] for e in after}
    ends = sum(e["trial"] in known for e in events_of(made, "end"))  # more than one of those that a rung stopped first
    assert len(taught) == ends + sum(e["budget"] == "new" for e in events_of(made, "repeat"))
    best = made.best("new")
    rows = [row for row in made.trials.to_pylist() if row["final"] and row["status"] == "done" and row["params"] <= 250]
    assert best["val_top1"] == max(row["val_top1"] for row in rows)
    assert resume(run.folder, space=space, feasible=divided(space.budgets), engine=engine()).status()["state"] == "finished"


def without_length(folder):
    """As an earlier version wrote it."""
    lines = (folder / FILE).read_text().splitlines()
    kept = [{key: value for key, value in json.loads(line).items() if key != "length"} for line in lines]
    (folder / FILE).write_text("".join(json.dumps(event) + "\n" for event in kept))


def test_a_ledger_that_does_not_tell_its_length_is_made_longer_all_the_same(tmp_path):
    expected = longer(run_of(tmp_path / "new"))
    run = run_of(tmp_path / "old")
    without_length(run.folder)
    assert what_happened(longer(run).folder) == what_happened(expected.folder)


def test_where_its_trials_were_compared_elsewhere_it_is_refused_in_words(tmp_path):
    run = run_of(tmp_path)
    without_length(run.folder)
    before = (run.folder / FILE).read_bytes()
    with pytest.raises(AutokdError, match="did not note its length") as fault:
        longer(run, rungs=Rungs(count=1, eta=3.0, grace=0.5))
    assert "search.rungs" in fault.value.fix and (run.folder / FILE).read_bytes() == before
