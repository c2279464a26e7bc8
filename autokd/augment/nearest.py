"""Images mapped by a matrix, each output pixel the nearest input pixel, in the fixed point that Pillow computes in."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["Matrix", "nearest"]

# (a, b, c, d, e, f) of an image's height and width: what is drawn at (x, y) is read at (a x + b y + c, d x + e y + f)
Matrix = Callable[[float, int, int], tuple[float, float, float, float, float, float]]


def nearest(images: Tensor, magnitude: Tensor, matrix: Matrix, *, fill: int) -> Tensor:
    """Each image read through matrix(magnitude, height, width); what is read outside is `fill`.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.Image.transform, AFFINE, NEAREST, for images of less than 32,768 pixels a side.
    """
    n, channels, height, width = images.shape
    values, which = magnitude.unique(return_inverse=True)  # a policy knows few magnitudes
    maps = [_map(matrix, float(value), height, width, fill, images.device) for value in values]
    source, inside, outside = (torch.stack(part) for part in zip(*maps, strict=True))  # [k, HW] each
    if len(maps) > 1:
        which = which.to(images.device)
        source, inside, outside = (part.index_select(0, which) for part in (source, inside, outside))
    drawn = images.flatten(2).gather(2, source[:, None].expand(n, channels, -1))
    return drawn.bitwise_and_(inside[:, None]).bitwise_or_(outside[:, None]).view_as(images)


@lru_cache(maxsize=512)
def _map(
    matrix: Matrix, magnitude: float, height: int, width: int, fill: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each output pixel reads, [HW] int64; 255 where that is inside the image and `fill` where not, [HW] uint8.

    In 16.16 fixed point, as Pillow computes it: a nearest neighbour is decided by the last bit.
    """
    a, b, c, d, e, f = matrix(magnitude, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)
    column = (_fixed(c + a * 0.5 + b * 0.5) + _fixed(a) * x + _fixed(b) * y) >> 16  # [H, W]
    row = (_fixed(f + d * 0.5 + e * 0.5) + _fixed(d) * x + _fixed(e) * y) >> 16
    inside = ((column >= 0) & (column < width) & (row >= 0) & (row < height)).mul(255).to(torch.uint8).view(-1)
    source = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return source.view(-1).to(device), inside.to(device), (~inside & fill).to(device)


def _fixed(value: float) -> int:
    return math.floor(value * 65536 + 0.5)
