"""A Parquet or Arrow table with a column of images and a column of labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autokd.data.cache import stamp
from autokd.data.columns import Columns, encode
from autokd.data.decode import Encoded, decode_first
from autokd.data.decoded import images_of, known, looking
from autokd.data.images import Images
from autokd.data.sets.folder import SPLITS, appearance, looks
from autokd.data.splits import cut, words
from autokd.data.walk import OUTSIDE, Tally
from autokd.errors import AutokdError
from autokd.machine import expanded
from autokd.rooms import Count, Fraction, Natural

__all__ = ["table"]

SOURCE = "your own table"
EXAMPLE = "data: {name: table, root: path/to/flowers.parquet, options: {label: species, size: 64}}"

_ENDINGS = (".parquet", ".arrow", ".feather", ".ipc")


def table(
    part: str,
    *,
    root: str = "data",
    image: str | None = None,
    label: str = "label",
    train_file: str | None = None,
    validation_file: str | None = None,
    join_validation: bool = False,
    test_file: str | None = None,
    size: Count | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    colour: Literal["rgb", "grey"] = "rgb",
    black: float | None = None,
    white: float | None = None,
    test: Fraction = 0.2,
    test_seed: Natural = 0,
    padding: Natural | None = None,
    flip: bool = True,
    geometry: Literal["auto", "crop", "resized_crop"] = "auto",
) -> Images:
    """Your own images in a Parquet, Arrow IPC or Feather table, one row an image. part: train or test.

    A folder of tables has train.parquet (.arrow, .feather; or shards train-*.parquet), and may have validation and test files.
    Without a test file a share of the rows is the test part.

    root: the file itself, or the folder of the files of the parts
    image: the column of encoded bytes, of paths (from the table's own folder), or of struct{bytes, path}; null: the likely one
    label: the column of words or whole numbers; the classes are its values, sorted, or the names in Hugging Face metadata
    train_file: the file of the training part; null: train or training, in any case
    validation_file: the file of the validation split; null: val, valid, validation or dev, in any case
    join_validation: its images are training images instead, and `data.validation` is cut from all of them
    test_file: the file of the test part; null: test or testing, in any case
    size: every image becomes size x size, by Pillow's bicubic; null: images are of one size already
    fit: to bring an image to `size`, scale its shorter side and keep the middle (crop), or scale both sides (stretch)
    colour: read three colours, or grey levels alone
    black: the value of 16-bit, 32-bit and float images that is black; null: 0
    white: the value of such images that is white, as 4095 for 12 bits; null: 65535 of 16 bits, 1 of floats
    test: the share of the rows that is the test part where no file is, stratified
    test_seed: chooses them
    padding: pixels of zeros around an image before its random crop; null: an eighth of the size
    flip: whether images are mirrored in training
    geometry: the plain view is a crop after padding, or a resized_crop of changing scale; auto: the latter from 96 pixels on

    Raises AutokdError naming the file, column or row that is missing or cannot be read.

    Source: the image feature of Hugging Face data sets, struct{bytes, path}.
    """
    files = _files(root, train_file, validation_file, test_file)
    found = _find(files, image, label, test, test_seed, join_validation, part)
    beside: set[Path] = set()

    def images() -> Iterator[Encoded]:
        for where, encoded in found.columns.images(found.image, found.rows):
            if isinstance(encoded, Path):
                beside.add(encoded)
            yield where, encoded

    return images_of(
        f"table-{part}",
        _made_of(found),
        looking(colour, size, fit, black, white),
        images,
        found.labels,
        found.classes,
        lambda row: found.columns.where(row if found.rows is None else int(found.rows[row])),
        files=lambda: sorted(beside),
        validation=found.validation,
        passed_over=files.tally.told() if part == "train" else (),
    )


def describe(
    *,
    root: str = "data",
    image: str | None = None,
    label: str = "label",
    train_file: str | None = None,
    validation_file: str | None = None,
    join_validation: bool = False,
    test_file: str | None = None,
    test: float = 0.2,
    test_seed: int = 0,
    **look: Any,
) -> dict[str, Any]:
    files = _files(root, train_file, validation_file, test_file)
    found = _find(files, image, label, test, test_seed, join_validation, "train")
    how = looks(look)
    told = known("table-train", _made_of(found), how) or {}
    if told:
        shape = tuple(told["shape"][1:])
    else:
        shape = decode_first(found.columns.images(found.image, batch=1), **how).shape
    return {
        "classes": len(found.classes),
        "train_images": len(found.labels) - len(told.get("faulty", ())),
        "validation_images": None if found.validation is None else int(found.validation.sum()),
        **appearance(shape, told, **look),
    }


@dataclass(frozen=True)
class _Files:
    """The tables of each part, and what else lies beside them."""

    place: Path
    train: list[Path]
    validation: list[Path]
    test: list[Path]
    tally: Tally


@dataclass(frozen=True)
class _Found:
    columns: Columns
    image: str
    rows: np.ndarray | None  # ascending; None: all
    labels: np.ndarray  # int64, of those rows
    classes: tuple[str, ...]
    validation: np.ndarray | None = None  # bool, of those rows


def _made_of(found: _Found) -> dict[str, Any]:
    rows = None if found.rows is None else blake2b(found.rows.astype("<i8").data, digest_size=16).hexdigest()
    return {"files": stamp(found.columns.paths), "image": found.image, "rows": rows}


def _files(root: str, train: str | None, validation: str | None, test: str | None) -> _Files:
    place = expanded(root)
    named = {"train": train, "validation": validation, "test": test}
    if not place.is_dir():
        beside = {kind: [place.parent / name] if name else [] for kind, name in named.items()}
        return _Files(place, [place], beside["validation"], beside["test"], Tally())
    tables = [one for one in sorted(place.iterdir()) if one.suffix.lower() in _ENDINGS and not one.name.startswith(".")]
    told = {kind: [place / name] for kind, name in named.items() if name is not None}
    free = [one for one in tables if [one] not in told.values()]
    found = {kind: told.get(kind) or _likely(place, free, kind) for kind in named}
    if not found["train"]:
        fix = "name it with the option `train_file`, or let `root` be the file"
        raise AutokdError(f"no train{{{','.join(_ENDINGS)}}} in it", where=str(place), fix=fix)
    tally = Tally()
    for one in tables:
        if not any(one in some for some in found.values()):
            tally.add(OUTSIDE, one)
    return _Files(place, found["train"], found["validation"], found["test"], tally)


def _likely(place: Path, tables: list[Path], kind: str) -> list[Path]:
    """The table that is called as a part is, or its shards; AutokdError where several are."""
    whole = [[one] for one in tables if one.stem.lower() in SPLITS[kind]]
    shards: dict[str, list[Path]] = {}
    for one in tables:
        stem, dash, _ = one.stem.lower().partition("-")
        if dash and stem in SPLITS[kind]:
            shards.setdefault(stem + one.suffix.lower(), []).append(one)
    likely = whole or list(shards.values())
    if len(likely) > 1:
        names = " and ".join(repr(some[0].name) for some in likely)
        fix = f"name one with options.{kind}_file, and move the other elsewhere"
        raise AutokdError(f"{names} both look like the {kind} part", where=str(place), fix=fix)
    return likely[0] if likely else []


def _find(
    files: _Files, image: str | None, label: str, test: float, test_seed: int, join: bool, part: str
) -> _Found:
    columns = Columns(files.train)
    column = columns.image_column(image)
    names = columns.class_names(columns.require(label, "labels"))
    labels, classes, known = encode(columns.values(label), names, str(files.train[0]))

    def others(paths: list[Path]) -> tuple[Columns, np.ndarray]:
        held = Columns(paths)
        values = held.values(held.require(label, "labels"))
        return held, encode(values, classes if names else None, str(paths[0]), known)[0]

    if files.test and part == "test":
        held, labels = others(files.test)
        return _Found(held, held.image_column(image), None, labels, classes)
    rows = None
    if not files.test:
        chosen = cut(labels, words(len(labels), test_seed), test)
        rows = np.flatnonzero(chosen if part == "test" else ~chosen)
        if not len(rows):
            raise AutokdError(
                f"no image is left for the {part} part (a share of {test:g} of {len(chosen)} rows is for the test)",
                where=str(files.train[0]),
                fix="change `test`, or name a `test_file`",
            )
        labels = labels[rows]
    if part == "test" or not files.validation:
        return _Found(columns, column, rows, labels, classes)
    held, more = others(files.validation)
    if rows is not None:
        rows = np.concatenate([rows, np.arange(columns.rows, columns.rows + held.rows)])
    mask = None if join else np.arange(len(labels) + len(more)) >= len(labels)
    return _Found(Columns([*files.train, *files.validation]), column, rows, np.concatenate([labels, more]), classes, mask)
