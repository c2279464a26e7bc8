from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from autokd.data.held_out import open_test
from autokd.data.training import describe, open_training
from autokd.errors import AutokdError

datasets = pytest.importorskip("torchvision.datasets")


def test_a_set_with_a_train_flag(tmp_path):
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    for stem, rows in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        part = pixels[rows]
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, len(part), 28, 28) + part.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(part)) + bytes(range(len(part))))
    options = {"dataset": "KMNIST", "colour": "grey", "download": False}
    card = describe("torchvision", root=str(tmp_path), options=options)
    assert (card.classes, card.channels, card.height, card.train_images, card.mean) == (10, 1, 28, 5, ())
    training = open_training("torchvision", root=str(tmp_path), options=options, validation=0)
    assert np.array_equal(training.train.pixels, pixels[:5, None])
    assert training.train.labels.tolist() == [0, 1, 2, 3, 4]
    assert training.train.classes[0] == "o" and len(training.train.classes) == 10
    assert training.card.mean == pytest.approx([pixels[:5].mean() / 255])
    assert np.array_equal(open_test("torchvision", root=str(tmp_path), options=options).pixels, pixels[5:, None])
    other = 255 - pixels[:5]
    (raw / "train-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, 5, 28, 28) + other.tobytes())
    replaced = open_training("torchvision", root=str(tmp_path), options=options, validation=0)
    assert np.array_equal(replaced.train.pixels, other[:, None])  # a replaced file is read anew
    for file in raw.iterdir():
        file.unlink()
    assert len(open_training("torchvision", root=str(tmp_path), options=options, validation=0).train) == 5  # kept


class Pets:
    """A set with a `split` that says trainval, as some of torchvision's do, and no names of its classes."""

    def __init__(self, root: str, split: str = "trainval", download: bool = False) -> None:
        if split not in ("trainval", "test"):
            raise ValueError(f"unknown split {split}")
        self.shade = {"trainval": 10, "test": 20}[split]

    def __len__(self):
        return 4

    def __getitem__(self, row):
        if row >= 4:
            raise IndexError
        return Image.new("RGB", (9 + row, 9), (self.shade, 0, row)), row % 2


def test_a_set_with_a_split_word(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "OxfordIIITPet", Pets)
    options = {"dataset": "OxfordIIITPet", "size": 8.0}
    training = open_training("torchvision", root=str(tmp_path), options=options, validation=0)
    assert training.train.pixels.shape == (4, 3, 8, 8) and training.train.classes == ("0", "1")
    assert set(training.train.pixels[:, 0].flatten()) == {10}
    assert set(open_test("torchvision", root=str(tmp_path), options=options).pixels[:, 0].flatten()) == {20}


class Torn(Pets):
    """Its second image cannot be opened, so that its label is not known either; the test part has no image of the last class."""

    def __getitem__(self, row):
        image, label = super().__getitem__(row)
        if row == 1:
            raise OSError("image file is truncated")
        return image, label * (self.shade == 10)


def test_an_image_that_its_own_reader_cannot_open_is_named_or_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "OxfordIIITPet", Torn)
    how = {"root": str(tmp_path), "options": {"dataset": "OxfordIIITPet", "size": 8}}
    assert describe("torchvision", **how).classes == 2
    with pytest.raises(AutokdError, match="the image cannot be read: image file is truncated") as caught:
        open_training("torchvision", validation=0, **how)
    assert caught.value.where == "OxfordIIITPet train: row 1"
    training = open_training("torchvision", validation=0, faulty="skip", **how)
    assert training.train.index.tolist() == [0, 2, 3] and training.train.labels.tolist() == [0, 0, 1]
    held = open_test("torchvision", faulty="skip", **how)
    assert held.classes == training.train.classes == ("0", "1") and held.labels.tolist() == [0, 0, 0]


def test_what_cannot_be_is_told(tmp_path):
    with pytest.raises(AutokdError, match="needs the option 'dataset'"):
        describe("torchvision", root=str(tmp_path))
    for name, told in (("SVNH", "did you mean 'SVHN'"), ("FakeData", "no training and test part")):
        with pytest.raises(AutokdError, match=told):
            describe("torchvision", root=str(tmp_path), options={"dataset": name})
    with pytest.raises(AutokdError, match="could not be had"):
        describe("torchvision", root=str(tmp_path), options={"dataset": "SVHN", "download": False})
