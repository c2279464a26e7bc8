"""Turn an image about its centre; what enters at the corners is grey, or black as torchvision has it."""

from __future__ import annotations

import math

from torch import Tensor

from autokd.augment.nearest import nearest
from autokd.augment.windows import GREY

__all__ = ["rotate", "rotate_black"]
LIMITS = {"rotate": (-180, 180), "rotate_black": (-180, 180)}
NEUTRAL = {"rotate": 0, "rotate_black": 0}


def rotate(images: Tensor, magnitude: Tensor) -> Tensor:
    """Turn by `magnitude` degrees, counter-clockwise, each output pixel the nearest input pixel.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.Image.rotate (nearest, the default) of an RGBA copy laid over grey, which is what AutoAugment's port and JDA do.
    """
    return nearest(images, magnitude, _turned, fill=GREY)


def rotate_black(images: Tensor, magnitude: Tensor) -> Tensor:
    """Turn by `magnitude` degrees, counter-clockwise, each output pixel the nearest input pixel; the corners are black.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: torchvision.transforms.functional.rotate of a PIL image, with its own interpolation and fill.
    """
    return nearest(images, magnitude, _turned, fill=0)


def _turned(degrees: float, height: int, width: int) -> tuple[float, float, float, float, float, float]:
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    across, down = width / 2, height / 2
    return cos, sin, cos * -across + sin * -down + across, -sin, cos, -sin * -across + cos * -down + down
