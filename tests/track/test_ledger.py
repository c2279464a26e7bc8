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


def crc32(data: bytes, before: int = 0) -> int:
    """By its polynomial, a bit at a time."""
    register = before ^ 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def kept(path, count=4):
    with Ledger(path) as ledger:
        for n in range(count):
            ledger.append({"event": "report", "trial": "t0", "n": n})
    return path.read_bytes().splitlines(keepends=True)


def test_each_line_ends_with_the_checksum_of_itself_and_the_one_before(tmp_path):
    first, second = kept(tmp_path / "ledger.jsonl", 2)
    one = crc32(b'{"event":"report","trial":"t0","n":0')
    two = crc32(b'{"event":"report","trial":"t0","n":1', one)
    assert first == b'{"event":"report","trial":"t0","n":0,"crc":"%08x"}\n' % one
    assert second == b'{"event":"report","trial":"t0","n":1,"crc":"%08x"}\n' % two
    assert list(read_events(tmp_path / "ledger.jsonl"))[1] == {"event": "report", "trial": "t0", "n": 1}


@given(st.data())
def test_a_flipped_bit_is_told_or_costs_the_last_line_alone(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flipped") / "ledger.jsonl"
    whole = b"".join(kept(path))
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at // 8] ^= 1 << at % 8
    path.write_bytes(damaged)
    try:
        found = [event["n"] for event in read_events(path)]
    except AutokdError as fault:
        assert f"{path}:" in str(fault)
    else:
        assert found == [0, 1, 2]  # the line end of the last: as if it had been torn


@pytest.mark.parametrize("order", [(0, 2, 3), (0, 2, 1, 3), (0, 1, 1, 2, 3), (1, 2, 3)])
def test_a_line_that_is_missing_moved_or_repeated_is_told(tmp_path, order):
    path = tmp_path / "ledger.jsonl"
    lines = kept(path)
    path.write_bytes(b"".join(lines[n] for n in order))
    with pytest.raises(AutokdError, match="not as it was written"):
        list(read_events(path))


def test_what_the_message_says_to_keep_can_be_read_and_gone_on_with(tmp_path):
    path = tmp_path / "ledger.jsonl"
    lines = kept(path)
    path.write_bytes(lines[0] + lines[1] + lines[2].replace(b'"n":2', b'"n":7') + lines[3])
    with pytest.raises(AutokdError) as fault:
        list(read_events(path))
    assert f"{path}:3: this line of the ledger is not as it was written" in str(fault.value)
    command = fault.value.fix.partition("keep what is whole: ")[2]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    with Ledger(path) as ledger:
        ledger.append({"event": "report", "trial": "t0", "n": 9})
    assert [event["n"] for event in read_events(path)] == [0, 1, 9]


def test_a_ledger_from_before_the_checksums_is_read_and_gone_on_with(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"event": "begin", "n": 0}\n{"event": "report", "trial": "t0", "n": 1}\n')
    with Ledger(path) as ledger:
        ledger.append({"event": "close", "status": "paused", "n": 2})
    assert [event["n"] for event in read_events(path)] == [0, 1, 2]
    text = path.read_text()
    path.write_text(text.replace('"n": 1', '"n": 5'))
    with pytest.raises(AutokdError, match=r"ledger.jsonl:3"):  # the first line with a checksum vouches for the one before it
        list(read_events(path))
    path.write_text(text + '{"event": "close", "status": "finished"}\n')  # once there are checksums, each line has one
    with pytest.raises(AutokdError, match=r"ledger.jsonl:4"):
        list(read_events(path))


SHORT = ['{"event": "trial"}', '{"event": "end", "trial": "t0"}', '{"event": "close", "status": 3}', "[" * 9999]


@pytest.mark.parametrize("line", SHORT)
def test_a_line_without_a_checksum_that_says_too_little_is_told(tmp_path, line):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(AutokdError, match=r"ledger.jsonl:1: this line of the ledger cannot be read"):
        list(read_events(path))


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
