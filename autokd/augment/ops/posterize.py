"""Keep the highest bits of each level."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.levels import per_image

__all__ = ["posterize"]
LIMITS = {"posterize": (1, 8)}
NEUTRAL = {"posterize": 8}
WHOLE = ("posterize",)


def posterize(images: Tensor, magnitude: Tensor) -> Tensor:
    """Keep `magnitude` bits (1 to 8; 8 changes nothing) of each level.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.ImageOps.posterize.
    """
    return images.bitwise_and_(per_image(256 - 2 ** (8 - magnitude), images.device, torch.uint8))
