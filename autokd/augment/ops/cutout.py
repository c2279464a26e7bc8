"""Cover a square with grey."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.windows import GREY

__all__ = ["cutout"]
LIMITS = {"cutout": (0, 1)}
NEUTRAL = {"cutout": 0}


def cutout(images: Tensor, magnitude: Tensor, place: Tensor) -> Tensor:
    """Cover a square whose side is `magnitude` of the shorter side, centred at `place`; what overhangs the edge is cut off.

    images: [n, C, H, W] uint8. magnitude: [n]. place: [n, 2] in [0, 1), (y, x). Returns [n, C, H, W] uint8.
    Source: "Improved Regularization of Convolutional Neural Networks with Cutout", arXiv:1708.04552; grey instead of zero.
    """
    height, width = images.shape[-2:]
    side = (magnitude * min(height, width)).round().long()  # [n]
    start = (place * torch.tensor([height, width])).floor().long() - (side // 2)[:, None]  # [n, 2]
    y, x = torch.arange(height), torch.arange(width)
    upright = (y >= start[:, :1]) & (y < start[:, :1] + side[:, None])  # [n, H]
    across = (x >= start[:, 1:]) & (x < start[:, 1:] + side[:, None])  # [n, W]
    covered = (upright[:, None, :, None] & across[:, None, None, :]).to(images.device)
    return images.masked_fill(covered, GREY)
