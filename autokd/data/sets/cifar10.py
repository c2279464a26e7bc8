"""CIFAR-10: small photographs of ten kinds of animal and vehicle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autokd.data.columns import Columns
from autokd.data.images import Images
from autokd.data.sets._published import cifar_images, fetch, parquet_images, parquet_paths
from autokd.machine import expanded

__all__ = ["cifar10"]

CLASSES, CHANNELS, SIZE = 10, 3, 32
MEAN, STD = (0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)
PADDING, FLIP = 4, True
TRAIN_IMAGES = 50000
DOWNLOAD = True
SOURCE = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EXAMPLE = "data: {name: cifar10, root: path/to/data}"

_FOLDER = "cifar-10-batches-py"
_LOOKED = f"{_FOLDER}/, cifar10/train.parquet, train.parquet"


def cifar10(
    part: str, *, root: str = "data", train_file: str | None = None, test_file: str | None = None, download: bool = True
) -> Images:
    """Ten classes, colour, 32 x 32. part: train (50,000 images as published) or test (10,000).

    Read from Parquet (root/cifar10/train.parquet or root/train.parquet, or the files named by train_file and test_file, which
    may hold fewer images), else from the published pickles (root/cifar-10-batches-py), which are downloaded when neither is
    there and `download` is true. Raises AutokdError where that fails.

    root: the folder that its files lie below
    train_file: a Parquet or Arrow file of the training part in root, which may hold fewer images; null: train.parquet
    test_file: one of the test part; null: test.parquet
    download: whether it may be downloaded where it is not there

    Source: https://www.cs.toronto.edu/~kriz/cifar.html
    """
    paths = parquet_paths("cifar10", part, root, train_file if part == "train" else test_file)
    if paths:
        return parquet_images("cifar10", part, paths, label=("label", "labels"), classes=NAMES, shape=(3, 32, 32))
    folder = _pickles(root)
    if folder is None:
        fetch("CIFAR10", "cifar10", root, _LOOKED, download)
        folder = expanded(root) / _FOLDER
    files = [f"data_batch_{number}" for number in range(1, 6)] if part == "train" else ["test_batch"]
    return cifar_images([folder / file for file in files], "labels", NAMES)


def describe(*, root: str = "data", train_file: str | None = None, **_: Any) -> dict[str, Any]:
    paths = parquet_paths("cifar10", "train", root, train_file)
    return {"train_images": Columns(paths).rows} if paths else {}


def here(
    part: str, *, root: str = "data", train_file: str | None = None, test_file: str | None = None, **_: Any
) -> bool:
    """Whether a part can be read without a download."""
    return bool(parquet_paths("cifar10", part, root, train_file if part == "train" else test_file) or _pickles(root))


def _pickles(root: str) -> Path | None:
    place = expanded(root)
    folders = (place / _FOLDER, place / "cifar10" / _FOLDER, place)
    return next((folder for folder in folders if (folder / "data_batch_1").is_file()), None)
