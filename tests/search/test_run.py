from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from search_fakes import BUDGETS, COSTS, PAIRS, Space, divided

import autokd
from autokd.errors import AutokdError
from autokd.search.inline_engine import InlineEngine
from autokd.search.run import Run, SearchFailed, resume, search
from autokd.track.ledger import FILE, FolderLock, read_events
from autokd.track.table import read_table


def engine(**bench):
    return InlineEngine({"factory": "search_fakes:Bench", **bench})


def run_of(tmp_path, space=None, on_event=None, **settings):
    return search(space or Space(**settings), runs=tmp_path, feasible=divided(), engine=engine(), on_event=on_event)


def again(folder, space, **settings):
    return resume(folder, space=space, feasible=divided(), engine=engine(), **settings)


def test_a_search_leaves_a_folder_that_tells_all(tmp_path):
    heard = []
    run = run_of(tmp_path, on_event=heard.append)
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {"space.yaml", "environment.json", "ledger.jsonl", "trials.parquet", "study.journal"}
    assert run.folder.parent == tmp_path
    assert run.folder.name.startswith("fake-")
    kinds = [event["event"] for event in read_events(run.folder / FILE)]
    assert kinds[0] == "begin"
    assert kinds[1] == "teacher"
    assert kinds[-1] == "close"
    assert [event["event"] for event in heard if event["event"] != "phase"] == kinds
    assert run.status()["state"] == "finished"
    assert run.status()["trials"]["running"] == 0
    assert sum(run.status()["trials"].values()) == 12
    assert json.loads((run.folder / "environment.json").read_text())["seeds"]["search"] == 3


def test_a_teacher_s_accuracy_calibration_and_cost_stand_in_the_ledger(tmp_path):
    run = run_of(tmp_path)
    told = next(event for event in read_events(run.folder / FILE) if event["event"] == "teacher")
    assert (told["val_top1"], told["ece"]) == (0.9, 0.05)
    assert (told["params"], told["macs"]) == (900, 9000)


def test_the_table_has_one_row_a_trial_and_rung_and_agrees_with_the_ledger(tmp_path):
    run = run_of(tmp_path)
    rows = run.trials.to_pylist()
    assert len({(row["trial"], row["rung"]) for row in rows}) == len(rows)
    assert {row["trial"] for row in rows} == {f"t{n:05d}" for n in range(12)}
    events = list(read_events(run.folder / FILE))
    reports = {(e["trial"], e["rung"]): e for e in events if e["event"] == "report" and e["rung"] is not None}
    assert {key: e["val_top1"] for key, e in reports.items()} == {
        (row["trial"], row["rung"]): row["val_top1"] for row in rows if row["val_top1"] is not None
    }
    ends = {e["trial"]: e["status"] for e in events if e["event"] == "end"}
    assert all(ends[row["trial"]] == row["status"] for row in rows)
    assert all(json.loads(row["config"])["seed"] == row["seed"] for row in rows)
    assert {row["images"] for row in rows if row["final"]} == {9000}


def test_checkpoints_of_stopped_trials_are_deleted_and_finished_ones_keep_their_last(tmp_path):
    run = run_of(tmp_path, trials=20)
    rows = {row["trial"]: row for row in run.trials.to_pylist()}  # the last row of each
    assert {row["status"] for row in rows.values()} >= {"done", "stopped"}
    for trial, row in rows.items():
        kept = sorted(path.name for path in (run.folder / "ray/checkpoints" / trial).glob("*"))
        if row["status"] == "stopped":
            assert kept == []
        elif row["status"] == "done":
            assert [f"ray/checkpoints/{trial}/{name}" for name in kept] == [row["checkpoint"]]


class Killed(BaseException):
    pass


def dies_after(count):
    """An observer that ends the search once it has seen so many events of the ledger."""
    seen = []

    def watch(event):
        if event["event"] != "phase":
            seen.append(event)
            if len(seen) == count:
                raise Killed

    return watch


def killed_after(tmp_path, count, space):
    """A search whose process dies once the ledger has so many events."""
    with pytest.raises(Killed):
        run_of(tmp_path, space, on_event=dies_after(count))
    return next(tmp_path.glob("fake-*"))


def what_happened(folder):
    """The events, less the clock and what belongs to a session."""
    kept = []
    for event in read_events(folder / FILE):
        if event["event"] in ("trial", "report", "end", "repeat"):
            kept.append({key: value for key, value in event.items() if key not in ("time", "elapsed")})
    return kept


