"""A moving average of the weights, kept beside the student and scored in its place."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average(nn.Module):
    """`module` is a copy of the student that follows its parameters and buffers (running statistics too).

    The decay rises to `decay`, so that the first steps do not linger: min(decay, (1 + n) / (10 + n)) at update n. The first
    update copies. torch's AveragedModel does the same; for a student of ten thousand weights its walk over the modules takes
    a tenth of the step, and on a GPU it waits for the device.
    """

    n_averaged: Tensor

    def __init__(self, student: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = deepcopy(student)
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long))
        self.decay = decay
        means, values = _tensors(self.module), _tensors(student)
        self._moving = _chosen(means, values, floating=True)
        self._counts = _chosen(means, values, floating=False)  # batches seen, and the like

    @torch.no_grad()
    def update(self) -> None:
        """Take in the student as it is now."""
        count = int(self.n_averaged)
        share = 1.0 if count == 0 else 1 - min(self.decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(*self._moving, share)  # type: ignore[attr-defined]
        if self._counts[0]:
            torch._foreach_copy_(*self._counts)
        self.n_averaged += 1


def _tensors(module: nn.Module) -> list[Tensor]:
    return [one.detach() for one in chain(module.parameters(), module.buffers())]


def _chosen(means: list[Tensor], values: list[Tensor], *, floating: bool) -> tuple[list[Tensor], list[Tensor]]:
    pairs = [pair for pair in zip(means, values, strict=True) if pair[0].is_floating_point() == floating]
    return [mean for mean, _ in pairs], [value for _, value in pairs]
