"""Real searches where little is granted: one core, no home, a long TMPDIR, proxies, an ASCII terminal, one that closes."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from autokd.search.run import Run
from autokd.track.ledger import all_events

pytestmark = [pytest.mark.slow, pytest.mark.ray]
SPACE = """
name: little
data: {name: digits, fraction: 0.3}
students: [resnet8x0.25]
space: {policy: none, method: ce, recipe: {lr: {log: [0.01, 0.1]}}}
search: {trials: 3, epochs: 1, rungs: {count: 0}, sampler: random}
resources: {cpus: 1}
"""
COMMAND = [sys.executable, "-m", "autokd.cli.main"]
STRANGER = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("taskset"), reason="needs Linux with taskset")
def test_a_search_where_little_is_granted(repository: Path):
    """A number without account and home (where root may start it) on one core; whatever else may stand in the way does."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place = Path(folder)
        place.chmod(0o777)
        long = place / "lustre/projects/p0012345/scratch/user0001/slurm_job_12345678"
        long.mkdir(parents=True)
        long.chmod(0o777)
        (place / "little.yaml").write_text(SPACE)
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(repository), "TMPDIR": str(long), "HOME": "/", "LC_ALL": "C"}
        proxies = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy")
        env |= dict.fromkeys(proxies, "http://192.0.2.77:3128")
        env |= {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "AUTOKD_CACHE": ""}
        as_stranger = STRANGER if os.geteuid() == 0 and shutil.which("setpriv") else []
        core = str(min(os.sched_getaffinity(0)))
        runs = place / "50%41 wh?y 'h#sh'"
        command = [*as_stranger, "taskset", "-c", core, *COMMAND, "search", "little.yaml", "--runs", runs.name]
        made = subprocess.run(command, cwd=place, env=env, capture_output=True, timeout=300)
        told = made.stdout.decode("ascii")
        assert made.returncode == 0, (told, made.stderr)
        if as_stranger:
            kept = long / "autokd-54321"
            assert f"/ cannot be written: caches go to {kept}" in told and (kept / ".cache/autokd").is_dir()
            assert not Path("/.cache").exists() and not Path("/.ray").exists()
        (run,) = runs.glob("little-*")
        assert json.loads((run / "environment.json").read_text())["machine"]["cpus"] == 1
        events = all_events(run / "ledger.jsonl")
        order = [(event["event"], event["trial"]) for event in events if event["event"] in ("trial", "end")]
        assert order == [(kind, f"t{number:05}") for number in range(3) for kind in ("trial", "end")]  # never two at once
        assert (runs / "mlflow.db").stat().st_size and (runs / "mlartifacts").is_dir() and (run / "report.html").exists()
        assert "MLflow is not written" not in told
        told = subprocess.run([*as_stranger, *COMMAND, "doctor", "--json"], cwd=place, env=env, capture_output=True).stdout
        found = {one["name"]: one for one in json.loads(told)}
        assert found["folder of Ray"]["state"] == found["cache folder"]["state"] == "ok"
        assert (found["home folder"]["state"] == "warn") == bool(as_stranger)
        assert not found["folder of Ray"]["found"].startswith(str(long))  # too long for a socket


def closed(space: Path, runs: Path, seen: str) -> int:
    """The exit code of a search whose terminal closes once it has printed `seen`."""
    ours, theirs = os.openpty()
    command = [*COMMAND, "search", str(space), "--runs", str(runs)]
    process = subprocess.Popen(command, preexec_fn=lambda: os.login_tty(theirs), close_fds=True)  # noqa: PLW1509
    os.close(theirs)
    said, until = b"", time.monotonic() + 200
    try:
        while seen.encode() not in said and time.monotonic() < until:
            if select.select([ours], [], [], 1)[0]:
                said += os.read(ours, 65536)
        assert seen.encode() in said, said[-2000:]
        os.close(ours)  # the system sends SIGHUP to the first process in it
        os.killpg(process.pid, signal.SIGHUP)  # and a shell to all of the job: Ray's processes, too
        return process.wait(timeout=200)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "login_tty"), reason="needs a pseudo-terminal")
def test_a_terminal_that_closes_pauses_the_search_and_a_resume_goes_on(tmp_path: Path):
    space = tmp_path / "little.yaml"
    space.write_text(SPACE.replace("epochs: 1,", "epochs: 15,").replace("resources", "tracking: {mlflow: false}\nresources"))
    assert closed(space, tmp_path / "runs", "t00001") == 130
    (folder,) = (tmp_path / "runs").glob("little-*")
    status = Run(folder).status()
    assert status["state"] == "paused" and sum(status["trials"].values()) < 3 and (folder / "report.html").exists()
    assert list(folder.glob("ray/checkpoints/*/mark-*/report.json"))
    made = subprocess.run([*COMMAND, "resume", str(folder), "--quiet"], capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    assert Run(folder).status()["trials"]["done"] == 3
