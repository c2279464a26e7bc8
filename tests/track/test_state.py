import os
import subprocess
import sys
import time

import pytest

from autokd.track.ledger import FILE, FolderLock, Ledger
from autokd.track.state import RunState, state_message, state_of

BEGIN = {"event": "begin", "time": 1_000_000_000.0}


def written(folder, *events):
    ledger = Ledger(folder / FILE)
    for event in events:
        ledger.append(event)
    ledger.close()


def held_by_another(folder):
    code = "import sys, time, autokd.track.ledger as led; lock = led.FolderLock(sys.argv[1]).acquire(); print(flush=True)"
    child = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)", str(folder)], stdout=subprocess.PIPE)
    with child.stdout as said:
        said.readline()
    return child


@pytest.mark.parametrize("status", ["finished", "paused", "stopped", "cancelled", "failed"])
def test_a_closed_run_is_what_its_last_session_was_closed_as(tmp_path, status):
    written(tmp_path, BEGIN, {"event": "close", "status": "paused"}, {"event": "resume"},
            {"event": "close", "status": status, "reason": "so it was"}, {"event": "confirm", "status": "finished"})  # fmt: skip
    assert state_of(tmp_path) == RunState(status, "so it was")
    assert str(state_of(tmp_path)) == f"{status} (so it was)"
    with FolderLock(tmp_path):  # this process writes its report
        assert state_of(tmp_path).word == status
    assert bool(state_message(tmp_path)) == (status != "finished")
    assert ("autokd resume" in state_message(tmp_path)) == (status in ("paused", "stopped", "cancelled"))


def test_an_open_ledger_is_of_a_run_that_runs_or_was_cut_off_and_one_at_work_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    written(tmp_path, BEGIN, {"event": "close", "status": "finished"}, {"event": "resume", "time": 1_000_000_060.0})
    assert state_of(tmp_path) == RunState("cut off", "last event 2001-09-09 01:47")  # 1e9 s is 01:46:40
    assert state_message(tmp_path).startswith("the search was cut off (last event 2001-09-09 01:47)")
    with FolderLock(tmp_path):
        assert state_of(tmp_path).word == "running"
    child = held_by_another(tmp_path)
    try:
        assert state_of(tmp_path) == RunState("running")
        written(tmp_path, {"event": "close", "status": "finished"})
        assert state_of(tmp_path) == RunState("running", "a command is working on it")
        (tmp_path / "confirm").mkdir()
        with FolderLock(tmp_path / "confirm"):
            assert state_of(tmp_path) == RunState("running", "its confirmation")
    finally:
        os.kill(child.pid, 9)
        child.wait()
    assert state_of(tmp_path) == RunState("finished")
