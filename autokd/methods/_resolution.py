"""Images as a low-resolution source would have given them, at the size the student's network expects."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate


def lowered(images: Tensor, factor: int) -> Tensor:
    """Bicubic down by `factor` (with antialiasing) and up again: [B, C, H, W] -> the same shape. Factor 1 changes nothing.

    A side that `factor` does not divide is rounded, to one pixel at least.
    """
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    low = interpolate(images.float(), small, mode="bicubic", antialias=True)
    return interpolate(low, (height, width), mode="bicubic").to(images.dtype)
