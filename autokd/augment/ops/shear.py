"""Slant an image about its top left corner; what enters at the edge is grey, or black as torchvision has it."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from autokd.augment.nearest import nearest
from autokd.augment.windows import GREY, runs

__all__ = ["shear_x", "shear_x_black", "shear_y", "shear_y_black"]
LIMITS = {"shear_x": (-1, 1), "shear_y": (-1, 1), "shear_x_black": (-1, 1), "shear_y_black": (-1, 1)}
NEUTRAL = {"shear_x": 0, "shear_y": 0, "shear_x_black": 0, "shear_y_black": 0}
# weights are whole numbers of 2^-15: products with levels and their sums have at most 24 bits, exact in float32
_ONE = 2**15
_SMALL = 64  # images up to this width are sheared by matrices


def shear_x(images: Tensor, magnitude: Tensor) -> Tensor:
    """Move the row at height y to the right by magnitude x (y + 1/2), by cubic interpolation (a = -1).

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.Image.transform, AFFINE with (1, -magnitude, 0, 0, 1, 0), BICUBIC. Within one level of it.
    """
    slants, which = magnitude.unique(return_inverse=True)  # a policy knows few magnitudes
    order = which.argsort(stable=True)
    counts = which.bincount().tolist()
    exact = images.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
    small = images.shape[-1] <= _SMALL and exact
    return (_by_matrix if small else _by_taps)(images, slants, which, order, counts)


def _by_matrix(images: Tensor, slants: Tensor, which: Tensor, order: Tensor, counts: list[int]) -> Tensor:
    """One matrix for each height and slant: more arithmetic than four taps, and a fraction of the passes over memory."""
    n, channels, height, width = images.shape
    sorted_images = images if len(counts) == 1 else images.index_select(0, order)
    slanted, done = np.empty(images.shape, dtype=np.uint8), 0
    for slant, count in zip(slants, counts, strict=True):
        matrix, fill = _matrix(float(slant), height, width)
        group = sorted_images[done : done + count].float().view(count * channels, height, width)
        with torch.autocast("cpu", enabled=False):
            drawn = torch.baddbmm(fill, group.transpose(0, 1), matrix).clamp_(0, 255)  # [H, nC, W]
        levels = drawn.numpy().astype(np.uint8).reshape(height, count, channels, width).transpose(1, 2, 0, 3)
        slanted[order[done : done + count].numpy()] = levels
        done += count
    return torch.from_numpy(slanted)


@lru_cache(maxsize=64)
def _matrix(slant: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    """What each row is multiplied by, [H, W, W] float32, and what is added where nothing is read, [H, 1, W]."""
    plan = _plan(slant, height, width, torch.device("cpu"))
    weights = plan.weights.view(4, height, width + 3)[..., :width]
    matrix = torch.zeros(height, width, width)
    inside = plan.inside.bool()
    for k in range(4):
        reads = (torch.arange(width) + plan.first[:, None] + k - 1).clamp(0, width - 1)  # [H, W]; the edge goes on
        matrix.scatter_add_(1, reads[:, None], torch.where(inside, weights[k], 0)[:, None])
    return matrix, torch.where(inside, 0.0, float(GREY))[:, None]


def _by_taps(images: Tensor, slants: Tensor, which: Tensor, order: Tensor, counts: list[int]) -> Tensor:
    """Four shifted copies of each row, weighted."""
    n, channels, height, width = images.shape
    plans = [_plan(float(slant), height, width, images.device) for slant in slants]
    margin, reach = 2, width + 3  # a drawn pixel reads two pixels beyond the edge at most; others are covered with grey
    wide, guard = width + 2 * margin, width + 4
    buffer = images.new_empty(n * channels * height * wide + 2 * guard)
    rows = buffer[guard:-guard].view(n, channels, height, wide)
    rows[..., margin:-margin].copy_(images)
    rows[..., :margin] = images[..., :1]
    rows[..., -margin:] = images[..., -1:]
    first = torch.stack([plan.first for plan in plans])[which][:, None] + (guard + margin - 1)  # [n, 1, H]
    starts = (torch.arange(n * channels * height).view(n, channels, height) * wide + first)[order]
    taps = runs(buffer, starts.view(-1).clamp_(0, buffer.numel() - reach).to(images.device), reach)
    values = taps.float().view(n, channels, height * reach)
    done = 0
    slanted = torch.empty_like(images)
    for plan, count in zip(plans, counts, strict=True):
        group = values[done : done + count]
        total = group * plan.weights[0]
        for k in (1, 2, 3):
            total[..., :-k].addcmul_(group[..., k:], plan.weights[k, :-k])
        drawn = total.clamp_(0, 255).view(count, channels, height, reach)[..., :width].to(torch.uint8)
        here = order[done : done + count].to(images.device)
        slanted[here] = drawn.bitwise_and_(plan.inside).bitwise_or_(plan.outside)
        done += count
    return slanted


def shear_y(images: Tensor, magnitude: Tensor) -> Tensor:
    """Move the column at x downwards by magnitude x (x + 1/2), by cubic interpolation (a = -1).

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape.
    Source: PIL.Image.transform, AFFINE with (1, 0, 0, -magnitude, 1, 0), BICUBIC. Within one level of it.
    """
    return shear_x(images.transpose(2, 3).contiguous(), magnitude).transpose(2, 3).contiguous()


def shear_x_black(images: Tensor, magnitude: Tensor) -> Tensor:
    """Move the row at height y to the right by magnitude x (y + 1/2), to the nearest pixel; what enters is black.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape. torchvision's moves to the left: its sign is a coin.
    Source: torchvision's RandAugment and TrivialAugmentWide on PIL images.
    """
    return nearest(images, magnitude, _slanted_across, fill=0)


def shear_y_black(images: Tensor, magnitude: Tensor) -> Tensor:
    """Move the column at x downwards by magnitude x (x + 1/2), to the nearest pixel; what enters is black.

    images: [n, C, H, W] uint8. magnitude: [n]. Returns the same shape. torchvision's moves upwards: its sign is a coin.
    Source: torchvision's RandAugment and TrivialAugmentWide on PIL images.
    """
    return nearest(images, magnitude, _slanted_down, fill=0)


def _slanted_across(slant: float, height: int, width: int) -> tuple[float, float, float, float, float, float]:
    return 1.0, -_through_degrees(slant), 0.0, 0.0, 1.0, 0.0


def _slanted_down(slant: float, height: int, width: int) -> tuple[float, float, float, float, float, float]:
    return 1.0, 0.0, 0.0, -_through_degrees(slant), 1.0, 0.0


def _through_degrees(slant: float) -> float:
    """The same slant after the way that torchvision sends it, through an angle in degrees."""
    return math.tan(math.radians(math.degrees(math.atan(slant))))


class _Plan:
    """What one slant does to images of one size."""

    def __init__(self, slant: float, height: int, width: int, device: torch.device) -> None:
        offset = -slant * (torch.arange(height, dtype=torch.float64) + 0.5)  # [H], how far to the right each row reads
        whole = offset.floor()
        self.first = whole.clamp(-width - 1, width + 1).long()
        weights = _cubic(offset - whole)[..., None].expand(4, height, width + 3)
        self.weights = weights.reshape(4, -1).to(device)  # [4, H (W + 3)]
        reads = torch.arange(width, dtype=torch.float64) + 0.5 + offset[:, None]
        inside = ((reads >= 0) & (reads < width)).mul(255).to(torch.uint8)  # [H, W]
        self.inside, self.outside = inside.to(device), (~inside & GREY).to(device)


@lru_cache(maxsize=256)
def _plan(slant: float, height: int, width: int, device: torch.device) -> _Plan:
    return _Plan(slant, height, width, device)


def _cubic(d: Tensor) -> Tensor:
    """Weights of four neighbours at fraction d past the second: [H] float64 to [4, H] float32 multiples of 2^-15."""
    weights = torch.stack([-d + 2 * d**2 - d**3, 1 - 2 * d**2 + d**3, d + d**2 - d**3, -(d**2) + d**3])
    whole = (weights * _ONE).round()
    whole[1] += _ONE - whole.sum(dim=0)  # a flat image stays flat
    return (whole / _ONE).float()
