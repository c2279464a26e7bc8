"""Files of answers: whole or absent, checked, bounded, and made once however many processes want them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from autokd.signals import filling as filling_module
from autokd.signals import store as store_module
from autokd.signals.filling import CHUNK, Filling, row_bytes
from autokd.signals.store import Store

ROWS = 2 * CHUNK + 100
COLUMNS = {"logits": ("float16", 3), "number": ("int32", 1)}
KEY = {"teacher": "a", "view": 0}


def content(first, last):
    rows = np.arange(first, last)
    return {
        "logits": np.stack([rows / 8, -rows, rows % 7], 1).astype(np.float16),
        "number": rows[:, None].astype(np.int32),
    }


def expected():
    whole = content(0, ROWS)
    return whole["logits"], whole["number"]


def refuse(first, last):
    raise AssertionError("computed again")


def assert_is_content(held):
    logits, number = expected()
    np.testing.assert_array_equal(held.columns["logits"], logits)
    np.testing.assert_array_equal(held.columns["number"], number)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "signals", max_gb=1.0)


def forget():
    """As a process that has not opened the file before."""
    store_module._verified.clear()


def test_what_is_written_is_read_and_nothing_unfinished_is_left(store):
    assert store.open(KEY, ROWS, COLUMNS) is None
    assert_is_content(store.fill(KEY, ROWS, COLUMNS, content))
    assert_is_content(store.fill(KEY, ROWS, COLUMNS, refuse))
    assert [path.name for path in store.folder.iterdir()] == [store.path(KEY).name]


def test_columns_are_the_pages_of_the_mapped_file_and_no_copy(store):
    held = store.fill(KEY, ROWS, COLUMNS, content)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc")
    spans = [line.split()[0].split("-") for line in maps.read_text().splitlines() if line.endswith(held.path.name)]
    for values in held.columns.values():
        address = values.__array_interface__["data"][0]
        assert any(int(low, 16) <= address and address + values.nbytes <= int(high, 16) for low, high in spans)
        assert not values.flags.writeable


def test_the_file_is_plain_arrow_for_anyone(store):
    import pyarrow as pa

    path = store.fill(KEY, ROWS, COLUMNS, content).path
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    assert (table.num_rows, table.column_names) == (ROWS, ["logits", "number"])
    assert table["number"][5].as_py() == [5]


def test_a_flipped_bit_anywhere_in_the_answers_is_noticed_and_mended(store):
    path = store.fill(KEY, ROWS, COLUMNS, content).path
    good = path.read_bytes()
    start = good.index(expected()[0].tobytes())
    for place in (start, start + 777, good.index(expected()[1].tobytes()) + 4 * ROWS - 1):
        bad = bytearray(good)
        bad[place] ^= 0x10
        path.unlink()  # a new file, as a disk would give it after a restart
        path.write_bytes(bad)
        forget()
        with pytest.warns(RuntimeWarning, match="damaged .*computed again"):
            assert_is_content(store.fill(KEY, ROWS, COLUMNS, content))
        assert path.read_bytes() == good


@pytest.mark.parametrize("size", [0, 5, 100, 3000, -1])
def test_a_truncated_file_is_noticed_and_mended(store, size):
    path = store.fill(KEY, ROWS, COLUMNS, content).path
    good = path.read_bytes()
    path.unlink()
    path.write_bytes(good[:size])
    forget()
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert_is_content(store.fill(KEY, ROWS, COLUMNS, content))


def test_a_file_under_another_ones_name_is_not_believed(store):
    other = {**KEY, "teacher": "b"}
    store.fill(KEY, ROWS, COLUMNS, content).path.rename(store.path(other))
    with pytest.warns(RuntimeWarning, match="another origin"):
        assert store.open(other, ROWS, COLUMNS) is None
    assert not store.path(other).exists()


def test_a_file_of_other_columns_is_not_believed(store):
    store.fill(KEY, ROWS, COLUMNS, content)
    with pytest.warns(RuntimeWarning, match="not as it should be"):
        assert store.open(KEY, ROWS, {"logits": ("float16", 4)}) is None


def test_the_least_recently_used_file_goes_first_and_the_bound_holds(tmp_path):
    size = ROWS * row_bytes(COLUMNS)
    store = Store(tmp_path, max_gb=3.6 * size / 1e9)  # three files with their headers
    for view in range(3):
        path = store.fill({"view": view}, ROWS, COLUMNS, content).path
        os.utime(path, (view, view))  # seconds since 1970: long ago, in this order
    assert store.open({"view": 0}, ROWS, COLUMNS) is not None  # used now
    store.fill({"view": 3}, ROWS, COLUMNS, content)
    assert [store.path({"view": view}).exists() for view in range(4)] == [True, False, True, True]
    assert store.info()["bytes"] <= store.max_bytes


def test_a_file_in_use_is_never_deleted(tmp_path):
    size = ROWS * row_bytes(COLUMNS)
    store = Store(tmp_path, max_gb=2.4 * size / 1e9)
    held = store.fill({"view": 0}, ROWS, COLUMNS, content)
    for view in range(1, 4):
        os.utime(held.path, (0, 0))
        store.fill({"view": view}, ROWS, COLUMNS, content)
    assert held.path.exists() and store.info()["files"] == 2
    path = held.path
    del held
    store.fill({"view": 9}, ROWS, COLUMNS, content)
    os.utime(path, (0, 0)) if path.exists() else None
    store.fill({"view": 10}, ROWS, COLUMNS, content)
    assert not path.exists()


def test_a_view_larger_than_the_bound_is_refused(tmp_path):
    with pytest.raises(OSError, match="max_gb"):
        Store(tmp_path, max_gb=1e-6).fill(KEY, ROWS, COLUMNS, content)


def test_info_counts_and_clear_empties(store):
    assert (store.info()["files"], store.clear()) == (0, 0)  # a folder that is not there yet
    held = store.fill(KEY, ROWS, COLUMNS, content)
    size = held.path.stat().st_size
    assert (store.info()["files"], store.info()["bytes"]) == (1, size)
    assert store.clear() == size
    assert store.info()["files"] == 0
    assert_is_content(held)  # who reads it goes on reading


def test_abandoned_unfinished_files_are_tidied_up_and_fresh_ones_are_not(store):
    store.folder.mkdir()
    old, young = store.folder / "a.part", store.folder / "b.12.aside"
    for path in (old, young):
        path.write_bytes(b"unfinished")
    os.utime(old, (0, 0))
    store.make_room(1)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_full_disk_is_an_error_and_leaves_no_file_under_the_name(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(filling_module.os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        store.fill(KEY, ROWS, COLUMNS, content)
    assert not store.path(KEY).exists()


def test_a_killed_process_costs_its_chunk_and_no_more(store):
    computed = []

    def killed(first, last):
        if first == CHUNK:
            raise KeyboardInterrupt
        computed.append(first)
        return content(first, last)

    with pytest.raises(KeyboardInterrupt):
        store.fill(KEY, ROWS, COLUMNS, killed)

    def again(first, last):
        computed.append(first)
        return content(first, last)

    assert_is_content(store.fill(KEY, ROWS, COLUMNS, again))
    assert computed == [0, CHUNK, 2 * CHUNK]


def test_a_torn_chunk_of_an_unfinished_file_is_computed_again(store):
    store.folder.mkdir()
    part = store.path(KEY).with_suffix(".part")
    with Filling(part, ROWS, COLUMNS) as filling:
        assert filling.complete(content, lambda: False)
    with open(part, "r+b") as file:  # the mark of the chunk reached the disk, a page of the chunk did not
        file.seek(CHUNK * 6 + 8)
        file.write(b"\0" * 64)
    computed = []
    held = store.fill(KEY, ROWS, COLUMNS, lambda first, last: computed.append(first) or content(first, last))
    assert computed == [CHUNK]
    assert_is_content(held)


def test_a_folder_cleared_while_it_is_filled_is_filled_again(store):
    def cleared(first, last):
        if first == CHUNK and store.folder.exists() and not gone:
            gone.append(True)
            shutil.rmtree(store.folder)
        return content(first, last)

    gone = []
    assert_is_content(store.fill(KEY, ROWS, COLUMNS, cleared))
    assert gone


WORKER = """
    import os, sys, time
    import numpy as np
    from autokd.signals.filling import CHUNK
    from autokd.signals.store import Store
    rows = int(sys.argv[2])
    mine = 0
    def compute(first, last):
        global mine
        mine += 1
        time.sleep(0.05)
        values = np.random.default_rng(first).normal(size=(last - first, 4))
        return {"logits": values.astype(np.float16)}
    while time.time() < float(sys.argv[3]): pass
    Store(sys.argv[1]).fill({"view": 0}, rows, {"logits": ("float16", 4)}, compute)
    print(mine)