@pytest.mark.parametrize("count", [1, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 4, 17, 30))])
def test_a_killed_and_resumed_search_equals_an_uninterrupted_one(tmp_path, count):
    whole = run_of(tmp_path / "whole")
    folder = killed_after(tmp_path / "cut", count, Space())
    run = again(folder, Space())
    assert what_happened(run.folder) == what_happened(whole.folder)
    cut, uncut = run.trials.drop(["version"]), whole.trials.drop(["version"])
    assert cut.equals(uncut)


def test_a_run_that_is_written_by_another_process_is_refused(tmp_path):
    run = run_of(tmp_path, trials=2)
    with FolderLock(run.folder), pytest.raises(AutokdError, match="another process"):
        again(run.folder, Space())


def test_a_finished_run_is_extended_by_more_trials_and_trains_nothing_twice(tmp_path):
    run = run_of(tmp_path, trials=5)
    before = what_happened(run.folder)
    longer = again(run.folder, Space(trials=9), overrides=())
    assert sum(longer.status()["trials"].values()) == 9
    after = what_happened(longer.folder)
    assert after[: len(before)] == before
    trained = [(event["trial"], event["mark"]) for event in after if event["event"] == "report"]
    assert len(trained) == len(set(trained))


def test_resuming_a_finished_run_does_nothing_but_say_so(tmp_path):
    run = run_of(tmp_path, trials=3)
    before = what_happened(run.folder)
    again(run.folder, Space(trials=3))
    assert what_happened(run.folder) == before
    assert run.status()["state"] == "finished"


def test_too_many_failures_end_the_search_with_its_own_exit_code(tmp_path):
    with pytest.raises(SearchFailed) as fault:
        search(
            Space(),
            runs=tmp_path,
            feasible=divided(),
            engine=InlineEngine({"factory": "search_fakes:BrokenBench"}),
        )
    assert fault.value.exit_code == 4
    assert "5 of 5 trials failed, t00000 first; 5 of them with: ValueError: no such thing" in str(fault.value)
    run = Run(next(tmp_path.glob("fake-*")))
    assert run.status()["trials"]["failed"] == 5
    reasons = set(run.trials["reason"].to_pylist())
    assert reasons == {"ValueError: no such thing"}
    assert (run.folder / "ray/checkpoints/t00000/error.txt").exists()


@pytest.mark.parametrize(("limits", "told"), [
    ({"trials": 1}, "no student came out: the only trial failed with: ValueError: no such thing"),
    ({"trials": 2}, "no student came out: both trials failed with: ValueError: no such thing"),
    ({"trials": 4, "max_failures": 1.0}, "no student came out: all 4 trials failed with: ValueError: no such thing"),
    ({"images": 500}, "no student came out: of 1 trial none came to its end (the limit of 500 images)"),
])  # fmt: skip
def test_a_search_without_a_student_has_failed_whatever_share_may_fail(tmp_path, limits, told):
    bench = "Bench" if "images" in limits else "BrokenBench"
    with pytest.raises(autokd.SearchFailed) as fault:
        search(Space(**limits), runs=tmp_path, feasible=divided(), engine=InlineEngine({"factory": f"search_fakes:{bench}"}))
    assert fault.value.what == told and fault.value.exit_code == 4
    assert ("autokd report" if bench == "BrokenBench" else "autokd resume") in fault.value.fix
    folder = next(tmp_path.glob("fake-*"))
    assert Run(folder).status()["state"] == "failed" and Run(folder).status()["reason"] == told
    if "trials" in limits:
        assert again(folder, Space(**limits), retry_failed=True).status()["state"] == "finished"


def test_a_search_whose_teacher_cannot_be_trained_has_failed(tmp_path):
    class Diverging(InlineEngine):
        def teachers(self, *_, **__):
            raise autokd.SearchFailed("the teacher 'big' could not be trained: NaN")

    with pytest.raises(SearchFailed):
        search(Space(), runs=tmp_path, feasible=divided(), engine=Diverging())
    run = Run(next(tmp_path.glob("fake-*")))
    assert (run.status()["state"], run.status()["reason"]) == ("failed", "the teacher 'big' could not be trained: NaN")
    assert again(run.folder, Space()).status()["state"] == "finished"


