"""Images from outside the data set a student was made on: all of a folder or a table, its classes matched by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.cache import stamp
from autokd.data.columns import Columns, encode
from autokd.data.decode import Encoded, extensions
from autokd.data.decoded import images_of, looking
from autokd.data.images import Images
from autokd.data.reading import FaultyImages, PassedOver
from autokd.data.sets.folder import classes_in
from autokd.data.sets.table import _ENDINGS
from autokd.data.walk import Tally, walk
from autokd.errors import AutokdError, did_you_mean, readable
from autokd.machine import expanded

__all__ = ["image_files", "open_outside"]


def open_outside(
    path: str | Path,
    classes: Sequence[str],
    *,
    channels: int,
    size: int | None,
    fit: str = "crop",
    black: float | None = None,
    white: float | None = None,
    label: str = "label",
    image: str | None = None,
    faulty: str = "stop",
) -> Images:
    """Every image of a folder per class, or of a Parquet or Arrow table (or a folder of such files), as `classes` count them.

    Nothing is split off. A class of `classes` may be missing there; one that `classes` does not have is a fault. channels: 1
    reads grey levels, 3 colours. size, fit, black, white: as in `decode`. label, image: columns of a table. faulty: an image that
    cannot be read stops (all are named), or is left out (`skip`). Raises AutokdError for what cannot be read or matched.
    """
    place = expanded(path)
    if channels not in (1, 3):
        raise AutokdError(f"images of files have 1 or 3 channels, not {channels}", where=str(place))
    how = looking("grey" if channels == 1 else "rgb", size, fit, black, white)
    if not place.exists():
        raise AutokdError(
            "there is no such folder or table", where=str(place), fix="a folder of images per class, or a .parquet file"
        )
    tables = sorted(one for one in place.iterdir() if one.suffix in _ENDINGS) if place.is_dir() else [place]
    found = _table(tables, tuple(classes), label, image, how) if tables else _folder(place, tuple(classes), how)
    if faulty != "skip" and found.reading is not None and found.reading.faulty:
        raise FaultyImages(found.reading.faulty, len(found.reading.labels))
    return found


def image_files(words: Sequence[str | Path]) -> tuple[list[Path], tuple[PassedOver, ...]]:
    """The image files meant, and what was passed over: a file as it is, a folder as all images in it and below."""
    found: list[Path] = []
    tally = Tally()
    for word in words:
        place = expanded(word)
        if place.is_dir():
            (inside,) = walk([place], tally)
            if not inside:
                told = [f"{one.count} {one.why}" for one in tally.told()]
                fix = f"passed over: {', '.join(told)}; " if told else ""
                fix += f"images end in {' '.join(sorted(extensions()))}"
                raise AutokdError("no images in this folder", where=str(place), fix=fix)
            found += inside
        else:
            found.append(place)
    return found, tally.told()


def _folder(place: Path, classes: tuple[str, ...], how: dict[str, Any]) -> Images:
    found = classes_in(place, Tally())
    labels = _matched(found.labels, found.classes, classes, place)
    return images_of(
        "outside-folder",
        {"files": stamp(found.paths)},
        how,
        lambda: ((str(path), path) for path in found.paths),
        labels,
        classes,
        lambda row: readable(str(found.paths[row])),
        passed_over=found.tally.told(),
    )


def _table(paths: list[Path], classes: tuple[str, ...], label: str, image: str | None, how: dict[str, Any]) -> Images:
    columns = Columns(paths)
    column = columns.image_column(image)
    names = columns.class_names(columns.require(label, "labels"))
    values = columns.values(label)
    if not values:
        raise AutokdError("it holds no rows", where=str(paths[0]))
    found, told, _ = encode(values, names, str(paths[0]))
    labels = _matched(found, told, classes, paths[0])
    beside: set[Path] = set()

    def images() -> Iterator[Encoded]:
        for where, encoded in columns.images(column):
            if isinstance(encoded, Path):
                beside.add(encoded)
            yield where, encoded

    made_of = {"files": stamp(paths), "image": column}
    return images_of(
        "outside-table", made_of, how, images, labels, classes, columns.where, files=lambda: sorted(beside)
    )


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
