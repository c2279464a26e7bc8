"""Crop and flip: every view, plain or augmented, ends here."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from autokd.augment.draw import Geometry
from autokd.augment.windows import guarded, put, runs

__all__ = ["crop", "resized_crop"]


def crop(images: Tensor, geometry: Geometry, *, padding: int, buffer: Tensor | None = None) -> Tensor:
    """Cut a piece of the images' own size out of the zero-padded images, then flip it where so drawn.

    images: [B, C, H, W] uint8. Returns new images of the same shape. `buffer`: the longer buffer that the images lie in the
    middle of, with at least `padding` bytes on either side (windows.guarded); they are copied into one where it is not given.
    Source: torchvision's RandomCrop(size, padding) and RandomHorizontalFlip.
    """
    size, channels, height, width = images.shape
    if not padding:
        cut = images.clone()
    else:
        if buffer is None:
            images, buffer = guarded(images, torch.arange(size, device=images.device), padding)
        starts, masks = _places(padding, height, width)
        place = (geometry.top + padding) * (2 * padding + 1) + geometry.left + padding  # [B]
        plane = torch.arange(size * channels).mul_(height * width).add_((buffer.numel() - images.numel()) // 2)
        first = starts.index_select(0, place)[:, None] + plane.view(size, channels, 1)  # [B, C, H]
        cut = runs(buffer, first.view(-1).to(images.device), width).view_as(images)
        cut.view(size, channels, height * width).bitwise_and_(masks.index_select(0, place)[:, None].to(images.device))
    return _flipped(cut, geometry.flip)


@lru_cache(maxsize=8)
def _places(padding: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """For each of the (2 padding + 1)^2 places of the crop: where in its plane each row begins to read, [places, H] int64
    (rows in the padding read somewhere inside), and 255 where a pixel is not padding, [places, HW] uint8."""
    offset = torch.arange(-padding, padding + 1)
    row = torch.arange(height) + offset[:, None]  # [2p + 1, H]
    column = torch.arange(width) + offset[:, None]
    starts = (row.clamp(0, height - 1) * width)[:, None] + offset[:, None]  # [2p + 1, 2p + 1, H]
    upright = ((row >= 0) & (row < height)).mul(255).to(torch.uint8)
    across = ((column >= 0) & (column < width)).mul(255).to(torch.uint8)
    masks = upright[:, None, :, None] & across[None, :, None, :]
    return starts.flatten(0, 1), masks.flatten(0, 1).flatten(1)


def resized_crop(images: Tensor, geometry: Geometry, *, height: int, width: int) -> Tensor:
    """Resize each image's box to height x width (antialiased bilinear), then flip it where so drawn.

    images: [B, C, H, W] uint8. Returns [B, C, height, width].
    Source: torchvision's RandomResizedCrop and RandomHorizontalFlip on PIL images; within one level of them.
    """
    assert geometry.height is not None and geometry.width is not None
    across = _resize(images, geometry.left, geometry.width, width)
    both = _resize(across.transpose(2, 3), geometry.top, geometry.height, height).transpose(2, 3).contiguous()
    return _flipped(both, geometry.flip)


def _resize(images: Tensor, start: Tensor, length: Tensor, out: int) -> Tensor:
    """Resample the last axis: from `length` [B] pixels beginning at `start` [B] to `out` pixels.

    The filter is a triangle as wide as the larger of the two pixels. Weights are whole numbers of 2^-16 and levels are whole, so
    that float32 sums are exact.
    """
    size, channels, rows, _ = images.shape
    scale = length.double() / out  # [B], input pixels per output pixel
    reach = scale.clamp(min=1)[:, None]
    centre = (torch.arange(out) + 0.5) * scale[:, None]  # [B, out]
    first = (centre - reach + 0.5).floor().clamp(min=0)
    taps = 2 * math.ceil(float(reach.max())) + 1
    position = first[..., None] + torch.arange(taps)  # [B, out, taps]
    weight = (1 - ((position + 0.5 - centre[..., None]) / reach[..., None]).abs()).clamp(min=0)
    weight = weight * (position < length[:, None, None])
    weight = (weight / weight.sum(dim=2, keepdim=True) * 2**16).round() * 2.0**-16
    source = (position.minimum(length[:, None, None] - 1.0) + start[:, None, None]).long()  # [B, out, taps]
    total = torch.full((size, channels, rows, out), 0.5, device=images.device)
    for tap in range(taps):
        index = source[..., tap].to(images.device)[:, None, None].expand(size, channels, rows, out)
        total.addcmul_(images.gather(3, index).float(), weight[..., tap].float().to(images.device)[:, None, None])
    return total.floor_().clamp_(0, 255).to(torch.uint8)


def _flipped(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror some rows left to right, in place."""
    rows = flip.nonzero()[:, 0].to(images.device)
    if len(rows):
        put(images, rows, images.index_select(0, rows).flip(3))
    return images
