"""What a network is besides its weights: what everything that is kept of it depends on.

A zoo's or a library's network is known by its name, its options, and the names, shapes and layers it is built of; one of a
person's own by its source files too, by the files that its options name, and by the values it starts with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b, file_digest
from typing import Any

import torch
from torch import nn

from autokd.machine import expanded
from autokd.models.features import inner
from autokd.models.sources import code
from autokd.models.zoo import resolve

_HOW = ("kernel_size", "stride", "padding", "dilation", "groups", "eps", "p", "num_heads", "normalized_shape", "num_groups",
        "negative_slope", "approximate", "output_size")  # fmt: skip


def identity(model: str, options: dict[str, Any], network: nn.Module) -> str:
    """32 hexadecimal digits of the network called `model`, built as `network`, whatever its weights and where its file lies."""
    found = resolve(model)
    own = found.kind == "own"
    told = [found.attribute if own else found.name, _contents(options) if own else options, code(model), _structure(network)]
    return blake2b(json.dumps(told, sort_keys=True, default=repr).encode(), digest_size=16).hexdigest()


def first_values(build: Callable[[], nn.Module]) -> str:
    """What a network starts with, coarsely enough to be the same on every machine: spread and mean of each tensor.

    build: makes it with one and the same seed. "" where two of them differ: then chance of its own decides.
    """
    one, other = (_sketch(build()) for _ in range(2))
    return one if one == other else ""


def _structure(network: nn.Module) -> list[Any]:
    network = inner(network)
    state = [[name, list(value.shape), str(value.dtype)] for name, value in network.state_dict().items()]
    layers = [[name, type(one).__name__, {word: _plain(one, word) for word in _HOW if hasattr(one, word)}]
              for name, one in network.named_modules()]  # fmt: skip
    return [state, layers]


def _plain(layer: nn.Module, word: str) -> Any:
    value = getattr(layer, word)
    return list(value) if isinstance(value, (tuple, list, torch.Size)) else value if _is_plain(value) else type(value).__name__


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _contents(options: dict[str, Any]) -> dict[str, Any]:
    """Options of one's own code, the content of a file in place of its name: what is read from it is part of the network."""
    found = dict(options)
    for word, value in options.items():
        try:
            if isinstance(value, str) and value and (path := expanded(value)).is_file():
                with open(path, "rb") as file:
                    found[word] = file_digest(file, "sha256").hexdigest()
        except OSError:
            continue
    return found


def _sketch(network: nn.Module) -> str:
    numbers = []
    for name, value in sorted(inner(network).state_dict().items()):
        if value.is_floating_point() and value.numel() and not value.is_meta:
            spread, mean = value.double().std(correction=0).item(), value.double().mean().item()
            numbers.append([name, f"{spread:.2e}", round(mean / (spread or 1.0), 2) + 0.0])
    return blake2b(json.dumps(numbers).encode(), digest_size=8).hexdigest()
