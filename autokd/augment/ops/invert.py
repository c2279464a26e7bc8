"""Turn dark into bright."""

from __future__ import annotations

from torch import Tensor

__all__ = ["invert"]


def invert(images: Tensor) -> Tensor:
    """Level v becomes 255 - v.

    images: [n, C, H, W] uint8. Returns the same shape.
    Source: PIL.ImageOps.invert.
    """
    return images.bitwise_not_()
