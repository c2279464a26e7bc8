from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from autokd.errors import AutokdError
from autokd.search.granted import ray_folder


@pytest.mark.parametrize(
    ("address", "fault", "what", "way_out"),
    [
        (None, Exception("it timed out\nduring startup"), "Ray did not start: it timed out during startup", "less runs"),
        (None, PermissionError(13, "Permission denied", "/.ray"), "Ray did not start: [Errno 13] Permission denied", "doctor"),
        ("head:1", ConnectionError("nobody there"), "the Ray cluster at head:1 could not be reached: nobody", "address"),
    ],
)
def test_a_ray_that_does_not_start_is_told_with_the_way_out(monkeypatch, address, fault, what, way_out):
    import ray

    from autokd.search.ray_engine import RayEngine

    def init(**_):
        raise fault

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(AutokdError) as told:
        RayEngine(address=address).open(SimpleNamespace(cpus=1.0, gpus=0.0, workers=1, address=None))
    assert what in str(told.value) and way_out in told.value.fix
    assert ("less runs" in told.value.fix) == ("timed out" in what)  # a busy machine is named where one was met


def test_ray_is_given_the_granted_processors_a_folder_of_our_own_and_no_signal_of_a_closing_terminal(monkeypatch):
    import ray

    from autokd.search import ray_engine

    asked = {}

    def init(**settings):
        asked.update(settings)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        asked["deaf"] = signal.SIGHUP in blocked
        raise ConnectionError("enough")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray_engine, "cpus", lambda: 3)
    with pytest.raises(AutokdError):
        ray_engine.RayEngine().open(SimpleNamespace(cpus=1.0, gpus=0.0, workers=1, address=None))
    assert asked["num_cpus"] == 3 and asked["deaf"] and asked["_temp_dir"] == str(ray_folder())
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    with pytest.raises(AutokdError):  # a cluster's machines know themselves
        asked.clear()
        ray_engine.RayEngine(address="head:1").open(SimpleNamespace(cpus=1.0, gpus=0.0, workers=1, address=None))
    assert not {"num_cpus", "_temp_dir"} & asked.keys()


@pytest.mark.parametrize("there", [True, False])
def test_ray_gets_a_token_from_us_where_it_cannot_keep_one(tmp_path, monkeypatch, there):
    from autokd.search import ray_engine

    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "x")  # put back afterwards
        monkeypatch.delenv(name)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path if there else tmp_path / "file"))
    ray_engine._see_to_a_token()
    assert len(os.environ.get("RAY_AUTH_TOKEN", "")) == (0 if there else 64)


def test_teachers_that_are_only_measured_are_so_in_this_process_and_ctrl_c_leaves_the_measurement(monkeypatch, tmp_path):
    from autokd.search import ray_engine

    made = ray_engine.RayEngine({"threads": 1})
    made._local, made._nodes = True, SimpleNamespace(reach=lambda folder: None)
    known = {"a": {"training": None}, "b": {"training": None}}
    monkeypatch.setattr(ray_engine, "teacher_here", lambda *asked: asked)
    assert made.teachers({"name": "x"}, known, "there") == {
        name: ({"device": "cpu", "threads": 1}, {"name": "x"}, {"training": None}, os.path.abspath("there")) for name in known
    }
    asked = []
    monkeypatch.setattr(ray_engine, "trained_before", lambda name, folder: name != "new")
    monkeypatch.setattr(ray_engine, "teacher_here", lambda bench, data, teacher, folder: teacher["here"])
    heard, looks = [], iter([([], "all"), None])

    def trained(bench, data, teacher, folder):
        (tmp_path / f"{teacher['name']}.progress.json").write_text('{"epochs": 2, "total_epochs": 5}')
        return "trained", teacher["name"]

    begun = SimpleNamespace(remote=trained)
    (tmp_path / "new.progress.json").write_text('{"epochs": 4, "total_epochs": 5}')  # of a search that was killed
    with monkeypatch.context() as patch:  # tasks that have ended at once
        patch.setattr(ray_engine.ray, "remote", lambda **_: lambda function: begun)
        patch.setattr(ray_engine.ray, "wait", lambda some, timeout: next(looks) or (some, []))
        patch.setattr(ray_engine.ray, "get", lambda one: one)
        kept = {"name": "kept", "training": {}, "here": {"val_top1": 0.9}}
        stale, new = ({"name": name, "training": {}, "here": None} for name in ("stale", "new"))
        every = {"stale": stale, "kept": kept, "new": new}
        found = made.teachers({}, every, str(tmp_path), lambda name, progress: heard.append((name, progress["epochs"])))
    assert sorted(heard) == [("new", 2), ("stale", 2)]  # each once, as nothing changed
    assert found == {"stale": ("trained", "stale"), "kept": {"val_top1": 0.9}, "new": ("trained", "new")}

    def interrupted(*teacher):
        asked.append(teacher)
        threading.Thread(target=made.cancel).start()  # as another terminal's request: told, and nothing raised in its thread
        made.cancel()

    monkeypatch.setattr(ray_engine, "teacher_here", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.teachers({}, known, "there")
    with pytest.raises(KeyboardInterrupt):  # cancelled already: none is begun
        made.teachers({}, known, "there")
    assert len(asked) == 1 and made.cancelled
    made.cancel()  # nothing is measured any more


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("", "its worker ended"),
        ("Failure # 1 (x)\nFirst\nFailure # 2 (y)\nTraceback\n  RuntimeError: no such thing\n", "RuntimeError: no such thing"),
        (
            "Failure # 1 (x)\nThe actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit "
            "detail: End of file. Some common causes include: (1) the process was killed by the OOM killer",
            "its process ended without a word (Ray: End of file.)",
        ),
        ("Failure # 1 (x)\nThe actor died because its node has died. Node Id: 1\n\tits heartbeats", "its machine was lost"),
    ],
)
def test_what_ray_tells_of_a_trial_becomes_one_line(told, reason):
    from autokd.search.ray_engine import reason_of

    assert reason_of(told) == reason


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("first", ["", "import ray\n"])
def test_ray_starts_and_asks_for_a_token_also_where_it_was_imported_before_us(first):
    code = f"""{first}from types import SimpleNamespace
from autokd.search.ray_engine import RayEngine
engine = RayEngine()
engine.open(SimpleNamespace(cpus=1.0, gpus=0.0, workers=1, address=None))
from ray._private.authentication.authentication_utils import is_token_auth_enabled
print("TOKEN" if is_token_auth_enabled() else "none")
engine.close()
"""
    known = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    made = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120, env=known)
    assert made.stdout.split() == ["TOKEN"], made.stderr


