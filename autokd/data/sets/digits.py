"""Handwritten digits that ship inside scikit-learn: the data set of the first run."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from autokd.data.images import Images
from autokd.data.splits import cut, words
from autokd.errors import AutokdError

__all__ = ["digits"]

CLASSES, CHANNELS, SIZE = 10, 1, 8
MEAN, STD = (0.3053400863,), (0.3757540993,)
PADDING, FLIP = 1, False
TRAIN_IMAGES = 1438
DOWNLOAD = False
SOURCE = "scikit-learn's load_digits: UCI Optical Recognition of Handwritten Digits, test part, 1,797 images of 8 x 8"
EXAMPLE = "data: {name: digits}"


def digits(part: str, *, root: str = "data") -> Images:
    """Handwritten digits 0 to 9, grey, 8 x 8. part: train (1,438 images) or test (359).

    Ink from 0 to 16 becomes 0 to 255. The set is published as one part; a fifth of it, stratified and always the same, is
    the test part here (so writers stand on both sides).

    root: not used; nothing is read but scikit-learn's own copy

    Raises AutokdError without scikit-learn.

    Source: E. Alpaydin and C. Kaynak, UCI Optical Recognition of Handwritten Digits; sklearn.datasets.load_digits.
    """
    ink, labels = _published()
    held = cut(labels, words(len(labels), 0), 0.2)
    rows = np.flatnonzero(held if part == "test" else ~held)
    pixels = np.rint(ink[rows] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return Images(pixels, labels[rows], tuple("0123456789"), np.arange(len(rows), dtype=np.int64))


def _published() -> tuple[np.ndarray, np.ndarray]:
    """Ink [N, 64] from 0 to 16 and labels [N]. The file is read by itself: importing sklearn.datasets takes over a second."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise AutokdError("the digits lie inside scikit-learn, which is missing", fix="pip install scikit-learn")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.exists():
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.int64)
        return table[:, :-1].astype(np.float64), table[:, -1]
    from sklearn.datasets import load_digits

    ink, labels = load_digits(return_X_y=True)
    return ink, labels.astype(np.int64)
