"""Move the levels away from, or towards, the image's mean."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.levels import blend, luminance, per_image

__all__ = ["contrast"]
LIMITS = {"contrast": (-1, 1)}
NEUTRAL = {"contrast": 0}


def contrast(images: Tensor, magnitude: Tensor) -> Tensor:
    """Multiply every level's distance from the mean luminance (rounded to a whole level) by 1 + magnitude.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.ImageEnhance.Contrast.
    """
    values = images.float()
    grey = luminance(values).flatten(1)  # [n, HW]
    exact = torch.float32 if grey.shape[1] <= 2**16 else torch.float64  # sums of whole levels below 2^24 are exact
    mean = (grey.sum(dim=1, dtype=exact).double() / grey.shape[1] + 0.5).floor_()
    return blend(values, per_image(mean, images.device), per_image(1 + magnitude, images.device))
