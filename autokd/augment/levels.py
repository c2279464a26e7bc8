"""Arithmetic on grey levels: look-up tables, luminance, and the step from float back to whole levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["blend", "cut", "histogram", "in_blocks", "look_up", "luminance", "per_image"]


def per_image(values: Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """[n] numbers as [n, 1, 1, 1] in `dtype` on the images' device."""
    return values.to(dtype).to(device)[:, None, None, None]


def in_blocks(op: Callable[[Tensor, Tensor], Tensor], images: Tensor, magnitude: Tensor) -> Tensor:
    """op(images, magnitude), on a CPU some at a time (64 of 32 x 32): its float32 copies then stay in a core's cache."""
    rows = max(1, 64 * 3072 // max(1, images[:1].numel()))
    if images.device.type != "cpu" or len(images) <= rows:
        return op(images, magnitude)
    return torch.cat([op(*part) for part in zip(images.split(rows), magnitude.split(rows), strict=True)])


def cut(values: Tensor) -> Tensor:
    """float32 levels from 0 to 255, cut to whole levels: the same shape in uint8.

    On a CPU by way of NumPy, whose conversion is five times as fast as torch 2.15's.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().astype(np.uint8))
    return values.to(torch.uint8)


def look_up(images: Tensor, tables: Tensor, levels: Tensor | None = None) -> Tensor:
    """Each level's entry in the table of its channel.

    images: [n, C, H, W] uint8. tables: [n, C, 256] uint8. levels: the images as int64 [n, C, HW], where they are at hand.
    """
    return tables.gather(2, images.flatten(2).long() if levels is None else levels).view_as(images)


def histogram(levels: Tensor) -> Tensor:
    """How often each level occurs in each channel: [n, C, HW] int64 to [n, C, 256] float32."""
    # a real tensor: an expanded one is half as fast; kept, since making it costs a tenth of the count
    ones = _ones(1 << (levels.numel() - 1).bit_length(), levels.device)[: levels.numel()].view(levels.shape)
    return torch.zeros(*levels.shape[:2], 256, device=levels.device).scatter_add_(2, levels, ones)


@lru_cache(maxsize=4)
def _ones(count: int, device: torch.device) -> Tensor:
    return torch.ones(count, device=device)


def luminance(values: Tensor) -> Tensor:
    """ITU-R 601 luminance in whole levels, from float32 whole levels; a grey image is its own.

    values: [n, C, H, W]. Returns [n, 1, H, W] float32. The weights are 16-bit whole numbers that sum to 65536, and every partial
    sum stays below 2^24, so float32 is exact in any order.
    Source: PIL's conversion of RGB to L.
    """
    if values.shape[1] != 3:
        return values[:, :1].clone()
    red, green, blue = values.unbind(dim=1)
    total = (red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471).add_(0x8000)
    return total.mul_(2.0**-16).floor_()[:, None]


def blend(values: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    """base + factor x (values - base), clipped and cut to whole levels; `values` [n, C, H, W] float32 is overwritten.

    Source: PIL.Image.blend, which rounds to float32 after each of the same three steps.
    """
    return cut(values.sub_(base).mul_(factor).add_(base).clamp_(0, 255))
