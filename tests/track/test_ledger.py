from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.errors import AutokdError
from autokd.track import ledger as room
from autokd.track.ledger import FolderLock, Ledger, held, read_events


def test_events_come_back_in_order_and_one_a_line(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        for number in range(3):
            ledger.append({"event": "trial", "number": number, "name": "größe\n"})
    assert [event["number"] for event in read_events(path)] == [0, 1, 2]
    assert len(path.read_bytes().splitlines()) == 3
    assert next(read_events(path))["name"] == "größe\n"


def test_what_is_not_finite_is_null_and_foreign_numbers_are_plain():
    told = room.clean({"a": math.nan, "b": np.float32(0.5), "c": (np.int64(3), True), 4: math.inf})
    assert told == {"a": None, "b": 0.5, "c": [3, True], "4": None}
    assert type(told["c"][0]) is int


@given(st.data())
def test_wherever_a_kill_tears_the_file_the_whole_lines_before_it_are_kept(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("torn") / "ledger.jsonl"
    lines = [json.dumps({"event": "e", "n": n}).encode() + b"\n" for n in range(4)]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = sum(cut >= len(b"".join(lines[: n + 1])) for n in range(4))
    assert [event["n"] for event in read_events(path)] == list(range(kept))
    with Ledger(path) as ledger:  # the torn line goes, the next one stands alone
        ledger.append({"event": "e", "n": 99})
    assert [event["n"] for event in read_events(path)] == [*range(kept), 99]


def test_a_damaged_line_in_the_middle_is_told_with_its_number(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"event": "begin"}\n{"event": \n{"event": "close"}\n')
    with pytest.raises(AutokdError) as fault:
        list(read_events(path))
    assert str(path) + ":2" in str(fault.value)


def test_an_event_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda handle: order.append(("fsync", os.fstat(handle).st_size)))
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        order.clear()
        ledger.append({"event": "begin"})
        order.append(("returned", (tmp_path / "ledger.jsonl").stat().st_size))
    assert [name for name, _ in order] == ["fsync", "returned"]
    assert order[0][1] == order[1][1] > 0  # all of the line was written when it was synced


def test_a_full_disk_leaves_no_half_line_behind(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append({"event": "begin"})
    before = path.read_bytes()

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, line):
            self.file.write(line[:5])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    ledger._file = Full(ledger._file)
    with pytest.raises(AutokdError, match="No space left"):
        ledger.append({"event": "trial"})
    ledger.close()
    assert path.read_bytes() == before


def test_a_second_process_is_refused_and_told_who_writes(tmp_path):
    code = (
        "import sys; from autokd.errors import AutokdError; from autokd.track.ledger import FolderLock\n"
        "try: FolderLock(sys.argv[1]).acquire()\n"
        "except AutokdError as fault: print(fault)\n"
        "else: print('taken')\n"
    )

    def other():
        told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        return told.stdout

    with FolderLock(tmp_path):
        assert f"another process (pid {os.getpid()}) is writing this run" in other()
    assert other() == "taken\n"


def test_the_lock_goes_with_a_process_that_is_killed(tmp_path):
    code = (
        "import os, sys; from autokd.track.ledger import FolderLock\n"
        "lock = FolderLock(sys.argv[1]).acquire(); os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -9
    FolderLock(tmp_path).acquire().release()


def test_a_folder_that_may_not_be_written_is_refused_in_words(tmp_path, monkeypatch):
    def refused(path, mode="r", *args, **more):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refused)  # tests may run as a user whom no rights stop
    with pytest.raises(AutokdError, match="cannot be written: permission denied") as fault:
        FolderLock(tmp_path).acquire()
    assert fault.value.where == str(tmp_path) and fault.value.fix and fault.value.exit_code == 2


def test_whether_a_run_is_being_written_is_told_without_writing_anything(tmp_path):
    assert not held(tmp_path) and not list(tmp_path.iterdir())
    with FolderLock(tmp_path):
        assert held(tmp_path)
    assert not held(tmp_path)


def test_a_full_disk_does_not_cost_the_lock(tmp_path, monkeypatch):
    import io

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda path, mode, **more: Full(path, mode.replace("b", "")))
    with FolderLock(tmp_path):
        monkeypatch.undo()
        assert held(tmp_path)
        with pytest.raises(AutokdError, match="another process"):
            FolderLock(tmp_path).acquire()
