"""What goes wrong in a trial, and what the search makes of it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from search_fakes import Bench, FakeTrial, Space, divided, plan
from test_run import again, run_of, what_happened

from autokd.errors import AutokdError
from autokd.search.brain import Proposal
from autokd.search.inline_engine import InlineEngine
from autokd.search.run import Run, resume, search
from autokd.search.work import Job, order_of
from autokd.track.ledger import FILE, read_events


class Greedy(FakeTrial):
    """Large students run out of memory; `left` of them."""

    left = 0

    def advance(self, images):
        if self.config.student.name == "large" and Greedy.left > 0:
            Greedy.left -= 1
            raise MemoryError
        return super().advance(images)


class GreedyBench(Bench):
    def trial(self, config):
        return Greedy(config)


class Paused(Greedy):
    """Likewise, and Ctrl-C is pressed just before."""

    def advance(self, images):
        if self.config.student.name == "large" and Greedy.left > 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().advance(images)


class PausedBench(Bench):
    def trial(self, config):
        return Paused(config)


class Brimming(FakeTrial):
    """No room on the disk for the checkpoint after `room` of them."""

    room = 0

    def save(self, folder):
        super().save(folder)
        if Brimming.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        Brimming.room -= 1


class BrimmingBench(Bench):
    def trial(self, config):
        return Brimming(config)


class SlowBench(Bench):
    def trial(self, config):
        return FakeTrial(config, slow=0.35 if config.student.name == "large" else 0.0)


def searched(tmp_path, bench, **settings):
    engine = InlineEngine({"factory": f"{__name__}:{bench}"})
    return search(Space(**settings), runs=tmp_path, feasible=divided(), engine=engine)


def events_of(folder, kind):
    return [event for event in read_events(folder / FILE) if event["event"] == kind]


def test_a_trial_out_of_memory_is_run_once_more_with_a_larger_share_and_its_peak_is_told(tmp_path):
    Greedy.left = 1
    run = searched(tmp_path, "GreedyBench")
    (told,) = events_of(run.folder, "requeue")
    assert told["share"] == 2.0 and told["peak"] > 2**20 and "MiB" in told["reason"]
    assert next(e for e in events_of(run.folder, "end") if e["trial"] == told["trial"])["status"] in ("done", "stopped")
    assert run.status()["trials"]["failed"] == 0 and sum(run.status()["trials"].values()) == 12


def test_a_trial_that_runs_out_of_memory_during_a_pause_is_run_once_more_by_the_resume(tmp_path):
    Greedy.left = 1
    run = searched(tmp_path, "PausedBench")
    (told,) = events_of(run.folder, "requeue")
    assert run.status()["state"] == "paused" and run.status()["trials"]["failed"] == 0
    made = resume(run.folder, space=Space(), feasible=divided(), engine=InlineEngine({"factory": f"{__name__}:GreedyBench"}))
    assert made.status()["state"] == "finished" and made.status()["trials"]["failed"] == 0
    assert told["trial"] in {event["trial"] for event in events_of(run.folder, "end")}


def test_a_trial_that_does_not_fit_the_second_time_either_fails(tmp_path):
    Greedy.left = 2
    run = searched(tmp_path, "GreedyBench")
    failed = [e for e in events_of(run.folder, "end") if e["status"] == "failed" and "finite" not in e["reason"]]
    assert [e["trial"] for e in failed] == [e["trial"] for e in events_of(run.folder, "requeue")]
    assert len(failed) == 1 and "also with 2 times the share" in failed[0]["reason"] and failed[0]["machine"]


@pytest.mark.parametrize("room", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 7))])
def test_a_full_disk_ends_the_search_with_one_message_and_the_resume_goes_on_as_if_nothing_was(tmp_path, room):
    Brimming.room = room
    with pytest.raises(AutokdError, match="the disk is full") as fault:
        searched(tmp_path / "cut", "BrimmingBench")
    folder = next((tmp_path / "cut").glob("fake-*"))
    assert "autokd resume" in fault.value.fix and fault.value.exit_code == 2
    assert not list(folder.glob("ray/checkpoints/*/.mark-*"))  # nothing half written
    assert all(json.loads((one / "report.json").read_text()) for one in folder.glob("ray/checkpoints/*/mark-*"))
    assert Run(folder).status()["trials"]["failed"] == 0
    made = again(folder, Space())
    assert what_happened(made.folder) == what_happened(run_of(tmp_path / "whole").folder)


class Picky(FakeTrial):
    """What stands in its checkpoint is raised when it is taken."""

    def load(self, folder, epochs=None):
        text = (Path(folder) / "trial.json").read_text()
        faults = {
            "flipped": AutokdError("the checkpoint is damaged", where=str(folder)),
            "memory": MemoryError(),
            "gpu": RuntimeError("CUDA error: an illegal memory access"),
            "disk": OSError(errno.EIO, "Input/output error"),
        }
        if text in faults:
            raise faults[text]
        super().load(folder, epochs)


class PickyBench(Bench):
    def trial(self, config):
        return Picky(config)


def order_for(run):
    draw = SimpleNamespace(choose=lambda path, options: options[0], log=lambda path, low, high: low)
    config = Space().sample(draw, [("teacher", "small")], 0)
    return order_of(Proposal("t00000", 0, "tiny", config, plan().marks(9)), run)


def kept_at_the_first_mark(run):
    """A trial's checkpoint, after which its process has ended."""
    assert Job(order_for(run), PickyBench()).step()["mark"] == 0
    (kept,) = run.glob("ray/checkpoints/t00000/mark-*")
    return kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: (kept / "trial.json").write_text("flipped"),
        lambda kept: (kept / "trial.json").unlink(),
        lambda kept: (kept / "report.json").write_text("{"),
        lambda kept: (kept / "report.json").write_text("{}"),
    ],
)
def test_a_trial_whose_checkpoint_is_damaged_begins_anew_and_says_so(tmp_path, damage):
    kept = kept_at_the_first_mark(tmp_path)
    damage(kept)
    job = Job(order_for(tmp_path), PickyBench())
    told = job.step()
    assert "failed" not in told and (told["mark"], told["images"]) == (0, 1000)  # the first mark again
    assert told["decisions"] == [f"t00000: it goes on from before its checkpoint {kept.name}: the checkpoint is damaged"]
    assert job.step()["mark"] == 1
    assert Job(order_for(tmp_path), PickyBench()).step()["mark"] == 1  # the new checkpoint serves


