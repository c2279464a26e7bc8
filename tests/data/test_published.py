from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
from hashlib import sha256
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autokd.data.held_out import open_test
from autokd.data.training import describe, open_training
from autokd.errors import AutokdError
from autokd.rooms import catalogue

ALL = {"validation": 0.0}


def write_parquet(path, pixels, png, metadata=None, **labels):
    cells = [{"bytes": png(image), "path": None} for image in pixels]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"img": pa.array(cells, kind), **{name: pa.array(v) for name, v in labels.items()}})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)


def cifar_file(path, pixels, **labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)
    path.write_bytes(pickle.dumps({"data": flat, **{k: list(map(int, v)) for k, v in labels.items()}}, protocol=2))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no network here")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist", "digits"])
def test_the_catalogue_reads_a_card_without_importing(name):
    facts = catalogue("data.sets")[name].facts
    words = ("CLASSES", "CHANNELS", "SIZE", "MEAN", "STD", "PADDING", "FLIP", "TRAIN_IMAGES", "DOWNLOAD", "SOURCE")
    assert set(words) <= set(facts)
    assert len(facts["MEAN"]) == len(facts["STD"]) == facts["CHANNELS"]


def test_the_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    published = load_digits()
    training, test = open_training("digits", **ALL), open_test("digits")
    train = training.train
    assert (len(train), len(test)) == (training.card.train_images, 359) == (1438, 359)
    both = np.concatenate([train.pixels, test.pixels]).reshape(-1, 64)
    ink = np.array([[int(v * 255 / 16 + 0.5) for v in image] for image in published.data])
    assert np.array_equal(both[np.lexsort(both.T)], ink[np.lexsort(ink.T)])  # every image once, none twice
    shares = np.bincount(test.labels) / np.bincount(published.target)
    assert np.abs(shares - 0.2).max() < 0.01
    scaled = train.pixels.astype(np.float64) / 255
    assert training.card.mean == pytest.approx((scaled.mean(),), abs=1e-9)
    assert training.card.std == pytest.approx((scaled.std(),), abs=1e-9)
    assert training.card.padding == 1 and not training.card.flip


def test_no_digit_of_the_test_part_is_seen_in_training():
    training = open_training("digits", validation=0.2, split_seed=4)
    seen = {p.tobytes() for p in (*training.train.pixels, *training.validation.pixels)}
    from sklearn.datasets import load_digits

    assert len({row.tobytes() for row in load_digits().data}) == 1797  # so equal bytes would be the same image
    assert not seen & {p.tobytes() for p in open_test("digits").pixels}


@pytest.mark.parametrize("below", ["cifar100", "."])
def test_cifar100_from_parquet(tmp_path, random_pixels, png, below):
    train, test = random_pixels(40, seed=1), random_pixels(6, seed=2)
    for name, pixels in (("train", train), ("test", test)):
        n = np.arange(len(pixels))
        write_parquet(tmp_path / below / f"{name}.parquet", pixels, png, fine_label=n * 2, coarse_label=n % 20)
    got = open_training("cifar100", root=str(tmp_path), **ALL)
    assert np.array_equal(got.train.pixels, train.transpose(0, 3, 1, 2))
    assert got.train.labels.tolist() == list(range(0, 80, 2))
    assert got.train.classes[:2] == ("apple", "aquarium_fish") and got.train.classes[99] == "worm"
    assert got.card.train_images == 40 and got.card.classes == 100
    assert np.array_equal(open_test("cifar100", root=str(tmp_path)).pixels, test.transpose(0, 3, 1, 2))
    coarse = open_training("cifar100", root=str(tmp_path), options={"label": "coarse"}, **ALL)
    assert coarse.card.classes == len(coarse.train.classes) == 20
    assert coarse.train.labels.tolist() == [n % 20 for n in range(40)]
    assert coarse.train.classes[0] == "aquatic_mammals"


