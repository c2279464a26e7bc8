"""Make colours stronger or weaker."""

from __future__ import annotations

from torch import Tensor

from autokd.augment.levels import blend, in_blocks, luminance, per_image

__all__ = ["color"]
LIMITS = {"color": (-1, 1)}
NEUTRAL = {"color": 0}


def color(images: Tensor, magnitude: Tensor) -> Tensor:
    """Multiply every pixel's distance from its own luminance by 1 + magnitude. A grey image (C = 1) stays.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.ImageEnhance.Color.
    """
    if images.shape[1] != 3:
        return images
    return in_blocks(_coloured, images, magnitude)


def _coloured(images: Tensor, magnitude: Tensor) -> Tensor:
    values = images.float()
    return blend(values, luminance(values), per_image(1 + magnitude, images.device))
