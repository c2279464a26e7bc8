"""The search on a real Ray, with trials whose curves are a formula: what is measured and killed here is the engine."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from search_fakes import Space, divided

from autokd.errors import AutokdError
from autokd.search.run import Run, resume, search
from autokd.track.ledger import FILE, read_events

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster():
    """One Ray for all tests of this file; an engine leaves alone what it did not start."""
    from autokd.search.ray_engine import RayEngine

    here = Path(__file__).resolve()
    engine = RayEngine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{here.parent}{os.pathsep}{here.parents[2]}")  # for the workers
        engine.open(SimpleNamespace(cpus=1.0, gpus=0.0, workers=1, address=None))
        yield
    engine.close()


def engine(**bench):
    from autokd.search.ray_engine import RayEngine

    return RayEngine({"factory": "search_fakes:Bench", **bench})


def events(run, *kinds):
    return [event for event in read_events(run.folder / FILE) if event["event"] in kinds]


def ran(tmp_path, space, on_event=None, **bench):
    return search(space, runs=tmp_path, feasible=divided(), engine=engine(**bench), on_event=on_event)


def ended(run):
    """How often each trial came to an end that lasted: one that a rung stopped may have gone on."""
    ends = collections.Counter(event["trial"] for event in events(run, "end"))
    ends.subtract(event["trial"] for event in events(run, "again"))
    return ends


def test_trials_follow_one_another_in_reused_processes_at_little_cost(tmp_path, cluster):
    times = []
    run = ran(tmp_path, Space(trials=40), on_event=lambda e: e["event"] == "end" and times.append(time.monotonic()))
    assert sum(run.status()["trials"].values()) == 40
    assert run.status()["state"] == "finished"
    pids = {event["pid"] for event in events(run, "report")}
    assert len(pids) <= 2  # as many processes as trials at once, not one a trial
    steady = (times[-1] - times[9]) / 30  # after the processes are up
    assert steady < 0.5, f"{steady:.3f} s a trial"
    print(f"{steady:.3f} s a trial")


def test_a_lost_place_gets_a_process_again_also_where_trials_are_shorter_than_one_takes_to_begin(tmp_path, cluster):
    """Tune would kill the one that is beginning whenever a trial ends, and the other place would do the rest alone."""
    killed = []

    def kill(event):
        if event["event"] == "report" and event["trial"] == "t00010" and not killed:
            killed.append(event["pid"])
            os.kill(event["pid"], signal.SIGKILL)

    run = ran(tmp_path, Space(trials=100, scheduler="none"), on_event=kill, slow=0.05)
    trials = collections.Counter(event["pid"] for event in events(run, "report") if event["mark"] == 0)
    assert len(trials) == 3
    assert min(trials[pid] for pid in trials if pid not in killed) >= 10


def test_every_trial_ends_once_and_reports_its_marks_in_order(tmp_path, cluster):
    run = ran(tmp_path, Space(trials=20))
    ends = ended(run)
    assert set(ends.values()) == {1} and len(ends) == 20
    marks = collections.defaultdict(list)
    for event in events(run, "report"):
        marks[event["trial"]].append(event["mark"])
    assert all(found == list(range(len(found))) for found in marks.values())
    assert {event["status"] for event in events(run, "end")} >= {"done", "stopped"}


def test_a_worker_that_dies_costs_no_trial(tmp_path, cluster):
    """The process ends by itself, as one killed for memory does; its trial goes on in another one."""
    died = tmp_path / "died"
    run = ran(tmp_path / "runs", Space(trials=12), die=str(died))
    assert died.exists()
    assert sum(run.status()["trials"].values()) == 12
    assert run.status()["trials"]["failed"] == 0
    assert set(ended(run).values()) == {1}


def test_a_worker_killed_from_outside_in_the_middle_of_a_trial_costs_no_trial(tmp_path, cluster):
    killed = []

    def kill(event):
        if event["event"] == "report" and event["mark"] == 2 and not killed:
            killed.append(event["trial"])
            os.kill(event["pid"], signal.SIGKILL)

    run = ran(tmp_path, Space(trials=10, scheduler="none"), on_event=kill, slow=0.2)
    assert killed
    ends = events(run, "end")
    assert sorted(event["trial"] for event in ends) == [f"t{n:05d}" for n in range(10)]
    assert {event["status"] for event in ends} == {"done"}
    marks = [event["mark"] for event in events(run, "report") if event["trial"] == killed[0]]
    assert marks == list(range(len(marks)))  # none told twice, none left out


def test_a_trial_that_diverges_fails_with_its_reason_and_the_search_goes_on(tmp_path, cluster):
    class Hot(Space):
        def starts(self, pairs):
            return [{"method": "kd", "lr": 0.99}, {"method": "ccd"}]

    run = ran(tmp_path, Hot(trials=9))
    status = run.status()["trials"]
    assert status["failed"] >= 1
    assert status["done"] + status["stopped"] + status["failed"] == 9
    reasons = {event["reason"] for event in events(run, "end") if event["status"] == "failed"}
    assert reasons == {"the loss is not finite at step 7"}


def test_the_limit_of_images_ends_running_trials(tmp_path, cluster):
    run = ran(tmp_path, Space(trials=None, images=40_000), slow=0.05)
    assert run.status()["reason"] == "the limit of 40,000 images"
    assert 40_000 <= run.status()["images"] <= 40_000 + 3 * 9_000
    assert run.status()["trials"]["running"] == 0


def test_what_is_not_there_is_refused_before_any_trial(tmp_path, cluster):
    space = Space(trials=2)
    space.resources = space.resources.model_copy(update={"cpus": 1000.0})
    with pytest.raises(AutokdError, match="asks for 1000 CPUs"):
        ran(tmp_path, space)
    status = Run(next(tmp_path.glob("fake-*"))).status()
    assert status["state"] == "cancelled"
    assert "asks for 1000 CPUs" in status["reason"]


def test_an_engine_joins_the_ray_that_runs_and_leaves_it(tmp_path, cluster):
    import ray

    ran(tmp_path, Space(trials=2))
    assert ray.is_initialized()


@pytest.mark.parametrize("named", ["its address", "auto"])
def test_a_cluster_that_runs_already_is_joined_by_its_address_or_the_environment_s(tmp_path, cluster, named):
    import ray

    code = """
