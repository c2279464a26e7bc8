"""What was drawn, done: on a whole batch, each op on the rows it fires for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from autokd.augment import known
from autokd.augment.draw import Draws
from autokd.augment.windows import put

__all__ = ["apply", "apply_"]


def apply(images: Tensor, draws: Draws, attention: Tensor | None = None) -> Tensor:
    """images: [B, C, H, W] uint8; they stay as they are. Returns the augmented images, same shape.

    attention: [B, H, W] uint8, where a teacher looks, for the ops that read it.
    """
    return apply_(images.clone(memory_format=torch.contiguous_format), draws, attention)


def apply_(images: Tensor, draws: Draws, attention: Tensor | None = None) -> Tensor:
    """The same in place: images [B, C, H, W] uint8, contiguous, are overwritten and returned."""
    fired, magnitude = draws.fired.numpy(), draws.magnitude.numpy()
    active = np.ascontiguousarray((fired & (magnitude != _still(draws.ops))).T) if len(draws.ops) else fired.T
    for column, op in enumerate(draws.ops):
        where = active[column].nonzero()[0]
        if not len(where) or op == "identity":
            continue
        rows = torch.from_numpy(where).to(images.device)
        reads, function = _reader(op)
        inputs = {}
        if "magnitude" in reads:
            inputs["magnitude"] = torch.from_numpy(magnitude[where, column])
        if "place" in reads:
            inputs["place"] = draws.place[torch.from_numpy(where), column]
        if "attention" in reads:
            if attention is None:
                raise ValueError(f"{op} needs the teacher's attention")
            inputs["attention"] = attention.index_select(0, rows)
        put(images, rows, function(images=images.index_select(0, rows), **inputs))
    return images


@lru_cache(maxsize=256)
def _still(ops: tuple[str, ...]) -> np.ndarray:
    """The magnitude at which each op changes nothing; not a number where it has none."""
    return np.array([np.nan if (still := known.neutral(op)) is None else still for op in ops], dtype=np.float64)


@lru_cache(maxsize=None)
def _reader(op: str) -> tuple[tuple[str, ...], Callable[..., Tensor]]:
    return known.entry(op).reads, known.function(op)
