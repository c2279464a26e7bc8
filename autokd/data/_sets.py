"""From a data set's name and options to its file's functions."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from autokd.data.images import Card, Images
from autokd.data.reading import FaultyImages, Reading
from autokd.errors import AutokdError, as_one, did_you_mean
from autokd.rooms import Entry, catalogue, complain, load

__all__ = ["admit", "card", "expected_card", "is_here", "open_part"]

_LITERALS = {
    "CLASSES": "classes",
    "CHANNELS": "channels",
    "MEAN": "mean",
    "STD": "std",
    "PADDING": "padding",
    "FLIP": "flip",
}


def open_part(
    name: str,
    part: str,
    root: str | None,
    options: Mapping[str, Any] | None,
    *,
    faulty: str = "stop",
    limit: float = 0.0,
) -> Images:
    """The training or the test part of a set. AutokdError where the name, an option or the data cannot be.

    faulty: what an image that cannot be read does: `stop` raises FaultyImages, naming all; `skip` leaves them out, up to a share
    `limit` of the part.
    """
    entry, settings = _settings(name, root, options)
    images: Images = load(entry)(part, **settings)
    if images.reading is not None:
        admit(images.reading, part, faulty, limit)
    if not len(images):
        raise AutokdError(f"the {part} part of {name} holds no images", where=str(settings.get("root", "")))
    return images


_FEW = 5  # faulty images that `skip` passes in any part: of a small one, any share is less than one image


def admit(reading: Reading, part: str, faulty: str, limit: float) -> None:
    """Raises FaultyImages where a part has images that cannot be read and `faulty` and `limit` do not let them pass."""
    count, rows = len(reading.faulty), len(reading.labels)
    if not count:
        return
    part = {"train": "training"}.get(part, part)
    if faulty != "skip":
        raise FaultyImages(reading.faulty, rows, part=part, fix="or leave them out with data.faulty: skip")
    if count > max(limit * rows, _FEW if limit else 0):
        fix = f"data.faulty_limit is {limit:g}, and they are {count / rows:.2g} of the part: mend them, or raise it"
        raise FaultyImages(reading.faulty, rows, part=part, fix=fix)


def is_here(name: str, part: str, root: str | None, options: Mapping[str, Any] | None) -> bool:
    """Whether a part of a set can be read without a download, as far as the set says so."""
    entry, settings = _settings(name, root, options)
    here = getattr(importlib.import_module(entry.module), "here", None)
    return True if here is None else bool(here(part, **settings))


def expected_card(name: str, root: str | None, options: Mapping[str, Any] | None) -> Card | None:
    """A set that is not here, as far as its settings tell; None where it is here, or they tell too little."""
    entry, settings = _settings(name, root, options)
    expected = getattr(importlib.import_module(entry.module), "expected", None)
    told = expected(**settings) if expected is not None else None
    return None if told is None else Card(name=name, source=entry.facts.get("SOURCE", entry.source), **told)


def card(name: str, root: str | None, options: Mapping[str, Any] | None) -> Card:
    """What is known of a set without decoding its images (all but one)."""
    entry, settings = _settings(name, root, options)
    told = {word: entry.facts[literal] for literal, word in _LITERALS.items() if literal in entry.facts}
    if "SIZE" in entry.facts:
        told["height"] = told["width"] = entry.facts["SIZE"]
    told |= {"train_images": entry.facts.get("TRAIN_IMAGES"), "geometry": entry.facts.get("GEOMETRY", "crop")}
    told |= {"source": entry.facts.get("SOURCE", entry.source)}
    more = getattr(importlib.import_module(entry.module), "describe", None)
    if more is not None:
        told |= more(**settings)
    if not {"classes", "channels", "height", "width"} <= set(told):  # a set that says nothing of itself has to be read
        images = load(entry)("train", **settings)
        _, channels, height, width = images.pixels.shape
        measured = {"classes": len(images.classes), "channels": channels, "height": height, "width": width}
        told = (
            measured
            | {"train_images": len(images)}
            | {word: value for word, value in told.items() if value is not None}
        )
    told = {"mean": (), "std": (), "padding": min(told["height"], told["width"]) // 8, "flip": True} | told
    return Card(name=name, **told)


def _settings(name: str, root: str | None, options: Mapping[str, Any] | None) -> tuple[Entry, dict[str, Any]]:
    sets = catalogue("data.sets")
    if name not in sets:
        raise AutokdError(f"there is no data set {name!r}", fix=f"known: {', '.join(sets)}{did_you_mean(name, sets)}")
    entry = sets[name]
    known = [setting.name for setting in entry.settings if setting.name != "root"]
    faults = []
    for word, value in (options or {}).items():
        setting = entry.setting(word)
        if setting is None or word == "root":
            told = f"options of {name}: {', '.join(known) or 'none'}{did_you_mean(word, known)}"
            faults.append(AutokdError(f"{name} has no option {word!r}", fix=told))
        elif fault := complain(setting, value):
            faults.append(AutokdError(f"{name}: {fault}"))
    for setting in entry.settings:
        if setting.required and setting.name not in (options or {}) and setting.name != "root":
            faults.append(AutokdError(f"{name} needs the option {setting.name!r}"))
    if faults:
        raise as_one(faults)
    whole = {setting.name for setting in entry.settings if setting.kind == "int"}
    settings = {
        word: int(value) if word in whole and value is not None else value for word, value in (options or {}).items()
    }
    return entry, settings if root is None else {**settings, "root": str(root)}