def test_shards_come_in_order(tmp_path, random_pixels, png):
    pixels = random_pixels(7)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", pixels[4:], png, label=[4, 5, 6])
    write_parquet(tmp_path / "train-00000-of-00002.parquet", pixels[:4], png, label=[0, 1, 2, 3])
    got = open_training("cifar10", root=str(tmp_path), **ALL).train
    assert got.labels.tolist() == list(range(7)) == got.index.tolist()
    assert np.array_equal(got.pixels, pixels.transpose(0, 3, 1, 2))


def test_cifar10_from_a_named_file(tmp_path, random_pixels, png):
    write_parquet(tmp_path / "cifar10" / "some.parquet", random_pixels(10), png, label=list(range(10)))
    options = {"train_file": "some.parquet"}
    assert describe("cifar10", root=str(tmp_path), options=options).train_images == 10
    assert len(open_training("cifar10", root=str(tmp_path), options=options, **ALL).train) == 10
    with pytest.raises(AutokdError, match="no file 'other.parquet'"):
        open_test("cifar10", root=str(tmp_path), options={"test_file": "other.parquet"})


@pytest.mark.parametrize("below", ["", "cifar10/"])
def test_cifar10_from_the_published_pickles(tmp_path, random_pixels, below):
    folder = tmp_path / f"{below}cifar-10-batches-py"
    train, test = random_pixels(15, seed=1), random_pixels(4, seed=2)
    for number in range(5):
        rows = slice(3 * number, 3 * number + 3)
        cifar_file(folder / f"data_batch_{number + 1}", train[rows], labels=np.arange(15)[rows] % 10)
    cifar_file(folder / "test_batch", test, labels=[9, 8, 7, 6])
    got = open_training("cifar10", root=str(tmp_path), **ALL).train
    assert np.array_equal(got.pixels, train.transpose(0, 3, 1, 2))
    assert got.labels.tolist() == [n % 10 for n in range(15)]
    assert got.classes[9] == "truck"
    assert open_test("cifar10", root=str(tmp_path)).labels.tolist() == [9, 8, 7, 6]


def test_cifar100_from_the_published_pickles(tmp_path, random_pixels):
    folder = tmp_path / "cifar-100-python"
    cifar_file(folder / "train", random_pixels(3), fine_labels=[99, 0, 5], coarse_labels=[19, 0, 5])
    cifar_file(folder / "test", random_pixels(2), fine_labels=[1, 2], coarse_labels=[1, 2])
    assert open_training("cifar100", root=str(tmp_path), **ALL).train.labels.tolist() == [99, 0, 5]
    coarse = open_training("cifar100", root=str(tmp_path), options={"label": "coarse"}, **ALL)
    assert coarse.train.labels.tolist() == [19, 0, 5]
    assert open_test("cifar100", root=str(tmp_path)).labels.tolist() == [1, 2]


class Mischief:
    def __reduce__(self):
        return os.getcwd, ()


@pytest.mark.parametrize("told", ["code", "cut", "labels"])
def test_a_pickle_that_is_not_the_set_is_refused(tmp_path, random_pixels, told):
    path = tmp_path / "cifar-100-python" / "train"
    cifar_file(path, random_pixels(3), fine_labels=[99, 0, 100] if told == "labels" else [99, 0, 5])
    if told == "code":
        path.write_bytes(pickle.dumps({"data": Mischief()}))
    if told == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AutokdError) as caught:
        open_training("cifar100", root=str(tmp_path), **ALL)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("squeezed", [True, False])
