from __future__ import annotations

import errno
from pathlib import Path

import pytest

from autokd.finalize.looks import FILE, looks, note_look


def test_looks_are_counted_by_budget_and_never_forgotten(tmp_path: Path):
    assert looks(tmp_path, "tiny") == []
    note_look(tmp_path / "final", ["tiny", "small"], seeds=3)
    note_look(tmp_path / "final", ["tiny"], seeds=3)
    assert [len(looks(tmp_path / "final", name)) for name in ("tiny", "small", "large")] == [2, 1, 0]
    assert looks(tmp_path / "final", "small")[0]["seeds"] == 3


def test_a_torn_line_counts_as_a_look_and_hurts_nothing_after_it(tmp_path: Path):
    note_look(tmp_path, ["tiny"])
    with open(tmp_path / FILE, "a", encoding="utf-8") as file:
        file.write('{"time": "2026')
    note_look(tmp_path, ["tiny"])
    assert len(looks(tmp_path, "tiny")) == 3
    with open(tmp_path / FILE, "a", encoding="utf-8") as file:
        file.write("3\n")
    assert len(looks(tmp_path, "tiny")) == 4


def test_a_look_that_could_not_be_written_down_is_not_taken_and_not_counted(tmp_path: Path, monkeypatch):
    note_look(tmp_path, ["tiny"])
    before = (tmp_path / FILE).read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as fault:
        patch.setattr("os.fsync", full)
        note_look(tmp_path, ["tiny"])
    assert fault.value.filename == str(tmp_path / FILE) and fault.value.errno == errno.ENOSPC
    assert (tmp_path / FILE).read_bytes() == before
