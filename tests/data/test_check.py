"""What stops before anything is trained, and what is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autokd.config.trial import DataConfig
from autokd.data import check
from autokd.data.check import check_data
from autokd.errors import AutokdError, Faults


def asked(root: Path, *, validation: float = 0.2, name: str = "folder", **more) -> DataConfig:
    return DataConfig(name, str(root), validation=validation, **more)


def stops(report) -> list[str]:
    return [one.what for one in report.findings if one.stop]


def told(report) -> str:
    return "\n".join(one.what for one in report.warnings)


def test_sound_data_is_told_in_one_line(tmp_path: Path, write_folder):
    write_folder(tmp_path, {"cat": 200, "dog": 150})
    (tmp_path / "cat" / "boxes.xml").write_text("x")
    heard = []
    report = check_data(asked(tmp_path), tell=lambda *words: heard.append(words))
    assert report.trouble() is None and not report.findings
    assert report.classes == (("cat", 160), ("dog", 120))
    assert (report.train, report.validation, report.test.images) == (224, 56, 70)
    assert report.training.kinds == ((".png", 280),) and report.test.kinds == ((".png", 70),)
    (line,) = report.lines()
    assert line == "data: 224 images to train on, 56 to validate, 70 to test; 2 classes of 120 to 160; 1 passed over"
    assert heard[-1] == ("test", 70, 70) and heard[-2] == ("training", 280, 280)
    assert report.to_dict()["classes"] == {"cat": 160, "dog": 120}
    assert report.to_dict()["training"]["passed_over"][0]["suffixes"] == ((".xml", 1),)


def test_a_second_look_opens_no_image(tmp_path: Path, write_folder, monkeypatch):
    write_folder(tmp_path, {"cat": 100, "dog": 100})
    (tmp_path / "cat" / "000.png").write_bytes(b"")
    first = check_data(asked(tmp_path))

    def refuse(*_, **__):
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)
    assert check_data(asked(tmp_path)) == first and stops(first)
    monkeypatch.undo()
    os.utime(tmp_path / "cat" / "001.png", ns=(1, 1))
    heard = []
    check_data(asked(tmp_path), tell=lambda *words: heard.append(words))
    assert heard  # a file changed, and is looked at again


def test_one_class_stops_with_where_the_classes_may_lie(tmp_path: Path, write_folder):
    write_folder(tmp_path / "archive" / "cats_and_dogs", {"cat": 10, "dog": 10})
    report = check_data(asked(tmp_path))
    (finding,) = [one for one in report.findings if one.stop]
    assert finding.what == "all training images are of one class, 'archive': every student is right there"
    assert finding.fix == f"{tmp_path / 'archive' / 'cats_and_dogs'} holds the folders cat, dog: is it the root?"
    write_folder(tmp_path / "one", {"only": 10})
    report = check_data(asked(tmp_path / "one"))
    assert "give each class a folder" in next(one for one in report.findings if one.stop).fix


def test_classes_that_one_side_of_the_split_has_not(tmp_path: Path, write_folder):
    write_folder(tmp_path / "few", {"a": 1, "b": 2, "c": 40})  # the test takes 0, 1 and 8, validation 7 of c
    report = check_data(asked(tmp_path / "few"))
    (what,) = stops(report)
    assert what.startswith("all images of validation are of one class")
    assert "2 classes (a of 1 image, b of 1 image) are in training and not in validation" in what
    assert "'c' has 32 images and 'a' 1" in told(report) and "the test part has no image of 'a'" in told(report)
    write_folder(tmp_path / "ones", dict.fromkeys("abcdefgh", 1))  # the test takes a and b, validation one of the six
    report = check_data(asked(tmp_path / "ones"))
    assert any("in validation and not in training: nobody can learn it" in what for what in stops(report))
    assert "there is no training image of 'a', 'b'" in told(report)
    write_folder(tmp_path / "some", {"a": 50, "b": 50, "c": 1})
    report = check_data(asked(tmp_path / "some"))
    assert not stops(report)  # two classes are compared, and the third is told of
    assert json.loads(json.dumps(report.to_dict()))["findings"]  # a search keeps it beside the run
    assert "the class c of 1 image is in training and not in validation: no score tells how well it is learned" in told(report)
    assert "'c'" in told(report) and any("data.split_file" in one.fix for one in report.warnings)


def test_a_fraction_that_leaves_a_validated_class_out_stops(tmp_path: Path, write_folder):
    write_folder(tmp_path / "train", dict.fromkeys("abcdefgh", 10))
    write_folder(tmp_path / "test", dict.fromkeys("abcdefgh", 1), seed=1)
    (what,) = stops(check_data(asked(tmp_path, fraction=0.05)))  # 3 of 64 images
    assert what.startswith("5 classes (") and "in validation and not in training: nobody can learn them" in what
    assert not stops(check_data(asked(tmp_path)))


def test_a_split_that_cannot_be_is_told(tmp_path: Path, write_folder):
    write_folder(tmp_path, {"a": 2, "b": 2})
    assert stops(check_data(asked(tmp_path, validation=0.1))) == ["0.1 of 3 images is no image to validate on"]


def test_labels_that_training_does_not_know_are_told_of_the_test_part(tmp_path: Path, write_folder):
    write_folder(tmp_path / "train", {"a": 30, "b": 30})
    write_folder(tmp_path / "test", {"a": 3, "x": 3, "y": 3}, seed=1)
    report = check_data(asked(tmp_path))
    assert stops(report) == ["no training image has the classes 'x', 'y'"] and report.test is None
    assert report.train == 48  # the rest is looked at all the same


def test_no_more_is_known_of_the_test_part_than_its_size_and_its_faults(tmp_path: Path, write_folder):
    """Two test parts that differ in the labels of their images, and not in their files, come to the same report."""
    write_folder(tmp_path / "train", {"a": 100, "b": 100})
    reports = []
    for counts in ({"a": 7, "b": 3}, {"a": 2, "b": 8}):
        write_folder(tmp_path / "test", counts, seed=1)
        reports.append(check_data(asked(tmp_path)))
        for path in (tmp_path / "test").rglob("*.png"):
            path.unlink()
        for name in ("a", "b"):
            (tmp_path / "test" / name).rmdir()
    assert reports[0] == reports[1]


def test_images_without_contrast_stop_or_are_told(tmp_path: Path, write_folder):
    write_folder(tmp_path, {"a": 60, "b": 60})
    for path in sorted(tmp_path.rglob("00?.png"))[:3]:
        Image.new("RGB", (8, 8), (7, 7, 7)).save(path)
    report = check_data(asked(tmp_path))
    assert not stops(report) and "one value in all its pixels: " in told(report)
    for path in tmp_path.rglob("*.png"):
        Image.new("L", (8, 8), 0).save(path)
    assert "96 of 96 training images have one value in all their pixels" in stops(check_data(asked(tmp_path)))[0]
    for number, path in enumerate(sorted(tmp_path.rglob("*.png"))):
        Image.fromarray(np.full((8, 8), 7, np.uint8) + np.eye(8, dtype=np.uint8) * (number % 9)).save(path)
    assert "all pixels lie between 7 and 15 of 255" in told(check_data(asked(tmp_path)))
    for path in tmp_path.rglob("*.png"):
        Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save(path)
    assert stops(check_data(asked(tmp_path))) == ["all training images are the same"]


def test_copies_are_told_where_they_matter(tmp_path: Path, write_folder):
    write_folder(tmp_path / "train", {"a": 60, "b": 60})
    write_folder(tmp_path / "test", {"a": 2, "b": 2}, seed=1)
    one = (tmp_path / "train" / "a" / "007.png").read_bytes()
    (tmp_path / "train" / "b" / "100.png").write_bytes(one)
    report = check_data(asked(tmp_path))
    places = f"{tmp_path}/train/a/007.png and {tmp_path}/train/b/100.png ('a' and 'b')"
    assert f"the same pixels in two classes: 1 training image, as {places}" in told(report)
    for number in range(101, 140):
        (tmp_path / "train" / "a" / f"{number}.png").write_bytes(one)
    assert "the same pixels in training and in validation: " in told(check_data(asked(tmp_path)))


def test_faulty_files_of_both_parts_and_all_else_are_told_at_once(tmp_path: Path, write_folder):
    write_folder(tmp_path / "train", {"a": 30, "b": 1, "c": 30})
    write_folder(tmp_path / "test", {"a": 3, "c": 3}, seed=1)
    bad = [tmp_path / one for one in ("train/a/003.png", "train/c/004.png", "train/b/000.png", "test/a/001.png")]
    for path in bad:
        path.write_bytes(b"")
    report = check_data(asked(tmp_path))
    trouble = report.trouble()
    assert isinstance(trouble, Faults) and len(trouble.faults) == 3
    assert all(str(path) in str(trouble) for path in bad) and "no training image of 'b' can be read" in str(trouble)
    assert "3 of 61 images of the training part cannot be read" in str(trouble)
    report = check_data(asked(tmp_path, faulty="skip"))
    assert stops(report) == ["no training image of 'b' can be read"] and len(report.skipped) == 4
    for path in (tmp_path / "train" / "b").iterdir():
        path.unlink()
    (tmp_path / "train" / "b").rmdir()
    report = check_data(asked(tmp_path, faulty="skip"))
    assert report.trouble() is None and {one.file for one in report.skipped} == set(map(str, [*bad[:2], bad[3]]))
    assert "3 skipped, as they cannot be read" in report.lines()[0]
    assert isinstance(check_data(asked(tmp_path, faulty="skip", faulty_limit=0)).trouble(), Faults)


def test_a_validation_part_of_which_nothing_can_be_read_stops(tmp_path: Path, write_folder):
    write_folder(tmp_path / "train", {"a": 60, "b": 60})
    write_folder(tmp_path / "val", {"a": 2, "b": 2}, seed=1)
    for path in (tmp_path / "val").rglob("*.png"):
        path.write_bytes(b"")
    assert stops(check_data(asked(tmp_path, faulty="skip"))) == ["none of the 4 images to validate on can be read"]


def test_nothing_is_left_where_no_image_can_be_read(tmp_path: Path, write_folder):
    for path in write_folder(tmp_path, {"a": 60, "b": 60}):
        path.write_bytes(b"")
    report = check_data(asked(tmp_path, faulty="skip"))
    assert report.lines() == [] and len(report.training.faulty) == 96 and len(report.test.faulty) == 24
    assert "96 of 96 images cannot be read" in str(report.trouble())


def test_what_cannot_be_opened_at_all_is_told_once(tmp_path: Path):
    trouble = check_data(asked(tmp_path / "none")).trouble()
    assert isinstance(trouble, AutokdError) and "no such folder" in trouble.what


def test_a_set_that_was_given_up_its_test_part_can_be_searched(tmp_path: Path, write_folder):
    write_folder(tmp_path, {"a": 60, "b": 60})
    report = check_data(asked(tmp_path, options={"test": 0.0}))
    assert report.trouble() is None and "no image is left for the test part" in told(report) and report.train == 96


def test_sets_that_are_read_as_they_are_published_are_looked_at_too():
    report = check_data(DataConfig("digits"))
    assert not report.findings and (report.train, report.validation, report.test.images) == (1294, 144, 359)
    assert sum(count for _, count in report.classes) == 1438


def test_nothing_is_downloaded_where_that_is_not_asked_for(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(check, "open_part", lambda *_, **__: pytest.fail("a part was opened"))
    report = check_data(asked(tmp_path, name="cifar100"), fetch=False)
    assert report.trouble() is None and "not here yet" in report.notes[0] and report.lines() == []
    later = asked(tmp_path / "later", options={"classes": 5, "size": 96})
    assert check_data(later, fetch=False).notes == ("the images are not here: nothing of them was read",)
