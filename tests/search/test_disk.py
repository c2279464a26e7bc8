"""What trials keep on the disk, what of it may go, and the limit on a run's size."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from search_fakes import Bench, FakeTrial, Space, divided
from test_run import what_happened

from autokd.errors import AutokdError
from autokd.search.disk import DiskLimit, Limiter
from autokd.search.inline_engine import InlineEngine
from autokd.search.kept import Checkpoints, clear, listed, size_of, waste
from autokd.search.run import Run, resume, search
from autokd.track.ledger import FILE, FolderLock, read_events

HEAVY = 50_000  # bytes of a checkpoint: next to it a fake search writes little


class HeavyTrial(FakeTrial):
    weight = HEAVY

    def save(self, folder):
        super().save(folder)
        (folder / "weights").write_bytes(b"0" * self.weight)


class HeavyBench(Bench):
    def __init__(self, weight=HEAVY, **settings):
        super().__init__(**settings)
        self.weight = weight

    def trial(self, config):
        made = HeavyTrial(config)
        made.weight = self.weight
        return made


def engine():
    return InlineEngine({"factory": f"{__name__}:HeavyBench"})


def searched(tmp_path, on_event=None, **settings):
    return search(Space(**settings), runs=tmp_path, feasible=divided(), engine=engine(), on_event=on_event)


def resumed(folder, **settings):
    return resume(folder, space=Space(**settings), feasible=divided(), engine=engine())


def events(*ended, eta=2.0, rungs=(1.0, 3.0)):
    """A search of (trial, budgets, score or None, status)."""
    yield {"event": "begin", "length": {"epochs": 9, "rungs": list(rungs), "eta": eta}}
    for trial, budgets, score, status in ended:
        yield {"event": "trial", "trial": trial, "budgets": list(budgets)}
        yield {"event": "report", "trial": trial, "val_top1": 0.1, "final": False}
        if score is not None:
            yield {"event": "report", "trial": trial, "val_top1": score, "final": True}
        if status != "running":
            yield {"event": "end", "trial": trial, "status": status}


FIVE = [
    ("a", ("small", "any"), 0.5, "done"),
    ("b", ("any",), 0.9, "done"),
    ("c", ("any",), 0.8, "done"),
    ("d", ("any",), 0.7, "done"),
    ("e", ("any",), None, "failed"),
    ("f", ("any",), None, "running"),
    ("g", ("any",), None, "stopped"),
]


def test_needed_is_what_is_unfinished_what_failed_and_the_best_share_of_each_budget():
    # of "any" four finished: b, c, d, a; with eta 2 two of them go further. Of "small" one alone: it goes.
    # What a rung stopped may go on until the search is over.
    kept = Checkpoints(events(*FIVE))
    assert kept.needed() == {"a", "b", "c", "e", "f", "g"}
    kept.take({"event": "close", "status": "finished"})
    assert kept.needed() == {"a", "b", "c", "e", "f"}


def test_where_nothing_is_compared_at_rungs_every_finished_trial_may_go_further():
    assert Checkpoints(events(*FIVE, rungs=())).needed() == {"a", "b", "c", "d", "e", "f", "g"}


def test_what_cannot_be_made_longer_needs_no_finished_trial():
    assert Checkpoints(events(*FIVE), extends=False).needed() == {"e", "f", "g"}


def test_the_shorter_trial_is_needed_until_the_longer_one_has_a_checkpoint_of_its_own():
    kept = Checkpoints(events(("a", ("any",), 0.5, "done"), ("b", ("any",), 0.9, "done"), eta=2.0))
    kept.take({"event": "trial", "trial": "c", "budgets": ["any"], "of": "a"})
    assert kept.needed() == {"a", "b", "c"} and kept.spare() == []
    kept.take({"event": "report", "trial": "c", "val_top1": 0.6, "final": False})
    assert kept.needed() == {"b", "c"} and kept.spare() == ["a"]


def test_failed_checkpoints_go_first_then_the_poorest_and_never_the_best_of_a_budget():
    assert Checkpoints(events(*FIVE)).spare() == ["e", "d", "c", "g"]
    assert Checkpoints(events(*FIVE), extends=False).spare() == ["e", "d", "c", "a", "b", "g"]


def test_of_those_that_a_rung_stopped_the_least_far_goes_first_and_then_the_poorest():
    kept = Checkpoints(events(*((trial, ("any",), None, "stopped") for trial in "abc")))
    for trial, epochs, score in (("a", 3.0, 0.2), ("b", 1.0, 0.9), ("c", 3.0, 0.1)):
        kept.take({"event": "report", "trial": trial, "epochs": epochs, "val_top1": score})
    assert kept.spare() == ["b", "c", "a"]


def test_a_trial_that_is_run_again_is_needed_again():
    kept = Checkpoints(events(*FIVE))
    kept.take({"event": "again", "trial": "e"})
    assert kept.spare() == ["d", "c", "g"] and "e" in kept.needed()


@pytest.mark.slow
def test_a_search_below_its_limit_is_the_same_as_one_without(tmp_path):
    free, held = searched(tmp_path / "free"), searched(tmp_path / "held", max_disk_gb=1.0)
    assert what_happened(free.folder) == what_happened(held.folder)
    assert size_of(free.folder / "ray") == size_of(held.folder / "ray")


def done(run):
    rows = {row["trial"]: row for row in run.trials.to_pylist()}
    return {trial: row for trial, row in rows.items() if row["status"] == "done"}


def test_above_the_limit_the_poorest_finished_checkpoints_go_and_the_search_ends_as_it_would(tmp_path):
    whole = searched(tmp_path / "whole", scheduler="none")
    kept = len(done(whole))
    assert kept >= 6
    most = size_of(whole.folder) - 2.5 * HEAVY  # so that three checkpoints have to go
    said = []
    said_to = {"on_event": lambda event: said.append(event.get("text") or "")}
    run = searched(tmp_path / "held", scheduler="none", max_disk_gb=most / 1e9, **said_to)
    assert what_happened(run.folder) == what_happened(whole.folder) and run.status()["state"] == "finished"
    assert size_of(run.folder) <= most
    left = {path.name for path in (run.folder / "ray/checkpoints").iterdir() if any(path.iterdir())}
    assert kept - 4 <= len(left) <= kept - 3
    best = {name: row["trial"] for name, row in run.best().items()}
    assert set(best.values()) <= left
    gone = set(done(run)) - left
    assert max(done(run)[one]["val_top1"] for one in gone) < max(done(run)[one]["val_top1"] for one in left)
    assert sum("max_disk_gb" in text for text in said) == 1


@pytest.mark.slow
def test_with_rungs_the_stopped_give_way_before_what_finished_and_the_search_comes_to_its_end(tmp_path):
    whole = searched(tmp_path / "whole", trials=24)
    most = size_of(whole.folder) - size_of(whole.folder / "ray/checkpoints") + 5.5 * HEAVY
    sizes = []

    def look(event):
        if event["event"] == "end":
            sizes.append(size_of(next((tmp_path / "held").glob("fake-*"))))

    run = searched(tmp_path / "held", on_event=look, trials=24, max_disk_gb=most / 1e9)
    assert run.status()["state"] == "finished" and sum(run.status()["trials"].values()) == 24
    assert max(sizes) <= most + HEAVY, "one checkpoint may be over until it is looked at"
    assert size_of(run.folder) <= most
    left = {path.name for path in (run.folder / "ray/checkpoints").iterdir() if any(path.glob("mark-*"))}
    assert {row["trial"] for row in run.best().values()} <= left


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_a_search_is_held_to_its_size_and_pauses_where_nothing_may_go(tmp_path, monkeypatch):
    from autokd.search.ray_engine import RayEngine

    here, weight = Path(__file__).resolve(), 1_000_000  # next to it the 0.4 MB that Ray notes are little
    monkeypatch.setenv("PYTHONPATH", f"{here.parent}{os.pathsep}{here.parents[2]}")  # for the workers

    def on_ray(begin, place, **settings):
        engine = RayEngine({"factory": "test_disk:HeavyBench", "weight": weight})
        return begin(place, Space(trials=12, scheduler="none", **settings), engine)

    def begun(runs, space, engine):
        return search(space, runs=runs, feasible=divided(), engine=engine)

    whole = on_ray(begun, tmp_path / "whole")
    assert len(done(whole)) == 12
    assert size_of(whole.folder) > 12 * weight
    run = on_ray(begun, tmp_path / "held", max_disk_gb=7 * weight / 1e9)
    assert run.status()["state"] == "finished" and len(done(run)) == 12
    assert 4 * weight < size_of(run.folder) <= 7.5 * weight
    left = {path.parent.name for path in run.folder.glob("ray/checkpoints/*/mark-*")}
    assert {row["trial"] for row in run.best().values()} <= left
    with pytest.raises(DiskLimit) as fault:
        on_ray(begun, tmp_path / "cut", max_disk_gb=weight / 1e9)
    assert fault.value.exit_code == 5
    folder = next((tmp_path / "cut").glob("fake-*"))
    assert Run(folder).status()["state"] == "paused"

    def gone_on(folder, space, engine):
        return resume(folder, space=space, feasible=divided(), engine=engine)

    made = on_ray(gone_on, folder, max_disk_gb=1.0)
    assert made.status()["state"] == "finished" and len(done(made)) == 12


def test_where_nothing_may_go_the_search_pauses_and_says_the_way_on(tmp_path):
    with pytest.raises(DiskLimit, match="the search has paused: the run's folder takes .* more than search.max_disk_gb") as fault:
        searched(tmp_path / "cut", scheduler="none", max_disk_gb=HEAVY / 1e9)
    assert fault.value.exit_code == 5
    folder = next((tmp_path / "cut").glob("fake-*"))
    status = Run(folder).status()
    assert status["state"] == "paused" and "max_disk_gb" in status["reason"]
    limit = float(re.search(r"max_disk_gb=(\S+)", fault.value.fix).group(1))
    assert limit * 1e9 > size_of(folder)
    with pytest.raises(DiskLimit):  # the same limit: it pauses before it trains anything
        resumed(folder, scheduler="none", max_disk_gb=HEAVY / 1e9)
    made = resumed(folder, scheduler="none", max_disk_gb=1.0)
    assert what_happened(made.folder) == what_happened(searched(tmp_path / "whole", scheduler="none").folder)


def test_a_part_of_a_run_is_held_to_the_size_of_the_whole(tmp_path):
    run = searched(tmp_path)
    part = run.folder / "confirm"
    (part / "ray/checkpoints/t00000/mark-0001").mkdir(parents=True)
    (part / "ray/checkpoints/t00000/mark-0001/weights").write_bytes(b"0" * HEAVY)
    before = size_of(run.folder)
    paused = []
    limiter = Limiter(part, run.folder, before - 1.5 * HEAVY)
    for event in events(("t00000", ("any",), 0.5, "done")):
        limiter.on_event(event)
    limiter.begin(paused.append)
    assert not paused and size_of(run.folder) <= before - 1.5 * HEAVY
    assert not list(part.glob("ray/checkpoints/*/mark-*"))  # nobody takes a confirming training further


def test_prune_leaves_what_a_resume_goes_on_from(tmp_path):
    whole, run = searched(tmp_path / "whole"), searched(tmp_path / "run")
    stray = run.folder / "ray/checkpoints/t00001/.mark-0003.77"
    stray.mkdir(parents=True)
    some = waste(run.folder)
    assert {one.what for one in some} == {"checkpoints of finished trials", "half-written checkpoints"}
    assert listed(run.folder).spare == sum(one.bytes for one in some) > 0
    before, table = size_of(run.folder), run.trials
    assert clear(run.folder, some) == before - size_of(run.folder) > 0
    assert waste(run.folder) == [] and run.trials.equals(table) and not stray.exists()
    longer = {"epochs": 27.0}
    assert what_happened(resumed(run.folder, **longer).folder) == what_happened(resumed(whole.folder, **longer).folder)


def test_prune_of_everything_leaves_tables_ledgers_and_logs(tmp_path):
    run = searched(tmp_path)
    log = run.folder / "ray/checkpoints" / next(iter(done(run))) / "error.txt"
    log.write_text("why")
    clear(run.folder, waste(run.folder, everything=True))
    assert not list(run.folder.glob("ray/checkpoints/*/mark-*")) and log.read_text() == "why"
    assert len(done(run)) and run.status()["state"] == "finished"
    assert resumed(run.folder, epochs=27.0).status()["state"] == "finished"


def test_a_run_that_is_written_is_not_pruned(tmp_path):
    run = searched(tmp_path, trials=3)
    some = waste(run.folder, everything=True)
    with FolderLock(run.folder), pytest.raises(AutokdError, match="another process"):
        clear(run.folder, some)
    assert some and all(one.path.exists() for one in some)


def test_links_out_of_the_run_are_not_followed(tmp_path):
    run = searched(tmp_path / "runs", trials=3)
    outside = tmp_path / "outside" / "mark-0001"
    outside.mkdir(parents=True)
    (outside / "weights").write_bytes(b"0" * 1000)
    (run.folder / "ray/checkpoints/t00099").symlink_to(outside.parent)
    clear(run.folder, waste(run.folder, everything=True))
    assert (outside / "weights").exists()


def test_the_ledger_tells_what_pruning_needs(tmp_path):
    run = searched(tmp_path, trials=3)
    assert next(read_events(run.folder / FILE))["length"] == {"epochs": 9.0, "rungs": [1.0, 3.0], "eta": 3.0}
