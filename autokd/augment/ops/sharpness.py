"""Sharpen or blur."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from autokd.augment.levels import blend, in_blocks, per_image

__all__ = ["sharpness"]
LIMITS = {"sharpness": (-1, 1)}
NEUTRAL = {"sharpness": 0}


def sharpness(images: Tensor, magnitude: Tensor) -> Tensor:
    """Multiply every pixel's distance from the smoothed image by 1 + magnitude; the outermost pixels stay.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.ImageEnhance.Sharpness, whose smoothing is (3x3 sum + 4 x centre) / 13, rounded; edge pixels are copied.
    """
    if min(images.shape[-2:]) < 3:
        return images
    return in_blocks(_sharpened, images, magnitude)


def _sharpened(images: Tensor, magnitude: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    # the whole batch as one run of numbers: sums of neighbours are sums of shifted runs, wrong only at the outermost pixels
    flat = images.view(-1)
    levels = flat.to(torch.int16)
    pairs = levels[:-2] + levels[1:-1]
    across = pairs.add_(levels[2:])  # [k - 2], centred on pixel 1
    square = (across[: -2 * width] + across[width:-width]).add_(across[2 * width :])  # centred on pixel width + 1
    square.add_(levels[width + 1 : -width - 1], alpha=4)
    smooth = torch.empty(flat.shape, device=images.device)
    smooth[: width + 1], smooth[-width - 1 :] = 0, 0
    smooth[width + 1 : -width - 1].copy_(square).mul_(1 / 13).round_()  # whole numbers over 13 are never halfway
    base = smooth.view_as(images)
    sharp = blend(images.float(), base, per_image(1 + magnitude, images.device))
    edge = _edge(height, width, images.device)
    return sharp.bitwise_and_(~edge).bitwise_or_(images.bitwise_and_(edge))


@lru_cache(maxsize=16)
def _edge(height: int, width: int, device: torch.device) -> Tensor:
    """255 on the outermost pixels, 0 inside: [H, W] uint8."""
    edge = torch.full((height, width), 255, dtype=torch.uint8)
    edge[1:-1, 1:-1] = 0
    return edge.to(device)
