from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from autokd.data.held_out import open_test
from autokd.data.sets.folder import folder
from autokd.data.training import describe, open_training
from autokd.errors import AutokdError


def everything(training):
    return {p.tobytes() for p in (*training.train.pixels, *training.validation.pixels)}


def as_bytes(pixels):
    return {np.ascontiguousarray(p.transpose(2, 0, 1)).tobytes() for p in pixels}


def test_train_and_test_folders(tmp_path, write_folder):
    train = write_folder(tmp_path / "train", {"b": 5, "a": 4, "Ä 1": 3})
    test = write_folder(tmp_path / "test", {"b": 2, "Ä 1": 1}, seed=9)
    training = open_training("folder", root=str(tmp_path), validation=0.25)
    assert training.train.classes == ("a", "b", "Ä 1")  # code points: names are not changed
    assert everything(training) == as_bytes(train.values())
    assert np.bincount(np.concatenate([training.train.labels, training.validation.labels])).tolist() == [4, 5, 3]
    held = open_test("folder", root=str(tmp_path))
    assert held.labels.tolist() == [1, 1, 2] and held.classes == training.train.classes
    assert {p.tobytes() for p in held.pixels} == as_bytes(test.values())


def test_the_mean_is_that_of_the_training_part(tmp_path, write_folder):
    train = write_folder(tmp_path / "train", {"a": 4, "b": 4})
    write_folder(tmp_path / "test", {"a": 4}, seed=1)
    first = describe("folder", root=str(tmp_path))
    assert first.mean == () and (first.channels, first.height, first.width, first.train_images) == (3, 8, 8, 8)
    card = open_training("folder", root=str(tmp_path), validation=0.5).card
    scaled = np.stack(list(train.values())).reshape(-1, 3) / 255
    assert card.mean == pytest.approx(scaled.mean(axis=0), abs=1e-12)
    assert card.std == pytest.approx(scaled.std(axis=0), abs=1e-12)
    assert describe("folder", root=str(tmp_path)) == card  # known once decoded
    assert (card.padding, card.flip, card.geometry) == (1, True, "crop")


def test_it_is_the_same_where_nothing_can_be_kept(tmp_path, write_folder, monkeypatch):
    write_folder(tmp_path / "train", {"a": 4, "b": 4})
    kept = open_training("folder", root=str(tmp_path), validation=0.5, options={"test": 0.0})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="AUTOKD_CACHE"):
        fresh = open_training("folder", root=str(tmp_path), validation=0.5, options={"test": 0.0})
    assert fresh.train.fingerprint() == kept.train.fingerprint()
    assert fresh.card.mean == pytest.approx(kept.card.mean, abs=1e-12)
    assert fresh.card.std == pytest.approx(kept.card.std, abs=1e-12)


@pytest.mark.parametrize("below", ["", "train"])
def test_without_a_test_folder_a_share_is_held_out(tmp_path, write_folder, below):
    written = write_folder(tmp_path / below, {"a": 20, "b": 10, "c": 5})
    training = open_training("folder", root=str(tmp_path), validation=0.2)
    held = open_test("folder", root=str(tmp_path))
    assert np.bincount(held.labels).tolist() == [4, 2, 1]
    assert training.card.train_images == 28
    apart = {p.tobytes() for p in held.pixels}
    assert not everything(training) & apart
    assert everything(training) | apart == as_bytes(written.values())
    other = open_test("folder", root=str(tmp_path), options={"test_seed": 1})
    assert {p.tobytes() for p in other.pixels} != apart


def test_most_held_out_files_stay_so_when_others_are_added(tmp_path, write_folder):
    write_folder(tmp_path, {"a": 100, "b": 100})
    before = {p.tobytes() for p in open_test("folder", root=str(tmp_path)).pixels}
    for number in range(10):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / "a" / f"new{number}.png")
    after = {p.tobytes() for p in open_test("folder", root=str(tmp_path)).pixels}
    assert len(before & after) >= 35