def test_what_is_to_be_done_at_the_end_finds_the_whole_record_and_cannot_harm_it(tmp_path):
    found, told = [], []

    def at_end(folder):
        found.append((folder, read_table(folder).num_rows, list(read_events(folder / FILE))[-1]["event"]))
        raise RuntimeError("no room for figures")

    run = search(Space(), runs=tmp_path, feasible=divided(), engine=engine(), at_end=at_end, on_event=told.append)
    assert found == [(run.folder, run.trials.num_rows, "close")] and run.status()["state"] == "finished"
    assert any("no room for figures" in event.get("text", "") for event in told)


def test_a_name_that_leaves_the_folder_is_refused(tmp_path):
    with pytest.raises(AutokdError, match="cannot be the name"):
        search(Space(), runs=tmp_path, name="../out", feasible=divided(), engine=engine())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_ledger_is_no_run(tmp_path):
    with pytest.raises(AutokdError, match="no run here"):
        Run(tmp_path)


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGHUP] * 3])  # a shell sends it once more
def test_a_pause_ends_the_session_and_the_resume_goes_on(tmp_path, signals):
    seen = []

    def watch(event):
        seen.append(event)
        if event["event"] == "report" and len(seen) > 15:
            for number in signals:
                os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGHUP)
    run = run_of(tmp_path / "paused", on_event=watch)
    assert signal.getsignal(signal.SIGHUP) is before
    assert run.status()["state"] == "paused"
    told = [event["text"] for event in seen if event["event"] == "phase" and "pausing" in event["text"]]
    assert len(told) == 1 and ("Ctrl-C again" in told[0]) == (signals[0] != signal.SIGHUP)
    assert sum(run.status()["trials"].values()) < 12
    run = again(run.folder, Space())
    assert run.status()["state"] == "finished"
    assert what_happened(run.folder) == what_happened(run_of(tmp_path / "whole").folder)


def test_under_nohup_a_closing_terminal_does_not_pause(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = run_of(tmp_path, on_event=lambda event: os.kill(os.getpid(), signal.SIGHUP))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.status()["state"] == "finished"


def test_a_terminal_that_closes_while_teachers_are_trained_ends_their_training_too():
    """Each goes on from its last checkpoint another time, and nobody is there to press Ctrl-C once more."""
    from autokd.search.run import _interruptible, _Teller

    asked = []
    brain = SimpleNamespace(pausing=False, pause=lambda: asked.append("pause"))
    for teaching in (False, True):
        asked.clear()
        engine_ = SimpleNamespace(teaching=teaching, cancel=lambda: asked.append("cancel"))
        with _interruptible(brain, engine_, _Teller([])):
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked == ["pause", *(["cancel"] if teaching else [])]


def test_a_resume_writes_a_damaged_table_anew_from_the_ledger(tmp_path):
    run = run_of(tmp_path, trials=5)
    rows = run.trials.drop_columns("version")
    (part,) = (run.folder / "trials.parquet").glob("*.parquet")
    damaged = bytearray(part.read_bytes())
    damaged[damaged.index(b"val_top1")] ^= 2  # the name of a column: without it every score would be missing
    part.write_bytes(damaged)
    with pytest.raises(AutokdError, match=r"this part of the result table is damaged(.|\n)*autokd resume"):
        read_table(run.folder)
    assert again(run.folder, Space(trials=5)).trials.drop_columns("version").equals(rows)


def test_a_damaged_ledger_is_named_and_nothing_of_the_run_is_touched(tmp_path):
    run = run_of(tmp_path, trials=3)
    ledger = run.folder / FILE
    lines = ledger.read_bytes().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if b'"val_top1":0.' in line)
    lines[number] = lines[number].replace(b'"val_top1":0.', b'"val_top1":1.')  # a better score than it had
    ledger.write_bytes(b"".join(lines))
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock"}
    for act in (lambda: again(run.folder, Space(trials=9)), run.status):
        with pytest.raises(AutokdError, match=f"{FILE}:{number + 1}: this line of the ledger is not as it was written"):
            act()
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock"} == before


