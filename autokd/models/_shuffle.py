"""The channel shuffle that both ShuffleNets share."""

from __future__ import annotations

from torch import Tensor


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of `groups` equal parts out in turn: (a1 a2 b1 b2) -> (a1 b1 a2 b2). [B, C, H, W] stays."""
    if groups == 1:
        return x
    batch, channels, height, width = x.shape
    return (
        x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(batch, channels, height, width)
    )
