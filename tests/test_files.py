from __future__ import annotations

from pathlib import Path

import pytest

from autokd.files import cache_root, whole, write_text


def test_a_file_appears_when_it_is_finished_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "file"
    with whole(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one" and list(path.parent.iterdir()) == [path]


def test_a_failed_writing_leaves_what_lay_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before ü")
    with pytest.raises(KeyboardInterrupt), whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "before ü" and list(tmp_path.iterdir()) == [path]


def test_the_cache_moves_with_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("AUTOKD_CACHE", "~/kept")
    assert cache_root() == Path.home() / "kept"
    monkeypatch.delenv("AUTOKD_CACHE")
    assert cache_root() == Path.home() / ".cache" / "autokd"
