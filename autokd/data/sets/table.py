"""A Parquet or Arrow table with a column of images and a column of labels."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autokd.data.cache import remembered, seen, stamp
from autokd.data.columns import Columns, encode
from autokd.data.decode import decode, decode_into
from autokd.data.images import Images
from autokd.data.sets.folder import appearance
from autokd.data.splits import cut, words
from autokd.errors import AutokdError
from autokd.machine import expanded
from autokd.rooms import Count, Fraction, Natural

__all__ = ["table"]

SOURCE = "your own table"

_ENDINGS = (".parquet", ".arrow", ".feather", ".ipc")


def table(
    part: str,
    *,
    root: str = "data",
    image: str | None = None,
    label: str = "label",
    train_file: str | None = None,
    test_file: str | None = None,
    size: Count | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    colour: Literal["rgb", "grey"] = "rgb",
    test: Fraction = 0.2,
    test_seed: Natural = 0,
    padding: Natural | None = None,
    flip: bool = True,
    geometry: Literal["auto", "crop", "resized_crop"] = "auto",
) -> Images:
    """Your own images in a Parquet, Arrow IPC or Feather table, one row an image. part: train or test.

    root: the file itself, or a folder with train.parquet (.arrow, .feather; or shards train-*.parquet) and test.parquet, or with
    the files named by train_file and test_file. Without a test file, a stratified share `test` of the rows is the test part,
    chosen by `test_seed`.
    image: a column of encoded bytes, of paths (from the table's own folder), or struct{bytes, path}; found by itself where only
    one can be it. label: a column of words or whole numbers; the classes are the distinct values, sorted, or the names in
    Hugging Face metadata. Images must be of one size, or `size` is given: then all become size x size by Pillow's bicubic,
    the shorter side scaled and the middle kept (fit `crop`) or both sides scaled (`stretch`). padding: of the random crop
    (an eighth of the size where not given). geometry `auto` is resized_crop from 96 pixels on.
    Raises AutokdError naming the file, column or row that is missing or cannot be read.

    Source: the image feature of Hugging Face data sets, struct{bytes, path}.
    """
    found = _find(root, image, label, train_file, test_file, test, test_seed, part)
    files: set[Path] = set()

    def images():
        for where, encoded in found.columns.images(found.image, found.rows):
            if isinstance(encoded, Path):
                files.add(encoded)
            yield where, encoded

    pixels, _ = remembered(
        f"table-{part}",
        _made_of(found, size, fit, colour),
        lambda path: decode_into(path, images(), len(found.labels), size=size, fit=fit, colour=colour),
        lambda: sorted(files),
    )
    return Images(pixels, found.labels, found.classes, np.arange(len(pixels), dtype=np.int64))


def describe(
    *,
    root: str = "data",
    image: str | None = None,
    label: str = "label",
    train_file: str | None = None,
    test_file: str | None = None,
    size: int | None = None,
    fit: str = "crop",
    colour: str = "rgb",
    test: float = 0.2,
    test_seed: int = 0,
    **look: Any,
) -> dict[str, Any]:
    found = _find(root, image, label, train_file, test_file, test, test_seed, "train")
    known = seen("table-train", _made_of(found, size, fit, colour)) or {}
    if known:
        shape = tuple(known["shape"][1:])
    else:
        where, encoded = found.columns.first(found.image)
        shape = decode(encoded, where=where, size=size, fit=fit, colour=colour).shape
    return {
        "classes": len(found.classes),
        "train_images": len(found.labels),
        **appearance(shape, known, **look),
    }


@dataclass(frozen=True)
class _Found:
    columns: Columns
    image: str
    rows: np.ndarray | None  # ascending; None: all
    labels: np.ndarray  # int64, of those rows
    classes: tuple[str, ...]


def _made_of(found: _Found, size: int | None, fit: str, colour: str) -> dict[str, Any]:
    rows = None if found.rows is None else blake2b(found.rows.astype("<i8").data, digest_size=16).hexdigest()
    return {
        "files": stamp(found.columns.paths),
        "image": found.image,
        "rows": rows,
        "size": size,
        "fit": fit,
        "colour": colour,
    }


def _find(
    root: str,
    image: str | None,
    label: str,
    train_file: str | None,
    test_file: str | None,
    test: float,
    test_seed: int,
    part: str,
) -> _Found:
    place = expanded(root)
    if place.is_dir():
        train_paths, test_paths = _part(place, "train", train_file), _part(place, "test", test_file)
    else:
        train_paths, test_paths = [place], [place.parent / test_file] if test_file else []
    if not train_paths:
        fix = "name it with the option `train_file`, or let `root` be the file"
        raise AutokdError(f"no train{{{','.join(_ENDINGS)}}} in it", where=str(place), fix=fix)
    columns = Columns(train_paths)
    column = columns.image_column(image)
    names = columns.class_names(columns.require(label, "labels"))
    labels, classes, known = encode(columns.values(label), names, str(train_paths[0]))
    if test_paths and part == "train":
        return _Found(columns, column, None, labels, classes)
    if test_paths:
        held = Columns(test_paths)
        values = held.values(held.require(label, "labels"))
        labels, classes, _ = encode(values, classes if names else None, str(test_paths[0]), known)
        return _Found(held, held.image_column(image), None, labels, classes)
    chosen = cut(labels, words(len(labels), test_seed), test)
    rows = np.flatnonzero(chosen if part == "test" else ~chosen)
    if not len(rows):
        raise AutokdError(
            f"no image is left for the {part} part (a share of {test:g} of {len(chosen)} rows is for the test)",
            where=str(train_paths[0]),
            fix="change `test`, or name a `test_file`",
        )
    return _Found(columns, column, rows, labels[rows], classes)


def _part(place: Path, part: str, named: str | None) -> list[Path]:
    if named is not None:
        return [place / named]
    for ending in _ENDINGS:
        if (place / f"{part}{ending}").is_file():
            return [place / f"{part}{ending}"]
        shards = sorted(place.glob(f"{part}-*{ending}"))
        if shards:
            return shards
    return []