"""


def start(folder, rows, at):
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(folder), str(rows), str(at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_share_the_work_and_write_the_bytes_of_one(tmp_path, monkeypatch):
    chunks = 24
    at = time.time() + 1.5
    workers = [start(tmp_path / "two", chunks * CHUNK, at) for _ in range(2)]
    told = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    alone = start(tmp_path / "one", chunks * CHUNK, 0)
    assert int(alone.communicate(timeout=60)[0]) == chunks
    (one,), (two,) = (list((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert one.name == two.name and one.read_bytes() == two.read_bytes()
    assert sum(told) == chunks  # no chunk twice
    assert min(told) > 0  # and nobody only waited


def test_a_process_that_hangs_is_not_waited_for_for_ever(store, tmp_path):
    if filling_module.fcntl is None:
        pytest.skip("no locks here")
    store.folder.mkdir()
    part = tmp_path / "hung.part"
    script = (
        "import sys, time; from autokd.signals.filling import Filling; "
        f"f = Filling(__import__('pathlib').Path({str(part)!r}), {ROWS}, {COLUMNS!r}); "
        "print(f._claim(0), flush=True); time.sleep(60)"
    )
    hung = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert hung.stdout is not None and hung.stdout.readline() == "True\n"
        with Filling(part, ROWS, COLUMNS) as filling:
            assert filling.complete(content, lambda: False, patience=0.3)
            np.testing.assert_array_equal(filling.columns()["number"], expected()[1])
    finally:
        hung.kill()
        hung.communicate()


def test_a_flipped_byte_of_the_frame_around_the_answers_is_noticed_before_arrow_reads_it(store):
    path = store.fill(KEY, ROWS, COLUMNS, content).path
    good = path.read_bytes()
    first = good.index(expected()[0].tobytes())
    last = good.index(expected()[1].tobytes()) + 4 * ROWS
    for place in [*range(0, first, 3), *range(last, len(good), 3)]:
        bad = bytearray(good)
        bad[place] ^= 0xFF
        path.unlink(missing_ok=True)
        path.write_bytes(bad)
        forget()
        with pytest.warns(RuntimeWarning, match="damaged"):
            assert store.open(KEY, ROWS, COLUMNS) is None
