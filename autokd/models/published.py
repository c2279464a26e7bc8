"""Weights that torchvision and timm publish: by which names, for which classes, and on which images they were trained.

Nothing is downloaded here; the libraries tell all of it without a network.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from autokd.errors import AutokdError, did_you_mean
from autokd.models.zoo import Resolved, resolve


@dataclass(frozen=True)
class Published:
    """`weights`: as the library is asked for them. `source`: where it fetches them. classes, channels: what the network then
    answers and reads. size: pixels a side of the images they were trained on. mean, std: their normalisation; of pixels from 0
    to 1. Where the library does not say: 0 and ()."""

    weights: Any
    source: str
    classes: int
    channels: int = 3
    size: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def published(model: str, weights: str) -> Published:
    """What is known of the weights called `weights` of the network called `model`, as a space file names both.

    `default` (or DEFAULT) is what the library prefers. Raises AutokdError where there are none of that name.
    """
    found = resolve(model)
    if found.kind == "torchvision":
        return _of_torchvision(found, weights)
    if found.kind == "timm":
        return _of_timm(found, weights)
    raise AutokdError(
        f"{found.name} has no published weights called {weights!r}",
        fix="only torchvision: and timm: networks have them; give a checkpoint file instead",
    )


def fitting(model: str, weights: str, *, classes: int, channels: int) -> Published:
    """The same. Raises AutokdError also where they are for another number of classes or channels than the data has."""
    found = published(model, weights)
    fix = "fine-tune the network first and give its checkpoint: FILE"
    if found.classes and found.classes != classes:
        what = f"{model}: the weights {weights} know {found.classes} classes, the data has {classes}"
        raise AutokdError(what, fix=fix)
    if found.channels != channels:
        what = f"{model}: the weights {weights} read {found.channels} channels, the data has {channels}"
        raise AutokdError(what, fix=fix)
    return found


def library(name: str, found: Resolved) -> Any:
    """The package that a network is named after. Raises AutokdError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise AutokdError(
            f"{found.name} needs {package}, which is not installed", fix=f"pip install {package}"
        ) from error


def _of_torchvision(found: Resolved, weights: str) -> Published:
    models = library("torchvision.models", found)
    try:
        offers = models.get_model_weights(found.attribute).__members__
    except ValueError:
        raise unknown(found, "torchvision", models.list_models()) from None
    word = weights.rpartition(".")[2]  # the enumeration's name may stand before a dot
    word = word.upper() if word.lower() == "default" else word
    if word not in offers:
        raise _none_such(found, weights, list(offers))
    entry = offers[word]
    how = entry.transforms()
    crop = getattr(how, "crop_size", None) or [0]
    return Published(
        weights=entry,
        source=entry.url,
        classes=len(entry.meta.get("categories") or ()),
        size=int(crop[0]),
        mean=tuple(getattr(how, "mean", ())),
        std=tuple(getattr(how, "std", ())),
    )


def _of_timm(found: Resolved, weights: str) -> Published:
    timm = library("timm", found)
    network = found.attribute.partition(".")[0]
    if not timm.is_model(network):
        raise unknown(found, "timm", timm.list_models())
    known = {
        name.partition(".")[2] or "default": facts
        for name, facts in timm.models.get_arch_pretrained_cfgs(network).items()
        if facts.has_weights
    }
    tag = found.attribute.partition(".")[2] if weights.lower() == "default" else weights.removeprefix(f"{network}.")
    tag = tag or next(iter(known), "")
    if tag not in known:
        raise _none_such(found, weights, list(known))
    facts = known[tag]
    return Published(
        weights=f"{network}.{tag}" if tag != "default" else network,
        source=f"https://huggingface.co/{facts.hf_hub_id}" if facts.hf_hub_id else str(facts.url or facts.file),
        classes=int(facts.num_classes or 0),
        channels=int(facts.input_size[0]),
        size=int(facts.input_size[-1]),
        mean=tuple(facts.mean),
        std=tuple(facts.std),
    )


def unknown(found: Resolved, package: str, known: list[str]) -> AutokdError:
    """A network that a library does not have."""
    lists = "torchvision.models.list_models()" if package == "torchvision" else "timm.list_models()"
    told = f"{package} has no network {found.attribute!r}{did_you_mean(found.attribute.partition('.')[0], known)}"
    return AutokdError(told, fix=f"{lists} lists them")


def _none_such(found: Resolved, weights: str, offers: list[str]) -> AutokdError:
    return AutokdError(
        f"{found.name} has no published weights {weights!r}{did_you_mean(weights, offers)}",
        fix=f"there are: {', '.join(offers) or 'none; give a checkpoint: FILE, or train: {…}'}",
    )
