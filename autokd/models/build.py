"""A network by name."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from autokd.errors import AutokdError
from autokd.models import foreign
from autokd.models.zoo import Resolved, names, resolve  # noqa: F401 - offered from here as well
from autokd.rooms import load


@dataclass(frozen=True)
class Blueprint:
    """What a network was built from: `build` leaves it as `autokd_blueprint`, `save_weights` writes it down.

    fused: it was fused for inference (autokd.models.fuse).
    """

    model: str
    classes: int
    channels: int
    size: int | tuple[int, int]
    options: str = "{}"  # JSON
    fused: bool = False


def build(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    size: int | tuple[int, int] = 32,
    options: dict[str, Any] | None = None,
    weights: str | None = None,
    seed: int | None = None,
) -> nn.Module:
    """The network called `name` for `classes` classes and images of `size` pixels a side, or of (height, width).

    `seed` makes its first weights reproducible and leaves torch's own generators where they were. `weights` names
    published weights of a torchvision or timm network. Under `torch.device("meta")` nothing is allocated. With a seed,
    weights are drawn on the CPU and then moved, so that they are the same on every device. Raises AutokdError for
    whatever cannot be built.
    """
    found = resolve(name, options)
    for word, value in (("classes", classes), ("channels", channels), *(("size", side) for side in sides(size))):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise AutokdError(f"{found.name}: {word} must be a whole number from 1 on, not {value!r}")
    device = torch.get_default_device()
    if seed is None:
        model = _make(found, classes, channels, size, dict(options or {}), weights)
    else:
        with torch.random.fork_rng(devices=[]), torch.device("meta" if device.type == "meta" else "cpu"):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also move the generators of every GPU
            model = _make(found, classes, channels, size, dict(options or {}), weights)
        model = model if device.type in ("meta", "cpu") else model.to(device)
    blueprint = Blueprint(found.name, classes, channels, size, foreign.as_json(options))
    model.autokd_blueprint = blueprint  # type: ignore[assignment]
    return model


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the images."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _materialised(name: str, model: nn.Module, channels: int, size: int | tuple[int, int]) -> nn.Module:
    """Initialise lazy layers with one image of zeros."""
    if not _lazy(model):
        return model
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, channels, *sides(size)))
    except Exception as fault:
        height, width = sides(size)
        said = " ".join(str(fault).split())[:300]
        raise AutokdError(
            f"the lazy layers of {name} cannot be initialised with an image of {channels}x{height}x{width}: "
            f"{type(fault).__name__}: {said}",
            fix="use all of them in the forward pass, or give their shapes",
        ) from fault
    if left := _lazy(model):
        raise AutokdError(f"{left[0]} of {name} is lazy and not used in the forward pass", fix="remove its layer")
    return model.train(training)


def _lazy(model: nn.Module) -> list[str]:
    return [name for name, value in chain(model.named_parameters(), model.named_buffers()) if is_lazy(value)]


def _make(
    found: Resolved,
    classes: int,
    channels: int,
    size: int | tuple[int, int],
    options: dict[str, Any],
    weights: str | None,
) -> nn.Module:
    if found.entry is None:
        model = foreign.make(found, classes=classes, channels=channels, size=size, options=options, weights=weights)
        return _materialised(found.name, model, channels, size)
    if weights:
        raise AutokdError(
            f"{found.name} has no published weights called {weights!r}",
            fix="only torchvision: and timm: networks have them; give a checkpoint file instead",
        )
    smallest = found.entry.facts["SMALLEST"]
    height, width = sides(size)
    if min(height, width) < smallest:
        raise AutokdError(
            f"{found.name} needs images of at least {smallest}x{smallest} pixels, not {height}x{width}",
            fix="choose another network, or resize the images",
        )
    return load(found.entry)(classes, channels, **found.arguments, **options)
