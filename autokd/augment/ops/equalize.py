"""Spread each channel's levels evenly."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.levels import cut, histogram, look_up

__all__ = ["equalize"]


def equalize(images: Tensor) -> Tensor:
    """Each level becomes its rank among the channel's pixels; a channel too uniform to rank stays.

    images: [n, C, H, W] uint8. Returns the same shape. Whole numbers below 2^24 divide in float32 to the right whole part.
    Source: PIL.ImageOps.equalize.
    """
    levels = images.flatten(2).long()
    counts = histogram(levels)  # [n, C, 256]
    upto = counts.cumsum(dim=2)
    brightest = images.flatten(2).amax(dim=2, keepdim=True).long()
    step = ((levels.shape[2] - counts.gather(2, brightest)) / 255).floor_()  # [n, C, 1]
    half = (step / 2).floor_()
    table = upto.sub_(counts).add_(half).div_(step.clamp(min=1)).clamp_(max=255)
    same = torch.arange(256, dtype=torch.uint8, device=images.device)
    return look_up(images, torch.where(step > 0, cut(table), same), levels)
