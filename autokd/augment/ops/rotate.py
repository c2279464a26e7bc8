"""Turn an image about its centre; what enters at the corners is grey."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from autokd.augment.windows import GREY

__all__ = ["rotate"]
LIMITS = {"rotate": (-180, 180)}
NEUTRAL = {"rotate": 0}


def rotate(images: Tensor, magnitude: Tensor) -> Tensor:
    """Turn by `magnitude` degrees, counter-clockwise, each output pixel the nearest input pixel.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.Image.rotate (nearest, the default) of an RGBA copy laid over grey, which is what AutoAugment's port and JDA do.
    """
    n, channels, height, width = images.shape
    angles, which = magnitude.unique(return_inverse=True)  # a policy knows few angles
    maps = [_map(float(angle), height, width, images.device) for angle in angles]
    source, inside, outside = (torch.stack(part) for part in zip(*maps, strict=True))  # [k, HW] each
    if len(maps) > 1:
        which = which.to(images.device)
        source, inside, outside = (part.index_select(0, which) for part in (source, inside, outside))
    turned = images.flatten(2).gather(2, source[:, None].expand(n, channels, -1))
    return turned.bitwise_and_(inside[:, None]).bitwise_or_(outside[:, None]).view_as(images)


@lru_cache(maxsize=256)
def _map(degrees: float, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Where each output pixel reads, [HW] int64; 255 where that is inside the image and grey where not, [HW] uint8.

    In 16.16 fixed point, as PIL computes it: a nearest neighbour is decided by the last bit.
    """
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    across, down = width / 2, height / 2
    start_x = cos * -across + sin * -down + across + (cos + sin) * 0.5
    start_y = -sin * -across + cos * -down + down + (cos - sin) * 0.5
    y, x = torch.arange(height)[:, None], torch.arange(width)
    column = (_fixed(start_x) + _fixed(cos) * x + _fixed(sin) * y) >> 16  # [H, W]
    row = (_fixed(start_y) - _fixed(sin) * x + _fixed(cos) * y) >> 16
    inside = ((column >= 0) & (column < width) & (row >= 0) & (row < height)).mul(255).to(torch.uint8).view(-1)
    source = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return source.view(-1).to(device), inside.to(device), (~inside & GREY).to(device)


def _fixed(value: float) -> int:
    return math.floor(value * 65536 + 0.5)
