"""Pixels to the numbers a network reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["normalise"]


def normalise(
    pixels: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """(pixels / 255 - mean) / std, channel by channel: [B, C, H, W] uint8 to the same shape in `dtype`.

    mean, std: C numbers (or one for all channels) on the scale 0 to 1. Keeps the memory format of `pixels`.
    """
    centre = torch.tensor(mean, dtype=torch.float32, device=pixels.device).view(1, -1, 1, 1) * 255
    scale = 1 / (torch.tensor(std, dtype=torch.float32, device=pixels.device).view(1, -1, 1, 1) * 255)
    return pixels.to(torch.float32).sub_(centre).mul_(scale).to(dtype)
