"""Any classification set of torchvision, by the name of its class."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autokd.data.cache import remembered, seen
from autokd.data.decode import decode, decode_into
from autokd.data.images import Images
from autokd.data.sets.folder import appearance
from autokd.errors import AutokdError, did_you_mean
from autokd.files import locked
from autokd.machine import expanded
from autokd.rooms import Count, Natural

__all__ = ["torchvision"]

DOWNLOAD = True
SOURCE = "torchvision.datasets"

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
    padding: Natural | None = None,
    flip: bool = True,
    geometry: Literal["auto", "crop", "resized_crop"] = "auto",
    download: bool = True,
) -> Images:
    """SVHN, STL10, Food101, GTSRB and the like: a class of torchvision.datasets with a training and a test part.

    part: train or test. dataset: the name of the class; it is opened below `root`, and downloads when `download` is true
    and it is not there. size, fit, colour, padding and geometry are those of the set `folder`. Once decoded, it is known by name,
    root and settings, and torchvision is not asked again.
    Raises AutokdError where there is no such class, it has no such parts, or it cannot be had.

    Source: https://docs.pytorch.org/vision/stable/datasets.html
    """

    def make(path: Path) -> dict[str, Any]:
        found = _open(dataset, part, root, download)
        labels: list[int] = []

        def images():
            for row in range(len(found)):
                image, label = found[row]
                labels.append(int(label))
                yield f"{dataset} {part}: row {row}", image

        facts = decode_into(path, images(), len(found), size=size, fit=fit, colour=colour)
        return {**facts, "labels": labels, "classes": _classes(found, labels)}

    pixels, facts = remembered(f"{dataset}-{part}", _made_of(root, size, fit, colour), make)
    labels = np.asarray(facts["labels"], dtype=np.int64)
    return Images(pixels, labels, tuple(facts["classes"]), np.arange(len(labels), dtype=np.int64))


def describe(
    *,
    dataset: str,
    root: str = "data",
    size: int | None = None,
    fit: str = "crop",
    colour: str = "rgb",
    download: bool = True,
    **look: Any,
) -> dict[str, Any]:
    known = seen(f"{dataset}-train", _made_of(root, size, fit, colour))
    if known is not None:
        shape, classes = tuple(known["shape"][1:]), known["classes"]
        return {"classes": len(classes), "train_images": known["shape"][0], **appearance(shape, known, **look)}
    found = _open(dataset, "train", root, download)
    told = getattr(found, "classes", None) or _classes(found, [int(found[row][1]) for row in range(len(found))])
    shape = decode(found[0][0], where=dataset, size=size, fit=fit, colour=colour).shape
    return {"classes": len(told), "train_images": len(found), **appearance(shape, {}, **look)}


def _made_of(root: str, size: int | None, fit: str, colour: str) -> dict[str, Any]:
    return {"root": str(expanded(root).absolute()), "size": size, "fit": fit, "colour": colour}


def _classes(found: Any, labels: list[int]) -> list[str]:
    named = getattr(found, "classes", None)
    return [str(name) for name in named] if named else [str(number) for number in range(max(labels) + 1)]


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
