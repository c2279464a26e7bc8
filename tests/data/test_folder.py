from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from autokd.data.held_out import open_test
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
