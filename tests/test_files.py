from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from autokd.files import cache_root, in_shell, intact_zip, vouched, whole, write_text


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


def test_an_archive_with_another_byte_in_it_is_told_from_one_as_it_was_written(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"weights" * 100)
    assert intact_zip(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"weightsweights", b"weightsweighty", 1))
    assert not intact_zip(path) and not intact_zip(io.BytesIO(path.read_bytes()))
    assert intact_zip(io.BytesIO(b"no archive"))  # whoever reads it says what it is


def test_a_file_is_vouched_for_by_the_checksum_beside_it_where_there_is_one(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    told = [None, "[]", "no json", "{}", json.dumps({"sha256": sha256}), json.dumps({"sha256": "0" * 64}), '{"sha256": 3}']
    kept = []
    for one in told:
        if one is not None:
            write_text(tmp_path / "a.json", one)
        kept.append(vouched(path))
    assert kept == [True, True, True, True, True, False, False]


def test_the_cache_moves_with_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("AUTOKD_CACHE", "~/kept")
    assert cache_root() == Path.home() / "kept"
    monkeypatch.delenv("AUTOKD_CACHE")
    assert cache_root() == Path.home() / ".cache" / "autokd"


def test_a_path_stands_in_a_command_as_a_shell_reads_it():
    import shlex

    for path in ("runs/digits-20261126-c836", "my runs/it's 50%", 'a "b" $c'):
        assert shlex.split(f"autokd resume {in_shell(Path(path))}") == ["autokd", "resume", path]
    assert in_shell("runs/digits-1") == "runs/digits-1"  # nothing is put around what needs nothing
