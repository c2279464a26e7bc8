"""The driver of a search is killed, truly, and the search goes on: nothing that had ended is lost."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autokd.track.ledger import FILE, read_events
from autokd.track.table import read_table

HERE = Path(__file__).resolve().parent
SCRIPT = """
import sys
from pathlib import Path
from search_fakes import Space, divided
from autokd.search.run import resume, search

what, folder, engine, slow = sys.argv[1:]
bench = {"factory": "search_fakes:Bench", "slow": float(slow)}
if engine == "ray":
    from autokd.search.ray_engine import RayEngine as Engine
else:
    from autokd.search.inline_engine import InlineEngine as Engine
space = Space(trials=14, mlflow=True)
settings = {"feasible": divided(), "engine": Engine(bench)}
if what == "search":
    search(space, runs=folder, **settings)
else:
    resume(folder, space=space, **settings)
"""


def start(what, folder, engine, slow):
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, what, str(folder), engine, str(slow)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)


def wait_for(process, runs, done, seconds=120):
    """The run folder, once its events are enough."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, process.stderr.read()
        for folder in runs.glob("fake-*"):
            if (folder / FILE).exists() and done(list(read_events(folder / FILE))):
                return folder
        time.sleep(0.02)
    raise AssertionError("the search does not come on")


def finished(process):
    _, told = process.communicate(timeout=180)
    assert process.returncode == 0, told


def children(runs, folder):
    from mlflow.tracking import MlflowClient

    from autokd.track.mlflow_log import store_uri

    client = MlflowClient(tracking_uri=store_uri(runs))
    found = client.search_runs([client.get_experiment_by_name("fake").experiment_id])
    assert {run.data.tags["autokd.run"] for run in found} == {folder.name}
    return [run for run in found if "mlflow.parentRunId" in run.data.tags], found


def several_ended_and_one_under_way(events):
    last = last_told(events)
    ended = [trial for trial, event in last.items() if event["event"] == "end"]
    under_way = [trial for trial, event in last.items() if event["event"] == "report"]
    return len(ended) >= 4 and under_way


def last_told(events):
    """The last event of each trial. One that a rung stopped may have gone on since."""
    return {event["trial"]: event for event in events if event["event"] in ("trial", "report", "end", "again")}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_search_whose_driver_is_killed_is_gone_on_with_and_loses_no_finished_trial(tmp_path, engine):
    process = start("search", tmp_path, engine, 0.15)
    folder = wait_for(process, tmp_path, several_ended_and_one_under_way)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    before = list(read_events(folder / FILE))
    ended = {trial: event for trial, event in last_told(before).items() if event["event"] == "end"}
    done = {trial: event for trial, event in ended.items() if event["status"] == "done"}
    marks = {event["trial"]: event["mark"] for event in before if event["event"] == "report"}
    assert len(ended) < 14

    finished(start("resume", folder, engine, 0.0))
    after = list(read_events(folder / FILE))
    assert after[: len(before)] == before
    ends = collections.Counter(event["trial"] for event in after if event["event"] == "end")
    ends.subtract(event["trial"] for event in after if event["event"] == "again")
    assert ends == {f"t{n:05d}": 1 for n in range(14)}  # each of them once
    assert all(last_told(after)[trial] == event for trial, event in done.items())
    told = collections.Counter((e["trial"], e["mark"]) for e in after if e["event"] == "report")
    assert set(told.values()) == {1}  # what was under way went on behind its last mark
    assert any(trial not in ended and (trial, mark + 1) in told for trial, mark in marks.items())

    rows = read_table(folder)
    assert set(rows["status"].to_pylist()) <= {"done", "stopped", "failed"}
    trials = set(rows["trial"].to_pylist())
    found, every = children(tmp_path, folder)
    assert {run.data.tags["autokd.trial"] for run in found} == trials
    assert len(found) == len(trials) == 14
    assert {run.info.status for run in every} <= {"FINISHED", "FAILED"}
