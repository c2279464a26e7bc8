"""`autokd ui` truly serves: a process of its own, asked over HTTP, then stopped as Ctrl-C stops it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from autokd.cli.hosts import hint, settings
from autokd.errors import AutokdError
from autokd.track.mlflow_log import MlflowLog


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs whose MLflow store holds one search with one trial."""
    log = MlflowLog(tmp_path, experiment="digits", run="digits-1")
    log.on_event({"event": "begin", "budgets": [{"name": "tiny", "params": 25_000}]})
    log.on_event({"event": "trial", "trial": "t00000", "student": "resnet8", "config": {"epochs": 1}})
    log.on_event({"event": "end", "trial": "t00000", "status": "done"})
    log.close()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("way_out", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_store_of_the_runs_on_this_machine_only_and_ends(runs: Path, repository: Path, way_out: signal.Signals):
    port = free_port()
    command = [sys.executable, "-m", "autokd.cli.main", "ui", "--runs", str(runs), "--port", str(port), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        told = [server.stdout.readline() for _ in range(4)]
        assert told[2].startswith(f"ready: http://127.0.0.1:{port}/#/experiments/1/runs?")
        assert "viewStateShareKey=digits-1" in told[2]  # the search itself, not the list of experiments
        assert told[3].startswith("knobs: ") and "viewStateShareKey=digits-1&compareRunsMode=CHART" in told[3]
        with urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
            assert page.status == 200 and b"MLflow" in page.read()
        search = Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
            data=json.dumps({"max_results": 10}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(search, timeout=30) as answer:
            assert "digits" in [one["name"] for one in json.load(answer)["experiments"]]
        others = [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
        for address in set(others) - {"127.0.0.1", "127.0.1.1"}:  # a machine with an address to the outside
            with pytest.raises((URLError, OSError)):
                urlopen(f"http://{address}:{port}/", timeout=5)
        server.send_signal(way_out)
        out, err = server.communicate(timeout=60)
        assert (server.returncode, out, err) == (0, "", "")
    finally:
        server.kill()
    with socket.socket() as probe, pytest.raises(OSError):
        probe.connect(("127.0.0.1", port))


def asked(port: int, path: str, host: str, origin: str = "") -> int:
    """The status of an answer, asked for by a name; with an origin, of what a page from there would change."""
    headers = {"Host": host, **({"Origin": origin, "Content-Type": "application/json"} if origin else {})}
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = b'{"experiment_ids": ["1"]}' if origin else None
        connection.request("POST" if origin else "GET", path, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.slow
def test_it_is_asked_by_another_name_where_that_was_allowed_and_knows_no_proxy(runs: Path, repository: Path, tmp_path: Path):
    odd = tmp_path / "per%41cent ?"
    odd.mkdir()
    shutil.move(runs / "mlflow.db", odd)
    port = free_port()
    proxied = {name: "http://192.0.2.77:3128" for name in ("http_proxy", "HTTP_PROXY", "all_proxy")}
    environment = {**os.environ, "PYTHONPATH": str(repository), **proxied, "no_proxy": ""}
    search = "/ajax-api/2.0/mlflow/runs/search"
    for names, seen in (([], 403), (["gpubox", "other.example.org"], 200)):
        words = ["ui", "--runs", str(odd), "--port", str(port), "--host", "0.0.0.0", "--no-browser"]
        words += [word for name in names for word in ("--allowed-host", name)]
        command = [sys.executable, "-m", "autokd.cli.main", *words]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            assert server.stdout is not None
            told = [server.stdout.readline() for _ in range(3 if names else 4)]
            assert any("--allowed-host" in line and socket.gethostname() in line for line in told) == (not names)
            assert told[-1].startswith(f"ready: http://127.0.0.1:{port}/#/experiments/1/runs?"), told  # it read the store
            assert asked(port, "/", f"gpubox:{port}") == asked(port, "/", "other.example.org") == seen
            assert asked(port, search, f"gpubox:{port}", f"http://gpubox:{port}") == seen
            assert asked(port, "/", "evil.example") == asked(port, search, f"127.0.0.1:{port}", "http://evil.example") == 403
            assert asked(port, "/", f"127.0.0.1:{port}") == asked(port, "/", f"192.168.1.7:{port}") == 200
            assert asked(port, search, f"127.0.0.1:{port}", f"http://127.0.0.1:{port}") == 200
        finally:
            server.send_signal(signal.SIGHUP)
            server.communicate(timeout=60)
        assert server.returncode == 0


def test_names_that_are_none_are_refused_and_addresses_of_this_machine_are_known():
    with pytest.raises(AutokdError, match="no name of a machine"):
        settings("0.0.0.0", 5000, ["http://gpubox:5000"])
    assert set(settings("0.0.0.0", 5000, ["*"]).values()) == {"*"}
    told = settings("10.1.2.3", 5000, ["gpubox"])
    hosts, origins = (told[f"MLFLOW_SERVER_{name}"].split(",") for name in ("ALLOWED_HOSTS", "CORS_ALLOWED_ORIGINS"))
    assert {"localhost", "localhost:*", "10.1.2.3:*", "gpubox", "gpubox:*", "192.168.*", "172.31.*"} <= set(hosts)
    assert {"http://gpubox:5000", "https://gpubox", "http://10.1.2.3:5000"} <= set(origins)
    assert not any("*" in origin for origin in origins)  # "http://10.*" would be a page of http://10.evil.example
    assert "10.*" not in settings("127.0.0.1", 5000, [])["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert hint("127.0.0.1", []) == hint("0.0.0.0", ["gpubox"]) == "" and socket.gethostname() in hint("0.0.0.0", [])


def test_a_port_in_use_is_told(runs: Path, repository: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "autokd.cli.main", "ui", "--runs", str(runs), "--port", str(port), "--no-browser"]
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert f"port {port} is in use" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_store_that_mlflow_cannot_read_says_why(tmp_path: Path, repository: Path):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but long enough to be taken for one" * 10)
    command = [sys.executable, "-m", "autokd.cli.main", "ui", "--runs", str(tmp_path), "--no-browser"]
    command += ["--port", str(free_port())]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 2
    assert "MLflow ended with code" in done.stderr and "not a database" in done.stderr
