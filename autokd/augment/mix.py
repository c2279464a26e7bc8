"""Two images in one view: a piece of the partner pasted in, or both faded into each other."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.draw import Mix

__all__ = ["cutmix", "mixup"]


def cutmix(images: Tensor, partners: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
    """Paste a box of the partner, of 1 - share of the area, centred anywhere; what overhangs the edge is cut off.

    images, partners: [B, C, H, W] uint8. Returns the views and, float32 [B], the share of pixels that are the image's own.
    Source: "CutMix", arXiv:1905.04899, section 3.
    """
    height, width = images.shape[-2:]
    size = torch.tensor([height, width], dtype=torch.float64)
    half = (((1 - mix.share).clamp(min=0).sqrt()[:, None] * size).long() // 2) * mix.fired[:, None]  # [B, 2]
    centre = (mix.place * size).long()
    low, high = (centre - half).clamp(min=0), torch.minimum(centre + half, size.long())
    y, x = torch.arange(height), torch.arange(width)
    upright = (y >= low[:, :1]) & (y < high[:, :1])  # [B, H]
    across = (x >= low[:, 1:]) & (x < high[:, 1:])  # [B, W]
    pasted = (upright[:, None, :, None] & across[:, None, None, :]).to(images.device)
    share = 1 - (high - low).prod(dim=1).double() / (height * width)
    return torch.where(pasted, partners, images), share.float().to(images.device)


def mixup(images: Tensor, partners: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
    """share x image + (1 - share) x partner, rounded to whole levels. The share is a whole number of 256ths.

    images, partners: [B, C, H, W] uint8. Returns the views and the share of the own image, float32 [B].
    Source: "mixup", arXiv:1710.09412, on uint8 before the normalisation, which is affine and so commutes with it.
    """
    parts = torch.where(mix.fired, (mix.share * 256).round(), 256.0).to(torch.int32)
    weight = parts.to(images.device)[:, None, None, None]
    mixed = images * weight + partners * (256 - weight) + 128
    return (mixed >> 8).to(torch.uint8), (parts.float() / 256).to(images.device)