def test_changed_files_are_read_again(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"a": 2})
    options = {"test": 0.0}
    open_training("folder", root=str(tmp_path), validation=0.5, options=options)
    Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(tmp_path / "train" / "a" / "000.png")
    training = open_training("folder", root=str(tmp_path), validation=0.0, options=options)
    assert training.train.pixels[0].min() == training.train.pixels[0].max() == 77


def test_hidden_names_and_other_files_are_passed_over(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"a": 2, ".hidden": 2})
    write_folder(tmp_path / "train" / "a", {"below": 1})
    (tmp_path / "train" / "a" / "notes.txt").write_text("x")
    (tmp_path / "train" / "a" / ".000.png").write_text("x")
    training = open_training("folder", root=str(tmp_path), validation=0, options={"test": 0.0})
    assert training.train.classes == ("a",) and len(training.train) == 3


def test_a_size_is_for_all(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"a": 2})
    Image.new("L", (30, 20), 100).save(tmp_path / "train" / "a" / "wide.jpg")
    with pytest.raises(AutokdError, match="30 x 20 pixels, the first one 8 x 8") as caught:
        open_training("folder", root=str(tmp_path), validation=0, options={"test": 0.0})
    assert caught.value.where.endswith("wide.jpg") and "size" in caught.value.fix
    options = {"test": 0.0, "size": 96, "padding": 3, "flip": False}
    card = open_training("folder", root=str(tmp_path), validation=0, options=options).card
    assert (card.height, card.width, card.padding, card.flip, card.geometry) == (96, 96, 3, False, "resized_crop")
    grey = {"test": 0.0, "size": 16, "colour": "grey"}
    training = open_training("folder", root=str(tmp_path), validation=0, options=grey)
    assert training.train.pixels.shape == (3, 1, 16, 16) and training.card.padding == 2
    assert np.abs(training.train.pixels[2].astype(int) - 100).max() <= 1


