"""The training part of a data set, cut into the images that train and the images that validate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data._sets import card, expected_card, open_part
from autokd.data.cache import remembered, stamp
from autokd.data.images import Card, Images
from autokd.data.splits import split
from autokd.errors import AutokdError

__all__ = ["Training", "describe", "expect", "open_training", "rows_of"]

_SHARED = 8 * 2**20  # bytes: below, a copy in each process is cheaper than a file


@dataclass(frozen=True, eq=False)
class Training:
    """What a search may see of a data set. Both splits come from its training part; the test part is not read."""

    train: Images
    validation: Images
    card: Card


def describe(name: str, *, root: str | None = None, options: Mapping[str, Any] | None = None) -> Card:
    """What a data set is, from its file's literals and, for a folder or table, from metadata, labels and one image.

    mean and std are empty where the images were not decoded yet. Raises AutokdError for an unknown name or option, and
    where a folder or table is missing. A published set that is not there yet is described as published.
    """
    return card(name, root, options)


def expect(name: str, *, root: str | None = None, options: Mapping[str, Any] | None = None) -> Card:
    """As describe, and where a folder is missing, what its options say it will be (train_images is None then).

    For checks on a machine that has not the data; what trains calls describe.
    """
    return expected_card(name, root, options) or card(name, root, options)


def open_training(
    name: str,
    *,
    root: str | None = None,
    options: Mapping[str, Any] | None = None,
    validation: float = 0.1,
    split_seed: int = 0,
    split_file: str | os.PathLike[str] | None = None,
    fraction: float = 1.0,
    faulty: str = "stop",
    faulty_limit: float = 0.01,
) -> Training:
    """The training part, split as autokd.data.splits.split says; the card is complete.

    Where the set has validation images of its own they are the validation split, unless a split file names others or
    `validation` is 0. faulty: an image that cannot be read stops (all are named at once), or is left out (`skip`), up to a share
    `faulty_limit` of them; whatever else is known of the others, their split and their `index` among it, is as if it were there.

    mean and std of a set that does not publish them are those of its whole training part, whatever the split, so that every split
    of it is normalised alike. Raises AutokdError where the data cannot be had or an argument cannot be.
    """
    images = open_part(name, "train", root, options, faulty=faulty, limit=faulty_limit)
    train, held = rows_of(images, validation=validation, seed=split_seed, split_file=split_file, fraction=fraction)
    told = card(name, root, options)
    _, channels, height, width = images.pixels.shape
    told = replace(
        told, classes=len(images.classes), channels=channels, height=height, width=width, train_images=len(images)
    )
    if not told.mean or not told.std:
        mean, std = _spread(images.pixels)
        told = replace(told, mean=mean, std=std)
    return Training(_part(name, images, train), _part(name, images, held), told)


def rows_of(images: Images, *, validation: float, **how: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `images` to train on and to validate on. how: further arguments of `split`.

    The split is one of the whole part: an image that cannot be read leaves its place empty, and moves no other.
    """
    reading = images.reading
    if reading is None:
        return split(images.labels, validation=validation, **how)
    own = reading.validation if validation > 0 and how.get("split_file") is None else None
    sides = split(reading.labels, validation=validation, own=own, **how)
    row = np.full(len(reading.labels), -1, dtype=np.int64)
    row[images.index] = np.arange(len(images))
    train, held = (found[found >= 0] for found in (row[side] for side in sides))
    for name, side, found in (("train", sides[0], train), ("validate", sides[1], held)):
        if len(side) and not len(found):
            raise AutokdError(f"none of the {len(side)} images to {name} on can be read", fix="mend them, or take them out")
    return train, held


def _part(name: str, images: Images, rows: np.ndarray) -> Images:
    """images.take(rows). Pixels that come from a file of decoded ones go to a file again, which every process of the
    machine maps: a copy in each would be the largest thing that a second trial adds."""
    file = images.pixels.base
    while isinstance(file, np.ndarray) and not isinstance(file, np.memmap):
        file = file.base
    if not isinstance(file, np.memmap) or file.filename is None or len(rows) * images.pixels[0].nbytes < _SHARED:
        return images.take(rows)
    made_of = {"from": stamp([Path(file.filename)]), "rows": blake2b(rows.astype("<i8").data, digest_size=16).hexdigest()}

    def make(path: Path) -> dict[str, Any]:
        part = images.pixels[rows]
        np.save(path, part)
        return {"shape": list(part.shape)}

    pixels, _ = remembered(f"{name}-part", made_of, make)
    return Images(pixels, images.labels[rows], images.classes, images.index[rows])


def _spread(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    counts = np.stack(
        [np.bincount(pixels[:, channel].reshape(-1), minlength=256) for channel in range(pixels.shape[1])]
    )
    grey, shares = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)  # [256], [C, 256]
    mean = shares @ grey
    std = np.sqrt((shares * (grey - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1 / 255).tolist())
