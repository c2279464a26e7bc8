"""A folder of images per class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autokd.data.cache import remembered, seen, stamp
from autokd.data.decode import EXTENSIONS, decode, decode_into
from autokd.data.images import Images
from autokd.data.splits import cut
from autokd.errors import AutokdError
from autokd.machine import expanded
from autokd.rooms import Count, Fraction, Natural

__all__ = ["folder"]

SOURCE = "your own images"


def folder(
    part: str,
    *,
    root: str = "data",
    classes: Count | None = None,
    size: Count | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    colour: Literal["rgb", "grey"] = "rgb",
    train_folder: str = "train",
    test_folder: str = "test",
    test: Fraction = 0.2,
    test_seed: Natural = 0,
    padding: Natural | None = None,
    flip: bool = True,
    geometry: Literal["auto", "crop", "resized_crop"] = "auto",
) -> Images:
    """Your own images, a folder per class: root/train/<class>/ and root/test/<class>/. part: train or test.

    Without root/test (or with root/<class>/ alone), a stratified share `test` of the files is the test part, chosen by
    `test_seed` and each file's name below its root, so that most files keep their part when others are added.
    Class names are the folders' names, in the order of their code points; folders within a class belong to it; names that
    begin with a dot and files that are no images (by extension) are passed over. Images must be of one size, or `size` is
    given: then all become size x size by Pillow's bicubic, the shorter side scaled and the middle kept (fit `crop`) or
    both sides scaled (`stretch`). padding: of the random crop (an eighth of the size where not given). geometry `auto` is
    resized_crop from 96 pixels on. classes: how many folders there are to be, so that a space can be checked where the images
    do not lie.
    Raises AutokdError naming the folder or file that is missing, empty, or cannot be read.

    Source: the layout of torchvision.datasets.ImageFolder.
    """
    found = _find(root, train_folder, test_folder, test, test_seed, part)
    _counted(found, classes, root)
    where = [(str(path), path) for path in found.paths]
    pixels, _ = remembered(
        f"folder-{part}",
        _made_of(found, size, fit, colour),
        lambda path: decode_into(path, where, len(where), size=size, fit=fit, colour=colour),
    )
    return Images(pixels, found.labels, found.classes, np.arange(len(pixels), dtype=np.int64))


def describe(
    *,
    root: str = "data",
    classes: int | None = None,
    size: int | None = None,
    fit: str = "crop",
    colour: str = "rgb",
    train_folder: str = "train",
    test_folder: str = "test",
    test: float = 0.2,
    test_seed: int = 0,
    **look: Any,
) -> dict[str, Any]:
    found = _find(root, train_folder, test_folder, test, test_seed, "train")
    _counted(found, classes, root)
    known = seen("folder-train", _made_of(found, size, fit, colour)) or {}
    if known:
        shape = tuple(known["shape"][1:])
    else:
        first = found.paths[0]
        shape = decode(first, where=str(first), size=size, fit=fit, colour=colour).shape
    return {
        "classes": len(found.classes),
        "train_images": len(found.paths),
        **appearance(shape, known, **look),
    }


def expected(
    *, root: str = "data", classes: int | None = None, size: int | None = None, colour: str = "rgb", **look: Any
) -> dict[str, Any] | None:
    """What the settings alone say of images that are not here; None where they are here, or that is too little."""
    if classes is None or size is None or expanded(root).is_dir():
        return None
    shape = (3 if colour == "rgb" else 1, size, size)
    return {"classes": classes, "train_images": None, **appearance(shape, {}, **look)}


def _counted(found: _Found, classes: int | None, root: str) -> None:
    if classes is not None and len(found.classes) != classes:
        raise AutokdError(
            f"there are {len(found.classes)} classes, and options.classes says {classes}",
            where=str(expanded(root)),
            fix="mend the one or the other",
        )


def appearance(
    shape: tuple[int, ...],
    known: dict[str, Any],
    *,
    padding: int | None = None,
    flip: bool = True,
    geometry: str = "auto",
    **_: Any,
) -> dict[str, Any]:
    """The part of a card that follows from images of `shape` [C, H, W] and the settings that say how to vary them."""
    side = min(shape[1:])
    return {
        "channels": shape[0],
        "height": shape[1],
        "width": shape[2],
        "mean": tuple(known.get("mean", ())),
        "std": tuple(known.get("std", ())),
        "padding": side // 8 if padding is None else padding,
        "flip": flip,
        "geometry": ("resized_crop" if side >= 96 else "crop") if geometry == "auto" else geometry,
    }


@dataclass(frozen=True)
class _Found:
    paths: list[Path]
    labels: np.ndarray  # int64 [N]
    classes: tuple[str, ...]


def _made_of(found: _Found, size: int | None, fit: str, colour: str) -> dict[str, Any]:
    return {"files": stamp(found.paths), "size": size, "fit": fit, "colour": colour}


def _find(root: str, train_folder: str, test_folder: str, test: float, test_seed: int, part: str) -> _Found:
    place = expanded(root)
    split = (place / train_folder).is_dir()
    base = place / train_folder if split else place
    everything = _walk(base)
    apart = split and (place / test_folder).is_dir()
    if apart and part == "train":
        return everything
    if apart:
        held = _walk(place / test_folder)
        strangers = [name for name in held.classes if name not in everything.classes]
        if strangers:
            raise AutokdError(f"no training image has the class {strangers[0]!r}", where=str(place / test_folder))
        position = np.array([everything.classes.index(name) for name in held.classes], dtype=np.int64)
        return _Found(held.paths, position[held.labels], everything.classes)
    keys = [
        blake2b(f"{test_seed}/{path.relative_to(base).as_posix()}".encode(), digest_size=8) for path in everything.paths
    ]
    chosen = cut(everything.labels, np.array([int.from_bytes(key.digest()) for key in keys], dtype=np.uint64), test)
    rows = np.flatnonzero(chosen if part == "test" else ~chosen)
    if not len(rows):
        raise AutokdError(
            f"no image is left for the {part} part (a share of {test:g} of {len(chosen)} images is for the test)",
            where=str(base),
            fix=f"change `test`, or put the test images into {place / test_folder}",
        )
    return _Found([everything.paths[row] for row in rows], everything.labels[rows], everything.classes)


def _walk(base: Path) -> _Found:
    if not base.is_dir():
        raise AutokdError("there is no such folder", where=str(base), fix="it should hold a folder of images per class")
    classes = tuple(
        sorted(entry.name for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))
    )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        here: list[Path] = []
        for top, folders, files in os.walk(base / name, followlinks=True):
            folders[:] = [word for word in folders if not word.startswith(".")]
            here += [
                Path(top, word) for word in files if word.lower().endswith(EXTENSIONS) and not word.startswith(".")
            ]
        if not here:
            raise AutokdError(
                f"the class {name!r} has no images", where=str(base / name), fix=f"known: {' '.join(EXTENSIONS)}"
            )
        here.sort(key=lambda path: path.relative_to(base).as_posix())
        paths += here
        labels += [label] * len(here)
    if not classes:
        raise AutokdError("it holds no folders", where=str(base), fix="it should hold a folder of images per class")
    return _Found(paths, np.asarray(labels, dtype=np.int64), classes)