import sys
from search_fakes import Space, divided
from autokd.search.ray_engine import RayEngine
from autokd.search.run import search

engine = RayEngine({"factory": "search_fakes:Bench"}, address=sys.argv[2])
print(search(Space(trials=4), runs=sys.argv[1], feasible=divided(), engine=engine).status())
"""
    address = ray.get_runtime_context().gcs_address
    there, known = ("auto", {"RAY_ADDRESS": address}) if named == "auto" else (address, {})
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path), there]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **known})
    assert told.returncode == 0, told.stderr
    assert "'state': 'finished'" in told.stdout
    assert ray.cluster_resources()["CPU"] >= 1  # and it still runs


def test_a_pause_over_ray_is_gone_on_with(tmp_path, cluster):
    heard = []

    def watch(event):
        heard.append(event)
        if event["event"] == "report" and sum(e["event"] == "report" for e in heard) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    run = ran(tmp_path, Space(trials=8), on_event=watch, slow=0.1)
    assert run.status()["state"] == "paused"
    before = {event["trial"]: event["status"] for event in events(run, "end") if event["status"] == "done"}
    run = resume(run.folder, space=Space(trials=8), feasible=divided(), engine=engine())
    assert run.status()["state"] == "finished"
    after = {event["trial"]: event["status"] for event in events(run, "end")}
    assert len(after) == 8 and before.items() <= after.items()


@pytest.mark.parametrize(
    ("asked", "there", "told"),
    [
        ({}, 0, (1.0, 0.0, 1)),
        ({}, 4, (1.0, 0.25, 1)),
        ({"gpus": 0.5}, 1, (1.0, 0.5, 1)),
        ({"gpus": 1.0}, 1, (1.0, 1.0, 1)),
        ({"gpus": 2.0}, 4, (1.0, 2.0, 2)),  # several GPUs: a worker on each
        ({"workers": 2}, 4, (1.0, 2.0, 2)),
        ({"workers": 2}, 0, (1.0, 0.0, 2)),
        ({"workers": 2, "gpus": 0.0, "cpus": 3.0}, 4, (3.0, 0.0, 2)),
        ({"workers": 2, "gpus": 1.0}, 4, "each worker needs one of its own"),
        ({"gpus": 1.5}, 4, "each worker needs one of its own"),
    ],
)
def test_what_one_trial_gets(asked, there, told):
    from autokd.search.ray_engine import share_of

    resources = SimpleNamespace(**{"cpus": 1.0, "gpus": None, "workers": 1, **asked})
    if isinstance(told, str):
        with pytest.raises(AutokdError, match=told):
            share_of(resources, there)
    else:
        assert share_of(resources, there) == told
