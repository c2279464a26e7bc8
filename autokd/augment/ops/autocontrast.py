"""Stretch each channel's levels to the full range."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autokd.augment.levels import entries, places

__all__ = ["autocontrast"]


def autocontrast(images: Tensor) -> Tensor:
    """The darkest level of a channel becomes 0 and the brightest 255; a channel of one level stays.

    images: [n, C, H, W] uint8. Returns the same shape.
    Source: PIL.ImageOps.autocontrast with cutoff 0.
    """
    planes = images.view(-1, images.shape[-2] * images.shape[-1])  # [n C, HW]
    low, high = planes.amin(dim=1).cpu().numpy(), planes.amax(dim=1).cpu().numpy()
    tables = torch.from_numpy(_TABLES.rows(low, high)).to(images.device)
    return entries(tables, places(planes)).view_as(images)


class _Tables:
    """The table of each pair (darkest, brightest), made when first asked for: 64 Ki pairs of 256 bytes at most."""

    def __init__(self) -> None:
        self.tables = np.empty((256 * 256, 256), dtype=np.uint8)  # untouched pages cost no memory
        self.made = np.zeros(256 * 256, dtype=bool)

    def rows(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """low, high: uint8 of any shape. Returns that shape + [256]."""
        pair = low.astype(np.int64) * 256 + high
        if not self.made[pair].all():
            new = np.unique(pair[~self.made[pair]])
            self.tables[new] = _stretch(new // 256, new % 256)
            self.made[new] = True
        return self.tables[pair]


def _stretch(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """PIL's own float64 steps in their order: [k] whole levels, twice, to [k, 256] uint8."""
    levels = np.arange(256, dtype=np.float64)
    scale = 255.0 / np.maximum(high - low, 1)
    table = np.clip(levels * scale[:, None] + (-low * scale)[:, None], 0, 255).astype(np.uint8)
    return np.where((high > low)[:, None], table, levels.astype(np.uint8))


_TABLES = _Tables()