def test_a_broken_image_is_named(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"a": 3})
    (tmp_path / "train" / "a" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n, but not quite")
    with pytest.raises(AutokdError, match="cannot be read") as caught:
        open_training("folder", root=str(tmp_path), options={"test": 0.0}, validation=0)
    assert caught.value.where == str(tmp_path / "train" / "a" / "001.png")


def test_what_is_missing_is_told(tmp_path, write_folder):
    with pytest.raises(AutokdError, match="no such folder"):
        open_training("folder", root=str(tmp_path / "none"))
    with pytest.raises(AutokdError, match="holds no folders"):
        open_training("folder", root=str(tmp_path))
    write_folder(tmp_path / "train", {"a": 4, "empty": 0})
    with pytest.raises(AutokdError, match="'empty' has no images"):
        open_training("folder", root=str(tmp_path))
    (tmp_path / "train" / "empty").rmdir()
    with pytest.raises(AutokdError, match="no image is left for the test"):
        open_test("folder", root=str(tmp_path), options={"test": 0.0})
    write_folder(tmp_path / "test", {"stranger": 1})
    with pytest.raises(AutokdError, match="'stranger'"):
        open_test("folder", root=str(tmp_path))


def test_options_say_what_a_folder_that_is_not_there_will_be_and_are_held_to_it_once_it_is(tmp_path):
    from autokd.data.training import expect

    options = {"classes": 5, "size": 96}
    told = expect("folder", root=str(tmp_path / "later"), options=options)
    assert (told.classes, told.channels, told.height, told.width) == (5, 3, 96, 96)
    assert (told.train_images, told.geometry, told.padding) == (None, "resized_crop", 12)
    with pytest.raises(AutokdError, match="no such folder"):
        expect("folder", root=str(tmp_path / "later"), options={"size": 96})
    with pytest.raises(AutokdError, match="no such folder"):
        describe("folder", root=str(tmp_path / "later"), options=options)
    for name in ("cat", "dog"):
        (tmp_path / "now" / "train" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "now" / "train" / name / "one.png")
    with pytest.raises(AutokdError, match="there are 2 classes, and options.classes says 5"):
        expect("folder", root=str(tmp_path / "now"), options=options)


def labels_of(images):
    return {images.classes[label]: int(count) for label, count in enumerate(np.bincount(images.labels))}


@pytest.mark.parametrize(("train", "val", "test"), [("Train", "Val", "Test"), ("training", "dev", "TESTING")])
def test_parts_are_known_in_any_case_and_a_validation_folder_is_the_validation_split(tmp_path, write_folder, train, val, test):
    write_folder(tmp_path / train, {"cat": 3, "dog": 4})
    held = write_folder(tmp_path / val, {"cat": 1, "dog": 2}, seed=1)
    write_folder(tmp_path / test, {"dog": 2}, seed=2)
    (tmp_path / "masks" / "cat").mkdir(parents=True)
    training = open_training("folder", root=str(tmp_path), validation=0.5)
    assert labels_of(training.train) == {"cat": 3, "dog": 4} and labels_of(training.validation) == {"cat": 1, "dog": 2}
    assert {p.tobytes() for p in training.validation.pixels} == as_bytes(held.values())
    assert training.train.index.tolist() == list(range(7)) and training.validation.index.tolist() == [7, 8, 9]
    assert (training.card.train_images, training.card.validation_images) == (10, 3)
    assert (training.card.trained_on(0.5), training.card.validated_on(0.5), training.card.trained_on(0.5, 0.5)) == (7, 3, 4)
    assert open_test("folder", root=str(tmp_path)).labels.tolist() == [1, 1]
    few = open_training("folder", root=str(tmp_path), validation=0.5, fraction=0.6)
    assert (len(few.train), few.validation.fingerprint()) == (4, training.validation.fingerprint())
    assert len(open_training("folder", root=str(tmp_path), validation=0).train) == 10  # nothing is to be held out
    joined = open_training("folder", root=str(tmp_path), validation=0.2, options={"join_validation": True})
    assert (len(joined.train), len(joined.validation), joined.card.validation_images) == (8, 2, None)


def test_a_split_file_says_more_than_a_validation_folder(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "val", {"cat": 1, "dog": 1}, seed=1)
    (tmp_path / "split.json").write_text('{"train": [0, 2, 4], "validation": [1, 5]}')
    training = open_training("folder", root=str(tmp_path), split_file=tmp_path / "split.json", options={"test": 0.0})
    assert training.train.index.tolist() == [0, 2, 4] and training.validation.index.tolist() == [1, 5]


def test_without_a_test_folder_the_test_images_are_cut_from_the_training_folder_alone(tmp_path, write_folder):
    train = write_folder(tmp_path / "train", {"cat": 10, "dog": 10})
    held = write_folder(tmp_path / "val", {"cat": 3, "dog": 3}, seed=1)
    training, test = open_training("folder", root=str(tmp_path)), open_test("folder", root=str(tmp_path))
    assert (len(training.train), len(training.validation), len(test)) == (16, 6, 4)
    assert {p.tobytes() for p in training.validation.pixels} == as_bytes(held.values())
    assert {p.tobytes() for p in (*training.train.pixels, *test.pixels)} == as_bytes(train.values())


def test_folders_that_look_like_parts_are_questioned_and_may_be_named(tmp_path, write_folder):
    write_folder(tmp_path / "Test", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "photos", {"cat": 4, "dog": 4}, seed=1)
    with pytest.raises(AutokdError, match="'Test' looks like a part of the data and not like a class") as caught:
        describe("folder", root=str(tmp_path))
    assert "options.train_folder" in caught.value.fix and "data.root" in caught.value.fix
    named = {"train_folder": "photos"}
    assert describe("folder", root=str(tmp_path), options=named).train_images == 8
    assert len(open_test("folder", root=str(tmp_path), options=named)) == 4
    classes = {"train_folder": ".", "test": 0.0}  # they are classes all the same
    training = open_training("folder", root=str(tmp_path), options=classes, validation=0)
    assert labels_of(training.train) == {"Test": 4, "photos": 8}
    with pytest.raises(AutokdError, match="no folder 'tset' for the test part"):
        describe("folder", root=str(tmp_path), options={**named, "test_folder": "tset"})
    write_folder(tmp_path / "val", {"cat": 1, "dog": 1}, seed=2)
    write_folder(tmp_path / "Valid", {"cat": 1, "dog": 1}, seed=3)
    with pytest.raises(AutokdError, match="'Valid' and 'val' both look like the validation part"):
        describe("folder", root=str(tmp_path), options=named)
    imagenet = {**named, "test_folder": "val", "validation_folder": "Valid"}
    card = describe("folder", root=str(tmp_path), options=imagenet)
    assert (card.train_images, card.validation_images) == (10, 2)


def test_a_class_may_be_called_like_a_part(tmp_path, write_folder):
    write_folder(tmp_path, {"train": 5, "truck": 5})  # as in CIFAR-100
    assert open_training("folder", root=str(tmp_path)).train.classes == ("train", "truck")


def test_folders_of_parts_within_the_classes_are_told(tmp_path, write_folder):
    for name in ("cat", "dog"):
        write_folder(tmp_path / name, {"train": 4, "test": 2})
    (finding,) = folder("train", root=str(tmp_path)).reading.findings
    assert finding.what.startswith("cat/test and cat/train look like parts, and are read as one") and not finding.stop
    assert "train/<class>/" in finding.fix


def test_every_class_that_is_empty_or_unknown_is_named_at_once(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"a": 3, "b": 0, "c": 0, "d": 3})
    (tmp_path / "train" / "b" / "notes.txt").write_text("x")
    with pytest.raises(AutokdError, match="the classes 'b', 'c' have no images") as caught:
        describe("folder", root=str(tmp_path))
    assert "passed over in it: 1 no images by their suffix" in caught.value.fix
    for name in ("b", "c"):
        shutil.rmtree(tmp_path / "train" / name)
    write_folder(tmp_path / "test", {"a": 1, "x": 1, "y": 2})
    with pytest.raises(AutokdError, match="no training image has the classes 'x', 'y'"):
        open_test("folder", root=str(tmp_path))
    write_folder(tmp_path / "val", {"z": 1})
    with pytest.raises(AutokdError, match="no training image has the class 'z'") as caught:
        open_training("folder", root=str(tmp_path))
    assert caught.value.where == str(tmp_path / "val")


