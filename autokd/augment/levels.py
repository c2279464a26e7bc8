"""Arithmetic on grey levels: look-up tables, luminance, and the step from float back to whole levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["blend", "cut", "entries", "histogram", "in_blocks", "luminance", "per_image", "places"]


def per_image(values: Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """[n] numbers as [n, 1, 1, 1] in `dtype` on the images' device."""
    return values.to(dtype).to(device)[:, None, None, None]


def in_blocks(op: Callable[[Tensor, Tensor], Tensor], images: Tensor, magnitude: Tensor) -> Tensor:
    """op(images, magnitude), on a CPU some at a time (128 of 32 x 32), for a limit on its float32 copies."""
    rows = max(1, 128 * 3072 // max(1, images[:1].numel()))
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


def places(planes: Tensor) -> Tensor:
    """Where each pixel's level stands in a row of 256 entries a plane: [m, HW] uint8 to int32 [m, HW]."""
    first = torch.arange(0, len(planes) * 256, 256, dtype=torch.int32, device=planes.device)
    return planes.int().add_(first[:, None])


def entries(tables: Tensor, place: Tensor) -> Tensor:
    """Each pixel's entry in the table of its plane: tables [m, 256] uint8, place [m, HW] as `places` has it. Returns [m, HW]."""
    return tables.view(-1).index_select(0, place.view(-1)).view(place.shape)


def histogram(place: Tensor) -> Tensor:
    """How often each level occurs in each plane: [m, HW] as `places` has it, to [m, 256] int64."""
    return torch.bincount(place.view(-1), minlength=len(place) * 256).view(-1, 256)


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
