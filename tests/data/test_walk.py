"""Every image file once, in bounded time, and a word on the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autokd.data.walk import HIDDEN, LINK, SPECIAL, SUFFIX, TWICE, Tally, folders_of, walk
from autokd.errors import AutokdError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def walked(base: Path, *names: str, **how) -> tuple[list[list[str]], dict[str, tuple[int, tuple[str, ...]]]]:
    tally = Tally()
    found = walk([base / name for name in names], tally, within=base, **how)
    told = {one.why: (one.count, one.examples) for one in tally.told()}
    return [[path.relative_to(base).as_posix() for path in some] for some in found], told


def test_loops_of_links_end_and_each_file_counts_once(tmp_path: Path):
    touch(*(tmp_path / name / f"{number}.png" for name in ("cat", "dog") for number in range(3)))
    (tmp_path / "cat" / "latest").symlink_to(".")
    (tmp_path / "cat" / "all").symlink_to("..")  # would bring the dogs among the cats
    (tmp_path / "dog" / "all").symlink_to(tmp_path.parent)
    (tmp_path / "dog" / "itself").symlink_to("itself")
    (tmp_path / "dog" / "cats").symlink_to("../cat")
    found, told = walked(tmp_path, "cat", "dog")
    assert found == [["cat/0.png", "cat/1.png", "cat/2.png"], ["dog/0.png", "dog/1.png", "dog/2.png"]]
    assert told[LINK] == (4, tuple(str(tmp_path / one) for one in ("cat/all", "cat/latest", "dog/all")))
    assert told[SUFFIX] == (1, (str(tmp_path / "dog" / "itself"),))


def test_what_lies_in_a_folder_is_found_there_whatever_links_to_it(tmp_path: Path):
    touch(tmp_path / "store" / "1.png", tmp_path / "store" / "more" / "2.png", tmp_path / "root" / "zebra" / "3.png")
    base = tmp_path / "root"
    (base / "ant").symlink_to(tmp_path / "store")  # classes may be links
    (base / "bee").mkdir()
    (base / "bee" / "zebras").symlink_to("../zebra")
    (base / "bee" / "more").symlink_to(tmp_path / "store" / "more")
    found, told = walked(base, "ant", "bee", "zebra")
    assert found == [["ant/1.png", "ant/more/2.png"], [], ["zebra/3.png"]]
    assert told[LINK][0] == 2


def test_links_to_files_count_where_their_file_does_not(tmp_path: Path):
    touch(tmp_path / "cat" / "1.png", tmp_path / "elsewhere" / "2.png", tmp_path / "3.png")
    (tmp_path / "cat" / "copy.png").symlink_to("1.png")
    for name in ("a.png", "b.png"):
        (tmp_path / "cat" / name).symlink_to("../elsewhere/2.png")
    (tmp_path / "cat" / "c.png").symlink_to("../3.png")  # beside the classes, where nothing is read
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cat" / "itself.png").symlink_to("itself.png")
    found, told = walked(tmp_path, "cat")
    assert found == [["cat/1.png", "cat/a.png", "cat/c.png", "cat/gone.png", "cat/itself.png"]]
    assert told == {TWICE: (2, (str(tmp_path / "cat" / "b.png"), str(tmp_path / "cat" / "copy.png")))}


def test_no_link_leads_into_another_part(tmp_path: Path):
    touch(tmp_path / "train" / "cat" / "1.png", tmp_path / "test" / "cat" / "2.png")
    (tmp_path / "train" / "cat" / "more").symlink_to("../../test/cat")
    found, told = walked(tmp_path / "train", "cat", closed=[tmp_path / "test"])
    assert found == [["cat/1.png"]] and told[LINK][0] == 1


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path):
    left = ("__MACOSX/cat/._1.png", ".git/1.png", ".ipynb_checkpoints/1.png", "@eaDir/1.png/SYNOPHOTO.jpg", "Thumbs.db")
    touch(tmp_path / "cat" / "1.PNG", tmp_path / "cat" / "2.JPE", *(tmp_path / "cat" / one for one in left))
    touch(tmp_path / "cat" / "boxes.xml", tmp_path / "cat" / "README")
    os.mkfifo(tmp_path / "cat" / "pipe.png")  # to read it would be to wait for ever
    tally = Tally()
    (found,) = walk([tmp_path / "cat"], tally)
    assert [path.name for path in found] == ["1.PNG", "2.JPE"]
    told = {one.why: one for one in tally.told()}
    assert (told[HIDDEN].count, told[SPECIAL].count) == (5, 1)
    assert told[SUFFIX].count == 2 and told[SUFFIX].suffixes == (("(none)", 1), (".xml", 1))
    (tmp_path / "__MACOSX").mkdir()
    assert [one.name for one in folders_of(tmp_path, tally)] == ["cat"]


def test_names_that_are_not_utf8_are_told_in_words(tmp_path: Path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in (b"\xff.png", b"b.t\xe9t"):
        with open(folder + b"/" + name, "wb"):
            pass
    tally = Tally()
    (found,) = walk([tmp_path / os.fsdecode(b"caf\xe9")], tally)
    assert [os.fsencode(path.name) for path in found] == [b"\xff.png"]
    (told,) = tally.told()
    assert told.examples == (f"{tmp_path}/caf\\xe9/b.t\\xe9t",) and told.suffixes == ((".t\\xe9t", 1),)


def test_a_folder_that_cannot_be_listed_is_a_fault_and_no_empty_one(tmp_path: Path, monkeypatch):
    touch(tmp_path / "cat" / "1.png", tmp_path / "cat" / "shut" / "2.png")
    real = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AutokdError, match="cannot be listed: permission denied") as caught:
        walk([tmp_path / "cat"], Tally())
    assert caught.value.where == str(tmp_path / "cat" / "shut")
