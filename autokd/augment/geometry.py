"""Crop and flip: every view, plain or augmented, ends here."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from autokd.augment.draw import Geometry
from autokd.augment.windows import guarded, put, runs

__all__ = ["crop", "crop_rows", "reach", "resized_crop"]


def crop(images: Tensor, geometry: Geometry, *, padding: int, buffer: Tensor | None = None) -> Tensor:
    """Cut a piece of the images' own size out of the zero-padded images, then flip it where so drawn.

    images: [B, C, H, W] uint8. Returns new images of the same shape. `buffer`: the longer buffer that the images lie in the
    middle of, with at least `reach(padding, W)` bytes on either side (windows.guarded); they are copied into one where it is
    not given.
    Source: torchvision's RandomCrop(size, padding) and RandomHorizontalFlip.
    """
    size, length = len(images), images[0].numel() if len(images) else 0
    if not padding:
        return _flipped(images.clone(), geometry.flip)
    if buffer is None:
        images, buffer = guarded(images, torch.arange(size, device=images.device), reach(padding, images.shape[3]))
    first = torch.arange(size).mul_(length).add_((buffer.numel() - images.numel()) // 2)
    return _cut(buffer, first, images.shape[1:], geometry, padding)


def crop_rows(pixels: Tensor, rows: Tensor, geometry: Geometry, *, padding: int) -> Tensor:
    """The same of pixels[rows], read where they lie: images inside a large set need no copy with bytes around them.

    pixels: [N, C, H, W] uint8, contiguous. rows: [B] int64 on the device of the pixels. Returns [B, C, H, W] uint8.
    """
    length, around = pixels[0].numel(), reach(padding, pixels.shape[3])
    if not padding:
        return _flipped(pixels.index_select(0, rows), geometry.flip)
    first = rows.cpu() * length
    if len(rows) and int(first.min()) >= around and int(first.max()) + length + around <= pixels.numel():
        return _cut(pixels.view(-1), first, pixels.shape[1:], geometry, padding)
    images, buffer = guarded(pixels, rows, around)
    return crop(images, geometry, padding=padding, buffer=buffer)


def reach(padding: int, width: int) -> int:
    """How many bytes outside of an image its crop may read: so many rows, and as many pixels of one more."""
    return padding * (width + 1)


def _cut(buffer: Tensor, first: Tensor, shape: torch.Size, geometry: Geometry, padding: int) -> Tensor:
    """Pieces of the images [C, H, W] that begin at `first` [B] in the buffer.

    A piece moved by whole rows and pixels is one run of bytes: what it reads beyond its row, its plane or its image lies in the
    padding, and is covered with zeros.
    """
    channels, height, width = shape
    place = (geometry.top + padding) * (2 * padding + 1) + geometry.left + padding  # [B]
    start = first + geometry.top * width + geometry.left
    cut = runs(buffer, start.to(buffer.device), channels * height * width)
    mask = _masks(padding, height, width).index_select(0, place).to(buffer.device)
    cut.view(-1, channels, height * width).bitwise_and_(mask[:, None])
    return _flipped(cut.view(-1, *shape), geometry.flip)


@lru_cache(maxsize=8)
def _masks(padding: int, height: int, width: int) -> Tensor:
    """255 where a pixel is not padding, for each of the (2 padding + 1)^2 places of the crop: [places, HW] uint8."""
    offset = torch.arange(-padding, padding + 1)
    row, column = torch.arange(height) + offset[:, None], torch.arange(width) + offset[:, None]  # [2p + 1, H], [2p + 1, W]
    upright = ((row >= 0) & (row < height)).mul(255).to(torch.uint8)
    across = ((column >= 0) & (column < width)).mul(255).to(torch.uint8)
    return (upright[:, None, :, None] & across[None, :, None, :]).flatten(0, 1).flatten(1)


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
