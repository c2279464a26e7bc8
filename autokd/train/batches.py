"""Which images a step reads, and how its views divide into plain and augmented.

A step is a function of its number alone: no iterator has to be saved, and a resumed training reads what an uninterrupted
one would have read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autokd.augment.counter import STEP, mixed
from autokd.errors import AutokdError

__all__ = ["Batch", "Division", "Order", "divide", "mixed_seed", "turned"]


@dataclass(frozen=True)
class Division:
    """Views of one step: `plain` + `augmented` = the batch, drawn from `images` different images."""

    plain: int
    augmented: int

    @property
    def images(self) -> int:
        return max(self.plain, self.augmented)


def divide(batch: int, ratio: float) -> Division:
    """A batch of `batch` views of which the share `ratio` is augmented.

    At 1/2 every image stands in the batch twice, plain and augmented: the paper's setting. Below, some images have no
    augmented view in this step; above, some have no plain one.
    """
    augmented = round(batch * ratio)
    return Division(batch - augmented, augmented)


@dataclass(frozen=True)
class Batch:
    """Rows (int64 [G], positions in the training split) and the number of the pass each belongs to (int64 [G])."""

    rows: Tensor
    passes: Tensor


def turned(pixels: Tensor, turns: int) -> Tensor:
    """All views upright, then all turned by one right angle, and so on: [B, C, S, S] -> [turns * B, C, S, S].

    Raises AutokdError where images are not square.
    """
    if turns == 1:
        return pixels
    if pixels.shape[-1] != pixels.shape[-2]:
        raise AutokdError(
            f"images of {pixels.shape[-2]} x {pixels.shape[-1]} pixels cannot be turned by right angles in one batch",
            fix="choose a method without rotations",
        )
    return torch.cat([pixels.rot90(turn, (2, 3)) for turn in range(turns)])


def mixed_seed(*numbers: int) -> int:
    """63 well-mixed bits from a few whole numbers (the finaliser of SplitMix64)."""
    state = STEP
    for number in numbers:
        state = mixed((state ^ number) + STEP)
    return state >> 1


class Order:
    """Pass after pass over all images, each in an order of its own; step s reads the next `images` of that stream."""

    def __init__(self, total: int, images: int, seed: int) -> None:
        self.total, self.images, self.seed = total, images, seed
        self._orders: dict[int, Tensor] = {}

    def step(self, number: int) -> Batch:
        position = torch.arange(number * self.images, (number + 1) * self.images)
        passes = position // self.total
        offset = position % self.total
        rows = torch.empty_like(position)
        for one in passes.unique().tolist():
            inside = passes == one
            rows[inside] = self._order(one)[offset[inside]]
        return Batch(rows, passes)

    def _order(self, number: int) -> Tensor:
        if number not in self._orders:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, number))
            if len(self._orders) > 3:
                self._orders.pop(min(self._orders))
            self._orders[number] = torch.randperm(self.total, generator=generator)
        return self._orders[number]
