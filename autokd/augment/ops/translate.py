"""Shift an image sideways or upright; what enters at the edge is grey, or black as torchvision has it."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.windows import shift

__all__ = [
    "shift_x",
    "shift_x_black",
    "shift_y",
    "shift_y_black",
    "translate_x",
    "translate_x_black",
    "translate_y",
    "translate_y_black",
]
LIMITS = {
    "translate_x": (-1, 1),
    "translate_y": (-1, 1),
    "shift_x": (-1024, 1024),
    "shift_y": (-1024, 1024),
    "translate_x_black": (-1, 1),
    "translate_y_black": (-1, 1),
    "shift_x_black": (-1024, 1024),
    "shift_y_black": (-1024, 1024),
}
NEUTRAL = {
    "translate_x": 0,
    "translate_y": 0,
    "shift_x": 0,
    "shift_y": 0,
    "translate_x_black": 0,
    "translate_y_black": 0,
    "shift_x_black": 0,
    "shift_y_black": 0,
}


def shift_x(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` pixels, positive to the right, to the nearest whole pixel.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: PIL.Image.transform, AFFINE, NEAREST.
    """
    return shift(images.flatten(1, 2), _whole(magnitude)).view_as(images)


def shift_y(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` pixels, positive downwards, to the nearest whole pixel.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: PIL.Image.transform, AFFINE, NEAREST.
    """
    return shift(images.flatten(2), _whole(magnitude) * images.shape[-1]).view_as(images)


def translate_x(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` of the width, positive to the right.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: PIL.Image.transform, AFFINE, NEAREST.
    """
    return shift_x(images, magnitude * images.shape[-1])


def translate_y(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` of the height, positive downwards.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: PIL.Image.transform, AFFINE, NEAREST.
    """
    return shift_y(images, magnitude * images.shape[-2])


def shift_x_black(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` pixels without their fraction, positive to the right; what enters is black.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: torchvision's RandAugment and TrivialAugmentWide on PIL images.
    """
    return shift(images.flatten(1, 2), _cut(magnitude), fill=0).view_as(images)


def shift_y_black(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` pixels without their fraction, positive downwards; what enters is black.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: torchvision's RandAugment and TrivialAugmentWide on PIL images.
    """
    return shift(images.flatten(2), _cut(magnitude) * images.shape[-1], fill=0).view_as(images)


def translate_x_black(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` of the width, in whole pixels, positive to the right; what enters is black.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: torchvision's RandAugment on PIL images.
    """
    return shift_x_black(images, magnitude * images.shape[-1])


def translate_y_black(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift by `magnitude` of the height, in whole pixels, positive downwards; what enters is black.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns [n, C, H, W] uint8.
    Source: torchvision's RandAugment on PIL images.
    """
    return shift_y_black(images, magnitude * images.shape[-2])


def _cut(pixels: Tensor) -> Tensor:
    """The whole pixels of a shift, towards 0; in float32, as torchvision counts, so that 150 / 331 of 331 pixels are 150."""
    return pixels.float().trunc().to(torch.int64)


def _whole(pixels: Tensor) -> Tensor:
    """An output pixel reads where its centre falls: floor(x + 1/2 - t) is x - ceil(t - 1/2)."""
    return (pixels - 0.5).ceil().to(torch.int64)
