"""Any classification set of torchvision, by the name of its class."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autokd.data.cache import remembered
from autokd.data.decode import Encoded, decode_first, decode_into
from autokd.data.decoded import assemble, key_of, known, looking
from autokd.data.images import Images
from autokd.data.sets.folder import appearance, looks
from autokd.errors import AutokdError, did_you_mean
from autokd.files import locked
from autokd.machine import expanded
from autokd.rooms import Count, Natural

__all__ = ["torchvision"]

DOWNLOAD = True
SOURCE = "torchvision.datasets"
EXAMPLE = "data: {name: torchvision, options: {dataset: SVHN}}"

_PARTS = {
    "train": ("train", "trainval"),
    "test": ("test", "val", "valid"),
}  # words of their `split`, the first known counts


def torchvision(
    part: str,
    *,
    dataset: str,
    root: str = "data",
    size: Count | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    colour: Literal["rgb", "grey"] = "rgb",
    black: float | None = None,
    white: float | None = None,
    padding: Natural | None = None,
    flip: bool = True,
    geometry: Literal["auto", "crop", "resized_crop"] = "auto",
    download: bool = True,
) -> Images:
    """SVHN, STL10, Food101, GTSRB and the like: a class of torchvision.datasets with a training and a test part.

    part: train or test. Once decoded, it is known by name, root and settings, and torchvision is not asked again while its
    files are as they were.

    dataset: the name of the class in torchvision.datasets
    root: the folder below which torchvision looks for its files
    size: every image becomes size x size, by Pillow's bicubic; null: images are of one size already
    fit: to bring an image to `size`, scale its shorter side and keep the middle (crop), or scale both sides (stretch)
    colour: read three colours, or grey levels alone
    black: the value of 16-bit, 32-bit and float images that is black; null: 0
    white: the value of such images that is white, as 4095 for 12 bits; null: 65535 of 16 bits, 1 of floats
    padding: pixels of zeros around an image before its random crop; null: an eighth of the size
    flip: whether images are mirrored in training
    geometry: the plain view is a crop after padding, or a resized_crop of changing scale; auto: the latter from 96 pixels on
    download: whether it may be downloaded where it is not there

    Raises AutokdError where there is no such class, it has no such parts, or it cannot be had.

    Source: https://docs.pytorch.org/vision/stable/datasets.html
    """
    how = looking(colour, size, fit, black, white)

    files: list[Path] = []

    def make(path: Path) -> dict[str, Any]:
        found = _open(dataset, part, root, download)
        files.extend(_files(found, expanded(root)))
        labels: list[int] = []
        facts = decode_into(path, _images(found, f"{dataset} {part}", labels), len(found), **how)
        return {**facts, "labels": labels, "classes": _classes(found, labels), "named": _named(found)}

    pixels, facts = remembered(f"{dataset}-{part}", key_of(_made_of(root), how), make, lambda: files, outlives=True)
    classes = facts["classes"]
    if part == "test" and not facts["named"]:  # numbers: the training part says how many there are, where it has more
        training = known(f"{dataset}-train", _made_of(root), how) or {}
        classes = max(classes, training.get("classes", []), key=len)
    labels = np.asarray(facts["labels"], dtype=np.int64)
    return assemble(pixels, facts, labels, tuple(classes), lambda row: f"{dataset} {part}: row {row}")


def describe(*, dataset: str, root: str = "data", download: bool = True, **look: Any) -> dict[str, Any]:
    how = looks(look)
    told = known(f"{dataset}-train", _made_of(root), how)
    if told is not None:
        shape, classes = tuple(told["shape"][1:]), told["classes"]
        return {"classes": len(classes), "train_images": told["shape"][0], **appearance(shape, told, **look)}
    found = _open(dataset, "train", root, download)
    labels: list[int] = []
    shape = decode_first(_images(found, f"{dataset} train", labels), **how).shape
    if not _named(found):
        labels.clear()
        for _ in _images(found, f"{dataset} train", labels):
            pass
    return {"classes": len(_classes(found, labels)), "train_images": len(found), **appearance(shape, {}, **look)}


def _images(found: Any, name: str, labels: list[int]) -> Iterator[Encoded]:
    """The images, one after another; their labels are put into `labels`, -1 where an image cannot be had and says none."""
    for row in range(len(found)):
        try:
            image, label = found[row]
        except Exception as fault:  # whatever its own reader raises
            image, label = AutokdError(f"the image cannot be read: {fault}", where=f"{name}: row {row}"), -1
        labels.append(int(label))
        yield f"{name}: row {row}", image


def _made_of(root: str) -> dict[str, Any]:
    return {"root": str(expanded(root).absolute())}


def _named(found: Any) -> bool:
    return bool(getattr(found, "classes", None))


def _files(found: Any, root: Path) -> list[Path]:
    """Below the files and folders that the opened set names as its own; where it names none, the files in root itself."""
    named = [getattr(found, word, None) for word in dir(type(found)) if "folder" in word or "dir" in word]
    places = []
    for value in [*vars(found).values(), *named]:
        place = root / value if isinstance(value, (str, Path)) and str(value) not in ("", ".") else None
        if place is not None and place.exists() and root.absolute() in place.absolute().parents:
            places.append(place)
    if not places:
        return sorted(one for one in root.iterdir() if one.is_file() and not one.name.startswith("."))
    inside = {one for place in places for one in (place.rglob("*") if place.is_dir() else [place])}
    return sorted(one for one in inside if one.is_file())


def _classes(found: Any, labels: list[int]) -> list[str]:
    if _named(found):
        return [str(name) for name in found.classes]
    return [str(number) for number in range(max(labels, default=-1) + 1)]


def _open(dataset: str, part: str, root: str, download: bool) -> Any:
    try:
        from torchvision import datasets
    except ImportError:
        raise AutokdError("the set `torchvision` needs torchvision", fix="pip install torchvision") from None
    kind = getattr(datasets, dataset, None)
    if dataset not in datasets.__all__ or kind is None:
        raise AutokdError(f"torchvision has no data set {dataset!r}{did_you_mean(dataset, datasets.__all__)}")
    known = inspect.signature(kind).parameters
    more = {"download": download} if "download" in known else {}
    if "train" in known:
        tries: list[dict[str, Any]] = [{"train": part == "train"}]
    elif "split" in known:
        tries = [{"split": word} for word in _PARTS[part]]
    else:
        raise AutokdError(
            f"torchvision's {dataset} has no training and test part", fix="use the set `folder` or `table`"
        )
    place = expanded(root)
    fault: Exception | None = None
    for words in tries:
        try:
            with locked(place / f".{dataset}.lock"):
                return kind(str(place), **words, **more)
        except ValueError as told:  # it knows other words for its parts
            fault = fault or told
        except (OSError, RuntimeError, ImportError) as told:  # no network, a broken file, a package it needs
            raise AutokdError(f"torchvision's {dataset} could not be had: {told}", where=str(place)) from None
    raise AutokdError(f"torchvision's {dataset} has no {part} part: {fault}", where=str(place))
