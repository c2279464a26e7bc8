"""Fashion-MNIST: grey pictures of ten kinds of clothing."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.columns import Columns
from autokd.data.images import Images
from autokd.data.sets._published import fetch, parquet_images, parquet_paths
from autokd.errors import AutokdError, refused
from autokd.machine import expanded

__all__ = ["fashion_mnist"]

CLASSES, CHANNELS, SIZE = 10, 1, 28
MEAN, STD = (0.2860405969,), (0.3530242445,)
PADDING, FLIP = 4, True
TRAIN_IMAGES = 60000
DOWNLOAD = True
SOURCE = "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, arXiv:1708.07747"
NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
EXAMPLE = "data: {name: fashion_mnist, root: path/to/data}"

_LOOKED = "FashionMNIST/raw/, fashion_mnist/train.parquet, train.parquet"


def fashion_mnist(
    part: str, *, root: str = "data", train_file: str | None = None, test_file: str | None = None, download: bool = True
) -> Images:
    """Ten classes, grey, 28 x 28. part: train (60,000 images) or test (10,000).

    Read from Parquet (root/fashion_mnist/train.parquet or root/train.parquet, or the files named by train_file and
    test_file), else from the published files (root/FashionMNIST/raw, packed or not), which are downloaded when neither is
    there and `download` is true. Raises AutokdError where that fails.

    root: the folder that its files lie below
    train_file: a Parquet or Arrow file of the training part in root, which may hold fewer images; null: train.parquet
    test_file: one of the test part; null: test.parquet
    download: whether it may be downloaded where it is not there

    Source: https://github.com/zalandoresearch/fashion-mnist
    """
    paths = parquet_paths("fashion_mnist", part, root, train_file if part == "train" else test_file)
    if paths:
        return parquet_images("fashion_mnist", part, paths, label=("label", "labels"), classes=NAMES, shape=(1, 28, 28))
    folder = _raw(root)
    if folder is None:
        fetch("FashionMNIST", "fashion_mnist", root, _LOOKED, download)
        folder = expanded(root) / "FashionMNIST" / "raw"
    stem = "train" if part == "train" else "t10k"
    pixels, labels = _idx(folder / f"{stem}-images-idx3-ubyte", 3), _idx(folder / f"{stem}-labels-idx1-ubyte", 1)
    if pixels.shape[1:] != (28, 28) or len(pixels) != len(labels) or (len(labels) and labels.max() > 9):
        raise AutokdError(f"its {stem} images and labels do not fit", where=str(folder), fix="download the set again")
    return Images(pixels[:, None], labels.astype(np.int64), NAMES, np.arange(len(labels), dtype=np.int64))


def describe(*, root: str = "data", train_file: str | None = None, **_: Any) -> dict[str, Any]:
    paths = parquet_paths("fashion_mnist", "train", root, train_file)
    return {"train_images": Columns(paths).rows} if paths else {}


def here(
    part: str, *, root: str = "data", train_file: str | None = None, test_file: str | None = None, **_: Any
) -> bool:
    """Whether a part can be read without a download."""
    return bool(parquet_paths("fashion_mnist", part, root, train_file if part == "train" else test_file) or _raw(root))


def _raw(root: str) -> Path | None:
    place = expanded(root)
    folders = (place / "FashionMNIST" / "raw", place / "fashion_mnist", place)
    return next((folder for folder in folders if any(folder.glob("train-images-idx3-ubyte*"))), None)


def _idx(path: Path, rank: int) -> np.ndarray:
    """An array of bytes in LeCun's IDX format: 0, 0, type 8, rank, then the sizes (big-endian) and the values."""
    packed = path.with_name(path.name + ".gz")
    try:
        told = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    except FileNotFoundError:
        raise AutokdError("this file of the set is missing", where=str(path)) from None
    except (OSError, EOFError) as fault:
        denied = refused(fault)
        again = "" if denied else "download the set again"
        raise AutokdError(f"it cannot be read: {denied or fault}", where=str(path), fix=again) from None
    start = 4 + 4 * rank
    shape = tuple(int(side) for side in np.frombuffer(told[4:start], ">i4")) if len(told) >= start else ()
    if told[:4] != bytes((0, 0, 8, rank)) or len(told) - start != int(np.prod(shape)):
        raise AutokdError("not an IDX file, or cut short", where=str(path), fix="download the set again")
    return np.frombuffer(told, np.uint8, offset=start).reshape(shape).copy()
