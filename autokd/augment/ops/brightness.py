"""Make an image brighter or darker."""

from __future__ import annotations

from torch import Tensor

from autokd.augment.levels import cut, per_image

__all__ = ["brightness"]
LIMITS = {"brightness": (-1, 1)}
NEUTRAL = {"brightness": 0}


def brightness(images: Tensor, magnitude: Tensor) -> Tensor:
    """Multiply every level by 1 + magnitude; what leaves the range is clipped and the rest cut to whole levels.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.ImageEnhance.Brightness.
    """
    return cut(images.float().mul_(per_image(1 + magnitude, images.device)).clamp_(0, 255))