def test_fashion_mnist_from_the_published_files(tmp_path, squeezed):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    files = {
        "train-images-idx3-ubyte": struct.pack(">4i", 0x803, 5, 28, 28) + pixels.tobytes(),
        "train-labels-idx1-ubyte": struct.pack(">2i", 0x801, 5) + bytes([9, 0, 1, 2, 3]),
    }
    for name, told in files.items():
        (raw / (name + ".gz" * squeezed)).write_bytes(gzip.compress(told) if squeezed else told)
    got = open_training("fashion_mnist", root=str(tmp_path), **ALL).train
    assert np.array_equal(got.pixels, pixels[:, None])
    assert got.labels.tolist() == [9, 0, 1, 2, 3]
    assert got.classes[0] == "T-shirt/top" and got.classes[9] == "Ankle boot"
    with pytest.raises(AutokdError, match="missing"):
        open_test("fashion_mnist", root=str(tmp_path))
    path = raw / ("train-images-idx3-ubyte" + ".gz" * squeezed)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(AutokdError):
        open_training("fashion_mnist", root=str(tmp_path), **ALL)


def test_fashion_mnist_from_parquet_is_grey(tmp_path, png):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    write_parquet(tmp_path / "fashion_mnist" / "train.parquet", pixels, png, label=[0, 1, 2])
    assert np.array_equal(open_training("fashion_mnist", root=str(tmp_path), **ALL).train.pixels, pixels[:, None])


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_without_data_and_network_one_error_says_what_to_do(tmp_path, no_network, name):
    with pytest.raises(AutokdError, match="could not be downloaded") as caught:
        open_training(name, root=str(tmp_path))
    assert caught.value.where == str(tmp_path) and "train.parquet" in caught.value.fix
    with pytest.raises(AutokdError, match="downloading is off"):
        open_training(name, root=str(tmp_path), options={"download": False})


def test_a_set_that_is_not_there_is_described_as_published(tmp_path):
    card = describe("cifar100", root=str(tmp_path / "nowhere"))
    assert (card.classes, card.channels, card.height, card.width, card.train_images) == (100, 3, 32, 32, 50000)
    assert not (tmp_path / "nowhere").exists()


def test_another_set_under_the_same_name_is_refused(tmp_path, random_pixels, png):
    write_parquet(tmp_path / "train.parquet", random_pixels(3, 8, 8), png, label=[0, 1, 2])
    with pytest.raises(AutokdError, match=r"its images are \[3, 8, 8\]"):
        open_training("cifar10", root=str(tmp_path), **ALL)
    told = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    write_parquet(tmp_path / "train.parquet", random_pixels(3), png, {"huggingface": json.dumps(told)}, label=[0, 1, 1])
    with pytest.raises(AutokdError, match="2 classes, cifar10 has 10"):
        open_training("cifar10", root=str(tmp_path), **ALL)
    write_parquet(tmp_path / "train.parquet", random_pixels(3), png, label=[0, 1, 11])
    with pytest.raises(AutokdError, match="row 2 has the label 11"):
        open_training("cifar10", root=str(tmp_path), **ALL)


def test_cifar10_as_it_lies_in_the_shared_data(shared_data):
    options = {"train_file": "train_5k.parquet"}
    training = open_training("cifar10", root=str(shared_data), options=options, validation=0.1)
    assert (len(training.train), len(training.validation)) == (4500, 500)
    assert set(np.bincount(training.validation.labels)) == {50}
    assert training.train.classes[3] == "cat"


@pytest.mark.slow
def test_cifar100_decodes_to_the_published_pixels(shared_data):
    training = open_training("cifar100", root=str(shared_data), **ALL)
    test = open_test("cifar100", root=str(shared_data))
    digests = [sha256(part.pixels.transpose(0, 2, 3, 1).tobytes()).hexdigest() for part in (training.train, test)]
    assert digests == [
        "4e457917601a66aed021f5fa37957b56c6319557c0a8ed5484de3c390af45430",
        "4cb8e5d9309da489bf6b19cc10cd96c3ae6f8daf225380b605aaee4c0d6aee19",
    ]
    assert set(np.bincount(training.train.labels)) == {500}
    scaled = training.train.pixels.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert training.card.mean == pytest.approx(scaled.mean(axis=1), abs=1e-9)
    assert training.card.std == pytest.approx(scaled.std(axis=1), abs=1e-9)