@pytest.mark.parametrize(
    ("told", "memory"),
    [
        ("Failure # 1 (x)\nTask was killed due to the node running low on memory.\nMemory on the node was 7.9GB\n", True),
        ("Failure # 1 (x)\nFailed: the node running low on memory\nFailure # 2 (y)\nits worker process has died.\n", False),
        ("Failure # 1 (x)\nSome common causes include: (1) the process was killed by the OOM killer\n", False),
    ],
)
def test_a_trial_whose_last_process_ray_ended_for_memory_is_out_of_memory_and_others_are_not(tmp_path, told, memory):
    from autokd.search.ray_engine import _Bridge, _Scheduler
    from autokd.search.work import CHECKPOINTS

    heard = []
    brain = SimpleNamespace(
        out_of_memory=lambda trial, reason: heard.append((trial, True)),
        fail=lambda trial, reason, machine: heard.append((trial, False)),
    )
    bridge = _Bridge(brain, tmp_path, {}, lambda: None, lambda: False)
    bridge.names["abc"] = "t00000"
    (tmp_path / "error.txt").write_text(told)
    (tmp_path / CHECKPOINTS / "t00000").mkdir(parents=True)
    _Scheduler(bridge).on_trial_error(None, SimpleNamespace(trial_id="abc", error_file=str(tmp_path / "error.txt")))
    bridge.broken("abc")
    assert heard == [("t00000", memory)]
    assert (tmp_path / CHECKPOINTS / "t00000/error.txt").read_text() == told


@pytest.mark.slow
@pytest.mark.ray
def test_tune_s_actors_begin_in_processes_that_stand_ready(tmp_path):
    """So much of Ray's inside is leaned on; without it the first trial waits for one more process to import everything."""
    code = f"""
import os, time
from pathlib import Path
from types import SimpleNamespace
from ray import tune
from autokd.search.ray_engine import RayEngine, _ready_processes


class Told(tune.Trainable):
    def step(self):
        return {{"pid": os.getpid(), "done": True}}

    def save_checkpoint(self, folder):
        return None


def ready():
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::IDLE"):
                found.add(int(path.parent.name))
        except OSError:
            pass
    return found


engine = RayEngine()
engine.open(SimpleNamespace(cpus=1.0, gpus=0.0, workers=1, address=None))
until = time.monotonic() + 60
while not ready() and time.monotonic() < until:
    time.sleep(0.2)
before = ready()
with _ready_processes():
    where = tune.RunConfig(storage_path={str(tmp_path)!r}, verbose=0)
    tuner = tune.Tuner(tune.with_resources(Told, {{"cpu": 1}}), run_config=where)
    (result,) = tuner.fit()
print("READY" if result.metrics["pid"] in before else "new", flush=True)
engine.close()
"""
    made = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=180)
    assert "READY" in made.stdout.split(), made.stdout + made.stderr[-2000:]
