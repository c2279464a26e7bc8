"""What a feature method reads of a network. Structural: this room stands beside `models`, whose `Features` has this shape."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Features(Protocol):
    """stages: maps [B, C, H, W] from the stem on. pooled: [B, D]. logits: [B, classes]. before_relu: as `stages`."""

    @property
    def stages(self) -> tuple[Tensor, ...]: ...

    @property
    def pooled(self) -> Tensor: ...

    @property
    def logits(self) -> Tensor: ...

    @property
    def before_relu(self) -> tuple[Tensor, ...]: ...


class Changed(NamedTuple):
    """Features that a method made of others."""

    stages: tuple[Tensor, ...]
    pooled: Tensor
    logits: Tensor
    before_relu: tuple[Tensor, ...]
