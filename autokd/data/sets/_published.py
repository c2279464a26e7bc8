"""What the published sets share: where their files may lie, reading them from Parquet, and fetching them."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.cache import stamp
from autokd.data.columns import Columns, encode
from autokd.data.decoded import images_of, looking
from autokd.data.images import Images
from autokd.errors import AutokdError, refused
from autokd.files import locked
from autokd.machine import expanded

__all__ = ["cifar_images", "fetch", "parquet_images", "parquet_paths", "read_pickle"]


def parquet_paths(name: str, part: str, root: str, file: str | None) -> list[Path]:
    """The Parquet or Arrow files of a part below root/<name>/ or root, or none.

    `file` names one; otherwise <part>.parquet, or shards <part>-*.parquet in order. AutokdError where the named file is missing.
    """
    places = [expanded(root) / name, expanded(root)]
    if file is not None:
        for place in places:
            if (place / file).is_file():
                return [place / file]
        raise AutokdError(
            f"{name} has no file {file!r}",
            where=str(places[1]),
            fix=f"looked for {' and '.join(str(p / file) for p in places)}",
        )
    for place in places:
        if (place / f"{part}.parquet").is_file():
            return [place / f"{part}.parquet"]
        shards = sorted(place.glob(f"{part}-*.parquet"))
        if shards:
            return shards
    return []


def parquet_images(
    name: str,
    part: str,
    paths: list[Path],
    *,
    label: tuple[str, ...],
    classes: tuple[str, ...],
    shape: tuple[int, int, int],
    image: str | None = None,
) -> Images:
    """Images of one part from Parquet, decoded once. label: column names, the first that is there counts.

    Raises AutokdError where the pixels are not of `shape` (C, H, W) or the labels do not fit `classes`.
    """
    table = Columns(paths)
    column = table.image_column(image)
    named = table.require(next((word for word in label if word in table.names), label[0]), "labels")
    told = table.class_names(named)
    if told is not None and len(told) != len(classes):
        raise AutokdError(f"column {named!r} has {len(told)} classes, {name} has {len(classes)}", where=str(paths[0]))
    labels, names, _ = encode(table.values(named), told or classes, str(paths[0]))
    if len(names) != len(classes):
        raise AutokdError(f"column {named!r} has {len(names)} classes, {name} has {len(classes)}", where=str(paths[0]))
    how = looking("grey" if shape[0] == 1 else "rgb")
    made_of = {"files": stamp(paths), "image": column}
    images = images_of(f"{name}-{part}", made_of, how, lambda: table.images(column), labels, names, table.where)
    if images.pixels.shape[1:] != shape:
        raise AutokdError(
            f"its images are {list(images.pixels.shape[1:])}, those of {name} {list(shape)}", where=str(paths[0])
        )
    return images


def fetch(kind: str, name: str, root: str, looked: str, download: bool) -> None:
    """Have torchvision's `kind` download and check its files below `root`. AutokdError where it cannot, or may not."""
    place = expanded(root)
    fix = f"looked for {looked}; put one of them there, or name the folder that has it with `root`"
    if not download:
        raise AutokdError(f"{name} is not there, and downloading is off", where=str(place), fix=fix)
    try:
        import torchvision
    except ImportError:
        raise AutokdError(
            f"{name} is not there, and downloading needs torchvision", where=str(place), fix=fix
        ) from None
    patience = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(60)  # torchvision waits for ever otherwise
        with locked(place / f".{name}.lock"):
            getattr(torchvision.datasets, kind)(str(place), train=True, download=True)
    except (OSError, RuntimeError) as fault:  # no network, a broken file, no room, nowhere to write
        raise AutokdError(
            f"{name} is not there and could not be downloaded: {fault}", where=str(place), fix=fix
        ) from None
    finally:
        socket.setdefaulttimeout(patience)


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
    ("_codecs", "encode"): ("_codecs", "encode"),
}


class _Arrays(pickle.Unpickler):
    """Lists, words and arrays only: a pickle can otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(*_ALLOWED[module, name])


def read_pickle(path: Path) -> dict[str, Any]:
    """A published CIFAR pickle. AutokdError where it is missing, broken, or holds more than arrays, words and lists."""
    try:
        with path.open("rb") as file:
            told = _Arrays(file, encoding="latin1").load()
    except FileNotFoundError:
        raise AutokdError("this file of the set is missing", where=str(path)) from None
    except Exception as fault:  # a broken pickle raises almost anything
        if told := refused(fault):
            raise AutokdError(f"it cannot be read: {told}", where=str(path)) from None
        raise AutokdError(f"not a CIFAR pickle: {fault}", where=str(path), fix="download the set again") from None
    if not isinstance(told, dict):
        raise AutokdError("not a CIFAR pickle", where=str(path), fix="download the set again")
    return told


def cifar_images(paths: list[Path], label: str, classes: tuple[str, ...]) -> Images:
    """Images of CIFAR pickles, one after another. label: the key of their labels."""
    pixels, labels = [], []
    for path in paths:
        told = read_pickle(path)
        data, found = told.get("data"), told.get(label)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
            raise AutokdError("it holds no 32 x 32 colour images", where=str(path), fix="download the set again")
        if not isinstance(found, list) or len(found) != len(data):
            raise AutokdError(f"it has no {label} of its images", where=str(path), fix="download the set again")
        if found and not 0 <= min(found) <= max(found) < len(classes):
            raise AutokdError(
                f"its {label} go beyond {len(classes)} classes", where=str(path), fix="download the set again"
            )
        pixels.append(data.reshape(-1, 3, 32, 32))
        labels.append(np.asarray(found, dtype=np.int64))
    together = np.concatenate(labels)
    return Images(np.concatenate(pixels), together, classes, np.arange(len(together), dtype=np.int64))