@pytest.mark.parametrize(("text", "reason"), [("memory", "out of memory"), ("gpu", None), ("disk", "OSError")])
def test_a_checkpoint_that_is_not_to_blame_stays(tmp_path, text, reason):
    kept = kept_at_the_first_mark(tmp_path)
    (kept / "trial.json").write_text(text)
    job = Job(order_for(tmp_path), PickyBench())
    if reason is None:  # the process ends, and another one tries
        with pytest.raises(RuntimeError, match="CUDA error"):
            job.step()
    else:
        told = job.step()
        assert reason in told["failed"] and told["machine"]
    assert kept.exists()


def test_a_trial_that_takes_too_long_fails_and_says_so(tmp_path):
    run = searched(tmp_path, "SlowBench", trials=6, trial_hours=0.8 / 3600, max_failures=1.0)
    rows = {row["trial"]: row for row in run.trials.to_pylist()}
    assert {row["student"] for row in rows.values() if row["status"] == "failed"} == {"large"}
    assert any("search.trial_hours" in (row["reason"] or "") for row in rows.values())
    assert not list(run.folder.glob("ray/checkpoints/*/hung.txt"))


def test_a_limit_longer_than_any_clock_can_wait_is_no_fault(tmp_path):
    job = Job({**order_for(tmp_path), "seconds": 3600 * 1e308}, PickyBench())
    job.watch()
    assert job.step()["mark"] == 0
    job.close()


HANGS = """
import sys, time
sys.path.insert(0, sys.argv[2])
from search_fakes import Bench, FakeTrial, Space, plan
from autokd.search.brain import Proposal
from autokd.search.work import Job, order_of
from autokd.config.trial import *

class Draw:
    choose = lambda self, path, options: options[0]
    log = lambda self, path, low, high: low

config = Space().sample(Draw(), [("teacher", "small")], 0)
order = order_of(Proposal("t00000", 0, "tiny", config, plan().marks(9), seconds=0.3), sys.argv[1])
job = Job(order, Bench(slow=float(sys.argv[3])))
job.watch()
print(job.step())
"""


def test_a_process_that_hangs_is_ended_and_the_next_one_tells_what_it_did(tmp_path):
    def run(slow):
        command = [sys.executable, "-c", HANGS, str(tmp_path), str(Path(__file__).parent), str(slow)]
        start = time.monotonic()
        made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return made, time.monotonic() - start

    made, seconds = run(50)
    assert made.returncode == 1 and seconds < 45 and not made.stdout
    made, _ = run(0)
    assert "search.trial_hours" in made.stdout and "'log': 'ray/checkpoints/t00000/error.txt'" in made.stdout
    assert "in advance" in (tmp_path / "ray/checkpoints/t00000/error.txt").read_text()
    made, _ = run(0)  # asked for again, it may
    assert "'mark': 0" in made.stdout, made.stderr
