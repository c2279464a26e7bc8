"""Images from outside the data set a student was made on: all of a folder or a table, its classes matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.cache import remembered, stamp
from autokd.data.columns import Columns, encode
from autokd.data.decode import EXTENSIONS, decode_into
from autokd.data.images import Images
from autokd.data.sets.folder import _walk
from autokd.data.sets.table import _ENDINGS
from autokd.errors import AutokdError, did_you_mean
from autokd.machine import expanded

__all__ = ["image_files", "open_outside"]


def open_outside(
    path: str | Path,
    classes: Sequence[str],
    *,
    channels: int,
    size: int | None,
    fit: str = "crop",
    label: str = "label",
    image: str | None = None,
) -> Images:
    """Every image of a folder per class, or of a Parquet or Arrow table (or a folder of such files), as `classes` count them.

    Nothing is split off. A class of `classes` may be missing there; one that `classes` does not have is a fault. channels: 1
    reads grey levels, 3 colours. size, fit: as in `decode`. label, image: columns of a table. Raises AutokdError, naming the
    file, for what cannot be read or matched.
    """
    place = expanded(path)
    if channels not in (1, 3):
        raise AutokdError(f"images of files have 1 or 3 channels, not {channels}", where=str(place))
    how: dict[str, Any] = {"size": size, "fit": fit, "colour": "grey" if channels == 1 else "rgb"}
    if not place.exists():
        raise AutokdError(
            "there is no such folder or table", where=str(place), fix="a folder of images per class, or a .parquet file"
        )
    tables = sorted(one for one in place.iterdir() if one.suffix in _ENDINGS) if place.is_dir() else [place]
    return _table(tables, tuple(classes), label, image, how) if tables else _folder(place, tuple(classes), how)


def image_files(words: Sequence[str | Path]) -> list[Path]:
    """The image files meant: a file as it is, a folder as all images in it and below, in the order of their names."""
    found: list[Path] = []
    for word in words:
        place = expanded(word)
        if place.is_dir():
            inside = sorted(
                one for one in place.rglob("*") if one.suffix.lower() in EXTENSIONS and not one.name.startswith(".")
            )
            if not inside:
                raise AutokdError("no images in this folder", where=str(place), fix=f"known: {' '.join(EXTENSIONS)}")
            found += inside
        else:
            found.append(place)
    return found


def _folder(place: Path, classes: tuple[str, ...], how: dict[str, Any]) -> Images:
    found = _walk(place)
    labels = _matched(found.labels, found.classes, classes, place)
    where = [(str(path), path) for path in found.paths]
    pixels, _ = remembered(
        "outside-folder", {"files": stamp(found.paths), **how}, lambda file: decode_into(file, where, len(where), **how)
    )
    return Images(pixels, labels, classes, np.arange(len(labels), dtype=np.int64))


def _table(paths: list[Path], classes: tuple[str, ...], label: str, image: str | None, how: dict[str, Any]) -> Images:
    columns = Columns(paths)
    column = columns.image_column(image)
    names = columns.class_names(columns.require(label, "labels"))
    values = columns.values(label)
    if not values:
        raise AutokdError("it holds no rows", where=str(paths[0]))
    found, told, _ = encode(values, names, str(paths[0]))
    labels = _matched(found, told, classes, paths[0])
    files: set[Path] = set()

    def images():
        for where, encoded in columns.images(column):
            if isinstance(encoded, Path):
                files.add(encoded)
            yield where, encoded

    pixels, _ = remembered(
        "outside-table",
        {"files": stamp(paths), "image": column, **how},
        lambda file: decode_into(file, images(), len(labels), **how),
        lambda: sorted(files),
    )
    return Images(pixels, labels, classes, np.arange(len(labels), dtype=np.int64))


def _matched(labels: np.ndarray, told: tuple[str, ...], classes: tuple[str, ...], place: Path) -> np.ndarray:
    """Positions in `told` become positions in `classes`, by name."""
    used = [told[number] for number in np.unique(labels)]
    strangers = [name for name in used if name not in classes]
    if strangers:
        more = f" (and {len(strangers) - 1} more of {len(used)})" if len(strangers) > 1 else ""
        shown = ", ".join(classes[:12]) + (f", … ({len(classes)} in all)" if len(classes) > 12 else "")
        raise AutokdError(
            f"the student does not know the class {strangers[0]!r}{more}{did_you_mean(strangers[0], classes)}",
            where=str(place),
            fix=f"classes are matched by name; it knows: {shown}",
        )
    position = np.array([classes.index(name) if name in classes else -1 for name in told], dtype=np.int64)
    return position[labels]