def test_what_a_resume_refuses_leaves_the_run_as_it_was(tmp_path):
    from autokd.search.feasible import feasible

    run = run_of(tmp_path, trials=3)
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    ends = []
    with pytest.raises(AutokdError, match="cannot be made shorter"):
        again(run.folder, Space(trials=3, epochs=3.0), at_end=ends.append)
    fewer = feasible(PAIRS, BUDGETS[:2], COSTS, {})
    with pytest.raises(AutokdError, match="a budget 'free' that the space no longer has"):
        resume(run.folder, space=Space(trials=30), feasible=fewer, engine=engine(), at_end=ends.append)
    after = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    assert {name: after[name] for name in before if name != "study.journal"} == {
        name: content for name, content in before.items() if name != "study.journal"
    }
    assert run.status()["state"] == "finished" and ends == []


def test_an_interruption_before_the_run_began_leaves_no_folder(tmp_path):
    class Stopped(Space):
        def to_yaml(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_of(tmp_path, Stopped())
    assert list(tmp_path.iterdir()) == []


def test_failed_trials_are_run_again_when_asked(tmp_path):
    with pytest.raises(SearchFailed):
        search(Space(), runs=tmp_path, feasible=divided(), engine=InlineEngine({"factory": "search_fakes:BrokenBench"}))
    run = again(next(tmp_path.glob("fake-*")), Space(), retry_failed=True)
    assert run.status()["state"] == "finished"
    assert run.status()["trials"]["failed"] == 0
    assert len(set(read_table(run.folder)["trial"].to_pylist())) == 12


def test_a_damaged_checkpoint_is_left_aside_and_the_trial_starts_anew(tmp_path):
    folder = killed_after(tmp_path, 6, Space())
    broken = [path for path in folder.glob("ray/checkpoints/*/mark-*/trial.json")]
    assert broken
    for path in broken:
        path.write_text("{")
    run = again(folder, Space())
    assert run.status()["state"] == "finished"
    whole = run_of(tmp_path / "whole")
    assert run.trials.drop(["version"]).equals(whole.trials.drop(["version"]))


def test_latencies_stand_in_the_ledger_and_the_table_and_what_is_marginal_is_told_at_the_start(tmp_path):
    from dataclasses import replace

    from search_fakes import COSTS, PAIRS

    from autokd.config.limits import Budget
    from autokd.cost.latency import Estimate, Timing
    from autokd.search.feasible import Counted, feasible

    space, budget = Space(trials=4), Budget("quick", latency_ms=2.1)
    space.budgets = (budget, Budget("free"))
    costs = {}
    for number, (name, cost) in enumerate(COSTS.items(), start=1):  # 1, 2 and 3 ms, give or take a tenth
        once = Estimate(number, 0.9 * number, 1.1 * number)
        timing = Timing(once, once, 50, "others ran" * (name == "large"))
        costs[name] = Counted(cost.params, cost.macs, 4 * cost.params, 8, {budget.deployment: timing})
    found = feasible(PAIRS, space.budgets, costs, {"teacher": replace(costs["large"], macs=9999)},
                     latencies={"machine": {"processor": "a CPU"}, "timings": []}, notes=("something else ran",))  # fmt: skip
    heard = []
    run = search(space, runs=tmp_path, feasible=found, engine=engine(), on_event=heard.append)
    begin = next(read_events(run.folder / FILE))
    marks = {"marginal": {"quick": ["middle"]}, "doubtful": {"quick": ["large"]}}
    assert begin["latencies"] == {"machine": {"processor": "a CPU"}, "timings": [], **marks}
    assert [one["latency_ms"] for one in begin["budgets"]] == [2.1, None]
    said = " ".join(event["text"] for event in heard if event["event"] == "phase")
    assert "something else ran" in said and "quick: middle" in said
    assert "not excluded, since the latency is not trustworthy: quick: large" in said
    ms = {"small": 1.0, "middle": 2.0, "large": 3.0}
    for row in run.trials.to_pylist():
        assert row["latency_ms"] == ms[row["student"]] and row["file_size"] == 4 * row["params"] and row["memory"] == 8
        assert json.loads(row["latencies"]) == {budget.conditions: ms[row["student"]]}


@pytest.mark.parametrize("kind", [str, Path])
def test_object_storage_is_refused_as_a_folder_of_runs_with_the_way_out(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AutokdError, match="not in object storage") as told:
        search(Space(), runs=kind("s3://bucket/runs"), feasible=divided(), engine="inline")
    assert "autokd copy" in told.value.fix and not list(tmp_path.iterdir())
