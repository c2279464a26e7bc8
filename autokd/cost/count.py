"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from autokd.errors import AutokdError
from autokd.models.build import build, sides
from autokd.models.fuse import fused, name_of

__all__ = ["Cost", "count", "count_module", "examine"]

Found = TypeVar("Found")


@dataclass(frozen=True)
class Cost:
    """params: learnable numbers. macs: multiply-accumulates of one image's forward pass."""

    params: int
    macs: int


def count(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    size: int | tuple[int, int] = 32,
    options: dict[str, Any] | None = None,
) -> Cost:
    """What the network called `name` costs for one image [channels, size, size], or [channels, *size].

    It is counted as it is deployed (autokd.models.fuse), which for some networks is less than what is trained.
    Counted are convolutions and matrix products (linear layers, attention), not normalisation, activation or pooling,
    as published tables do. Nothing is allocated: the network lies on the meta device. Own code that cannot run there is
    run once on the CPU. Answers are kept for the life of the process. Raises AutokdError where the network cannot be
    built or its output is not [1, classes].
    """
    size = sides(size)
    try:
        key = json.dumps(options or {}, sort_keys=True)
    except TypeError:  # an option that is no plain value
        return _count(name, classes, channels, size, options or {})
    return _count_once(name, classes, channels, size, key)


def examine(
    name: str,
    look: Callable[[nn.Module], Found],
    *,
    classes: int,
    channels: int = 3,
    size: int | tuple[int, int] = 32,
    options: dict[str, Any] | None = None,
) -> Found:
    """What `look` says of the network called `name`, built on the meta device, or where own code needs it on the CPU."""

    def attempt(device: str) -> Found:
        with torch.device(device):
            return look(build(name, classes=classes, channels=channels, size=size, options=options, seed=0))

    if ":" not in name:
        return attempt("meta")
    try:
        return attempt("meta")
    except Exception:  # own code may read values, which meta tensors do not have
        pass
    return attempt("cpu")


@lru_cache(maxsize=4096)
def _count_once(name: str, classes: int, channels: int, size: int | tuple[int, int], options: str) -> Cost:
    return _count(name, classes, channels, size, json.loads(options))


def _count(name: str, classes: int, channels: int, size: int | tuple[int, int], options: dict[str, Any]) -> Cost:
    def look(model: nn.Module) -> Cost:
        return count_module(fused(model), channels=channels, size=size, classes=classes)

    return examine(name, look, classes=classes, channels=channels, size=size, options=options)


def count_module(model: nn.Module, *, channels: int, size: int | tuple[int, int], classes: int | None = None) -> Cost:
    """The cost of a network that exists already, for one image; it is left in the mode it was in.

    With `classes` the shape of its answer is checked. Raises AutokdError where the forward pass fails.
    """
    some = next(chain(model.parameters(), model.buffers()), None)
    device = some.device if some is not None else torch.get_default_device()
    dtype = some.dtype if some is not None and some.is_floating_point() else torch.get_default_dtype()
    image = torch.zeros(1, channels, *sides(size), device=device, dtype=dtype)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    counter = FlopCounterMode(display=False)
    try:
        # With gradients on, attention takes the path whose products the counter sees rather than one fused operation.
        with torch.enable_grad(), counter:
            logits = model(image)
    except AutokdError:
        raise
    except Exception as error:
        height, width = sides(size)
        said = " ".join(str(error).split())[:300]
        raise AutokdError(
            f"{name_of(model)} cannot read an image of {channels}x{height}x{width}: {type(error).__name__}: {said}",
            fix="choose another network, other options, or resize the images",
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    if classes is not None and (not isinstance(logits, Tensor) or tuple(logits.shape) != (1, classes)):
        answer = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise AutokdError(
            f"{name_of(model)} answers one image with {answer}, not with [1, {classes}] logits",
            fix="its function gets the keyword argument `classes`, and its forward must return one tensor",
        )
    return Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)
