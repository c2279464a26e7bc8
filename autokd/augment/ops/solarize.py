"""Invert the bright levels only."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.levels import per_image

__all__ = ["solarize"]
LIMITS = {"solarize": (0, 256)}
NEUTRAL = {"solarize": 256}


def solarize(images: Tensor, magnitude: Tensor) -> Tensor:
    """Level v becomes 255 - v where v is at least `magnitude`, a level from 0 to 256 that need not be whole.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape. In uint8 throughout, since comparing uint8 is twenty times
    as slow: with t the first inverted level, min(max(v, t - 1) - (t - 1), 1) is 1 where v is inverted, and its negative is 255.
    Source: PIL.ImageOps.solarize.
    """
    first = magnitude.ceil()
    below = per_image((first - 1).clamp(0, 255), images.device, torch.uint8)
    bright = torch.maximum(images, below).sub_(below).clamp_(max=1).neg_()
    if bool((first <= 0).any()):
        bright |= per_image((first <= 0) * 255, images.device, torch.uint8)
    return images.bitwise_xor_(bright)
