"""Spread each channel's levels evenly."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autokd.augment.levels import entries, histogram, places

__all__ = ["equalize"]


def equalize(images: Tensor) -> Tensor:
    """Each level becomes its rank among the channel's pixels; a channel too uniform to rank stays.

    images: [n, C, H, W] uint8. Returns the same shape. Whole numbers below 2^24 divide in float32 to the right whole part.
    Source: PIL.ImageOps.equalize.
    """
    planes = images.view(-1, images.shape[-2] * images.shape[-1])  # [n C, HW]
    place = places(planes)
    counts = histogram(place)  # [n C, 256]
    brightest = planes.amax(dim=1, keepdim=True).long()
    step = (planes.shape[1] - counts.gather(1, brightest)) // 255  # [n C, 1]
    rank = counts.cumsum(dim=1).int().float().add_(step // 2).div_(step.clamp(min=1)).clamp_(max=255).cpu().numpy()
    tables = np.zeros((len(planes), 256), dtype=np.uint8)
    tables[:, 1:] = rank[:, :-1]  # a level's rank counts the levels below it
    tables[(step == 0).view(-1).cpu().numpy()] = np.arange(256, dtype=np.uint8)
    return entries(torch.from_numpy(tables).to(images.device), place).view_as(images)