def test_names_that_are_not_utf8_are_classes_and_files_like_others(tmp_path, write_folder):
    write_folder(tmp_path, {"cat": 10, "cafe": 10})
    os.rename(tmp_path / "cafe", os.fsencode(tmp_path) + b"/caf\xe9")
    os.rename(tmp_path / "cat" / "000.png", os.fsencode(tmp_path) + b"/cat/\xff.png")
    training = open_training("folder", root=str(tmp_path))
    assert training.train.classes == ("caf\\xe9", "cat") and training.card.train_images == 16
    (tmp_path / "caf\\xe9").mkdir()  # four letters and a backslash
    Image.new("L", (8, 8)).save(tmp_path / "caf\\xe9" / "1.png")
    with pytest.raises(AutokdError, match="two classes are called"):
        open_training("folder", root=str(tmp_path))


def test_a_new_rule_of_decoding_reuses_no_older_pixels(tmp_path, write_folder, monkeypatch, cache):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    names = set()
    for rules, options in ((1, {}), (2, {}), (2, {"white": 4095.0}), (2, {"black": 1.0})):
        monkeypatch.setattr("autokd.data.decoded.RULES", rules)
        folder("train", root=str(tmp_path), **options)
        names.add(frozenset(path.name for path in (cache / "data").glob("folder-train-*") if path.is_dir()))
    assert sorted(map(len, names)) == [1, 2, 3, 4]


def test_the_first_image_that_can_be_read_tells_what_a_set_is(tmp_path, write_folder):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "cat" / "000.png").write_bytes(b"")
    assert describe("folder", root=str(tmp_path)).height == 8
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(AutokdError, match="it is empty"):
        describe("folder", root=str(tmp_path))
