"""Crop to, cover or keep alone what a teacher looks at."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.draw import Geometry
from autokd.augment.geometry import resized_crop
from autokd.augment.windows import GREY

__all__ = ["attention_crop", "attention_drop", "attention_keep"]
LIMITS = {"attention_crop": (0, 1), "attention_drop": (0, 1), "attention_keep": (0, 1)}
NEUTRAL = {"attention_crop": 1, "attention_drop": 0, "attention_keep": 1}

_MARGIN = 0.1  # of the box, on each of its sides


def attention_crop(images: Tensor, magnitude: Tensor, attention: Tensor) -> Tensor:
    """The tightest box around the `magnitude` share of pixels that the teacher looks at most, and a tenth more on each side,
    resized to the image.

    images: [n, C, H, W] uint8. magnitude: [n]. attention: [n, H, W] uint8. Returns [n, C, H, W] uint8.
    Source: METHODS section 18, a counterpart of "Attention-Based Data Augmentation for KD with Few Data" (2022).
    """
    height, width = images.shape[-2:]
    seen = _most(attention, magnitude, least=1).cpu()  # [n, H, W]
    top, bottom = _ends(seen.any(dim=2))
    left, right = _ends(seen.any(dim=1))
    more_y, more_x = ((_MARGIN * (b - a)).round().long() for a, b in ((top, bottom), (left, right)))
    top, bottom = (top - more_y).clamp(min=0), (bottom + more_y).clamp(max=height)
    left, right = (left - more_x).clamp(min=0), (right + more_x).clamp(max=width)
    box = Geometry(top, left, torch.zeros(len(images), dtype=torch.bool), bottom - top, right - left)
    return resized_crop(images, box, height=height, width=width)


def attention_drop(images: Tensor, magnitude: Tensor, attention: Tensor) -> Tensor:
    """Cover the `magnitude` share of pixels that the teacher looks at most with grey, so that the rest has to do.

    images: [n, C, H, W] uint8. magnitude: [n]. attention: [n, H, W] uint8. Returns [n, C, H, W] uint8.
    Source: METHODS section 18, a counterpart of "Attention-Based Data Augmentation for KD with Few Data" (2022).
    """
    return images.masked_fill(_most(attention, magnitude)[:, None].to(images.device), GREY)


def attention_keep(images: Tensor, magnitude: Tensor, attention: Tensor) -> Tensor:
    """Cover all but the `magnitude` share of pixels that the teacher looks at most with grey.

    images: [n, C, H, W] uint8. magnitude: [n]. attention: [n, H, W] uint8. Returns [n, C, H, W] uint8.
    Source: METHODS section 18, a counterpart of "Attention-Based Data Augmentation for KD with Few Data" (2022).
    """
    return images.masked_fill(~_most(attention, magnitude)[:, None].to(images.device), GREY)


def _most(attention: Tensor, share: Tensor, least: int = 0) -> Tensor:
    """Which pixels are among the `share` looked at most, bool [n, H, W]; of equals the first in reading order."""
    flat = attention.flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    count = (share * flat.shape[1]).round().clamp(min=least).to(flat.device)  # [n]
    chosen = torch.arange(flat.shape[1], device=flat.device) < count[:, None]
    return torch.zeros_like(chosen).scatter_(1, order, chosen).view_as(attention)


def _ends(seen: Tensor) -> tuple[Tensor, Tensor]:
    """The first true position of each row and the one after the last. seen: [n, L] bool, none all false."""
    forward, backward = seen.to(torch.uint8), seen.flip(1).to(torch.uint8)
    return forward.argmax(dim=1), seen.shape[1] - backward.argmax(dim=1)
