from __future__ import annotations

import errno
import multiprocessing
import os
import time

import numpy as np
import PIL
import pytest

from autokd.data import cache as cache_room
from autokd.data.cache import cache_folder, remembered, seen, stamp
from autokd.errors import AutokdError


def write(path, value=7):
    np.save(path, np.full((2, 1, 2, 2), value, np.uint8))
    return {"shape": [2, 1, 2, 2], "mean": [0.0], "std": [1.0]}


class Counting:
    def __init__(self, value=7):
        self.calls, self.value = 0, value

    def __call__(self, path):
        self.calls += 1
        return write(path, self.value)


def test_it_is_made_once():
    make = Counting()
    for _ in range(3):
        pixels, facts = remembered("set", {"a": 1}, make)
        assert pixels.max() == 7 and facts["mean"] == [0.0]
    assert make.calls == 1
    assert seen("set", {"a": 1})["shape"] == [2, 1, 2, 2]
    assert seen("set", {"a": 2}) is None


def test_all_that_decoding_depends_on_has_an_entry_of_its_own(monkeypatch):
    settings = {"files": "f", "size": 8, "fit": "crop", "colour": "rgb"}
    make = Counting()
    for name, changes in (("set", {}), ("other", {}), *(("set", {word: "another"}) for word in settings)):
        remembered(name, {**settings, **changes}, make)
    assert make.calls == 6
    for name, value in (("_VERSION", 2), ("_decoder", lambda: "99.1")):
        with monkeypatch.context() as patch:
            patch.setattr(cache_room, name, value)
            assert seen("set", settings) is None
    assert seen("set", settings) is not None
    assert cache_room._decoder() == ".".join(PIL.__version__.split(".")[:2])


def test_it_lies_where_the_environment_says(cache, monkeypatch, tmp_path):
    assert cache_folder() == cache / "data"
    monkeypatch.delenv("AUTOKD_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "autokd" / "data"


def test_writing_to_the_pixels_does_not_change_what_is_kept():
    pixels, _ = remembered("set", {}, write)
    pixels[:] = 1
    assert remembered("set", {}, write)[0].min() == 7


@pytest.mark.parametrize("name", ["pixels.npy", "facts.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_entry_is_made_again(cache, name, damage):
    remembered("set", {}, write)
    (path,) = cache.rglob(name)
    path.write_bytes(path.read_bytes()[:-3]) if damage == "cut" else path.unlink()
    make = Counting(9)
    assert remembered("set", {}, make)[0].max() == 9 and make.calls == 1


def test_a_changed_outside_file_makes_it_again(tmp_path):
    outside = tmp_path / "image.png"
    outside.write_bytes(b"one")
    make = Counting()
    remembered("set", {}, make, lambda: [outside])
    remembered("set", {}, make, lambda: [outside])
    assert make.calls == 1
    outside.write_bytes(b"three")
    remembered("set", {}, make, lambda: [outside])
    assert make.calls == 2


def test_a_failure_leaves_nothing_behind(cache):
    def fail(path):
        path.write_bytes(b"half")
        raise AutokdError("broken image")

    with pytest.raises(AutokdError, match="broken image"):
        remembered("set", {}, fail)
    assert [path.name for path in (cache / "data").iterdir() if path.suffix != ".lock"] == []
    assert remembered("set", {}, write)[0].max() == 7


def test_what_a_killed_process_left_is_cleared_after_a_day(cache):
    for name, age in ((".making-old", 2), (".making-new", 0)):
        (cache / "data" / name).mkdir(parents=True)
        stamped = time.time() - age * 86400
        os.utime(cache / "data" / name, (stamped, stamped))
    remembered("set", {}, write)
    assert [path.name for path in (cache / "data").glob(".making-*")] == [".making-new"]


def test_a_full_disk_is_told(cache):
    def fail(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AutokdError, match="disk is full"):
        remembered("set", {}, fail)


def test_without_a_place_to_keep_it_decodes_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="AUTOKD_CACHE"):
        pixels, _ = remembered("set", {}, write)
    assert pixels.max() == 7


def test_a_stamp_changes_with_size_time_and_place(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"12")
    stamps = [stamp([path])]
    path.write_bytes(b"123")
    stamps.append(stamp([path]))
    os.utime(path, ns=(1, 1))
    stamps.append(stamp([path]))
    path.rename(other)
    stamps += [stamp([path]), stamp([other])]
    assert len(set(stamps)) == 5
    assert stamp([other]) == stamps[-1]


def ask(log, go):
    def slow(path):
        with open(log, "a") as file:
            file.write("made\n")
        return write(path)

    go.wait()
    pixels, _ = remembered("set", {"shared": True}, slow)
    assert pixels.shape == (2, 1, 2, 2) and pixels.max() == 7


def test_of_many_processes_one_makes_it(tmp_path):
    context = multiprocessing.get_context("fork")
    go = context.Event()
    log = tmp_path / "log"
    processes = [context.Process(target=ask, args=(log, go)) for _ in range(6)]
    for process in processes:
        process.start()
    go.set()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 6
    assert log.read_text() == "made\n"
