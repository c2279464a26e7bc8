"""The disk is full from some write on, at each place where a search writes: nothing is torn, and a resume ends as if it had not
been. What libraries write past Python is tried by benchmarks/full_disk.py."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from search_fakes import Space
from test_run import again, run_of, what_happened

from autokd.errors import AutokdError
from autokd.files import full_disk
from autokd.track.ledger import FILE, read_events


class Disk:
    """Counts writes below a folder, each with what it was; from number `full` on there is no room (0: always room)."""

    def __init__(self, folder, full=0):
        self.folder, self.full = str(folder), full
        self.sites = []

    def room(self, how, path, half=None):
        path = os.fspath(path) if not isinstance(path, int) else os.readlink(f"/proc/self/fd/{path}")
        if not os.path.abspath(path).startswith(self.folder):
            return
        self.sites.append(f"{how} {re.sub(r'fake-[0-9]+-[0-9a-f]+|t?[0-9]+', 'N', os.path.relpath(path, self.folder))}")
        if self.full and len(self.sites) >= self.full:
            if half is not None and len(self.sites) == self.full:
                half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path if how in ("create", "mkdir") else None)

    @contextmanager
    def under(self, monkeypatch):
        disk, real_open = self, io.open

        class Raw(io.FileIO):
            def write(self, data):
                data = bytes(data)
                disk.room("write", self.name, lambda: super(Raw, self).write(data[: len(data) // 2]))
                return super().write(data)

        def opened(path, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
            below = not isinstance(path, int) and os.path.abspath(os.fspath(path)).startswith(self.folder)
            if not below or not set(mode) & set("wax+"):
                return real_open(path, mode, buffering, encoding, errors, newline, **more)
            if not os.path.exists(path):
                self.room("create", path)
            raw = Raw(os.fspath(path), mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            file = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return file if "b" in mode else io.TextIOWrapper(file, encoding=encoding or "utf-8")

        def guarded(how, real, which=0):
            def call(*args, **more):
                self.room(how, args[which])
                return real(*args, **more)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(builtins, "open", opened)
            patch.setattr(io, "open", opened)
            patch.setattr(os, "fsync", guarded("fsync", os.fsync))
            patch.setattr(os, "replace", guarded("rename", os.replace, 1))
            patch.setattr(os, "mkdir", guarded("mkdir", os.mkdir))
            patch.setattr(pq, "write_table", guarded("table", pq.write_table, 1))
            yield


def whole(folder):
    """Every file can be read, and no run is half there."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            pq.read_table(path)
        elif path.name == FILE:
            list(read_events(path))
    assert all((run / FILE).exists() for run in folder.glob("fake-*"))
    assert not [path for path in folder.glob("fake-*/ray/checkpoints/*/mark-*") if not (path / "report.json").exists()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the names of open files")
def test_at_every_write_site_nothing_is_torn_and_a_resume_ends_as_if_there_had_been_room(tmp_path, monkeypatch):
    space = {"trials": 4}
    disk = Disk(tmp_path / "whole")
    with disk.under(monkeypatch):
        expected = what_happened(run_of(tmp_path / "whole", **space).folder)
    first, last = {}, {}
    for number, site in enumerate(disk.sites, 1):
        first.setdefault(site, number)
        last[site] = number
    assert len(first) > 25 and any("ledger" in site for site in first) and any("table" in site for site in first)
    tried = 0
    for number in sorted({*first.values(), *last.values()}):
        runs = tmp_path / str(number)
        try:
            with Disk(runs, number).under(monkeypatch):
                run_of(runs, **space)
        except AutokdError as fault:
            assert "space" in str(fault) or "full" in str(fault), disk.sites[number - 1]
            assert fault.fix and fault.exit_code == 2
        whole(runs)
        found = list(runs.glob("fake-*"))
        made = again(found[0], Space(**space)) if found else run_of(runs, **space)
        assert what_happened(made.folder) == expected, disk.sites[number - 1]
        assert len({row["trial"] for row in made.trials.to_pylist()}) == 4
        whole(runs)
        tried += 1
    print(f"{tried} tries at {len(first)} write sites")


def test_a_full_disk_is_found_behind_what_a_library_makes_of_it():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904 - as torch does
    except RuntimeError as fault:
        assert full_disk(fault).errno == errno.ENOSPC
    assert full_disk(RuntimeError("unexpected pos 64 vs 0")) is None
    assert full_disk(PermissionError(errno.EACCES, "Permission denied")) is None
    assert full_disk(None) is None


@pytest.mark.slow
def test_a_real_search_with_no_room_for_its_checkpoints_and_tables(repository):
    if sys.platform != "linux":
        pytest.skip("the shim is for Linux")
    words = ["--stage", "search", "--each", "1", "--only", "trials.parquet"]
    command = [sys.executable, "-m", "benchmarks.full_disk", *words]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if "no C compiler" in done.stderr:
        pytest.skip("no C compiler")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| [1-9]\d* tries at [1-9]\d* sites of `search`: 0 faults", done.stdout)
