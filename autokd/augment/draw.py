"""Chance, drawn: what will happen to each image, as plain tensors on the CPU.

Everything is a function of (seed, image index, view, stream); a stream is a fixed number for each purpose, so that a draw
does not depend on the batch, on the order, on the device or on what else is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autokd.augment import known
from autokd.augment.beta import quantile
from autokd.augment.counter import keys, uniform
from autokd.augment.policy import Policy, Step

__all__ = [
    "AUGMENTED",
    "DRAW_VERSION",
    "PARTNER",
    "PLAIN",
    "Draws",
    "Geometry",
    "Mix",
    "draw",
    "draw_box",
    "draw_crop",
    "draw_of",
    "keys_of",
]

DRAW_VERSION = 2  # raise it whenever the same triple would give other pixels: cached signals are then made anew

PLAIN, AUGMENTED, PARTNER = 0, 64, 128  # crop and flip of the plain view, of the augmented one, and of a mixed-in image
_MIX, _STEPS, _STEP_WIDTH = 192, 256, 8
_ATTEMPTS = 10


@dataclass(frozen=True)
class Mix:
    """Which rows are mixed with a partner, and how."""

    kind: str  # cutmix | mixup
    fired: Tensor  # [B] bool
    share: Tensor  # [B] float64, of the own image, before whole pixels or levels are taken
    place: Tensor  # [B, 2] float64 in [0, 1), (y, x)
    partner: Tensor  # [B] float64 in [0, 1), the partner among all others


@dataclass(frozen=True)
class Draws:
    """What will happen, one column an event, from left to right."""

    ops: tuple[str, ...]  # S events
    fired: Tensor  # [B, S] bool
    magnitude: Tensor  # [B, S] float64, sign included; 0 where the op takes none
    place: Tensor  # [B, S, 2] float64 in [0, 1), only drawn for ops that read it
    mix: Mix | None = None


@dataclass(frozen=True)
class Geometry:
    """Crop and flip of each image."""

    top: Tensor  # [B] int64, rows below the upper edge of the image (negative: in the padding)
    left: Tensor  # [B] int64
    flip: Tensor  # [B] bool
    height: Tensor | None = None  # [B] int64, of the box that is resized to the output; None: the output's own size
    width: Tensor | None = None


def draw(policy: Policy, index: Tensor, view: int | Tensor, seed: int) -> Draws:
    """What `policy` does to view number `view` of the images.

    index: [B] integers, the images' stable numbers. view: an integer, or [B] integers.
    """
    return draw_of(policy, keys_of(index, view, seed))


def draw_of(policy: Policy, key: np.ndarray) -> Draws:
    """The same for images whose keys (`keys_of`) are at hand."""
    size, steps = len(key), policy.steps
    if policy.kind == "mix":
        step = steps[0]
        u = uniform(key, [_MIX + k for k in range(5)])
        mix = Mix(
            step.op,
            torch.from_numpy(u[:, 0] < step.probability),
            torch.from_numpy(quantile(u[:, 1], step.magnitude or 1.0)),
            torch.from_numpy(u[:, 2:4].copy()),
            torch.from_numpy(u[:, 4].copy()),
        )
        return Draws((), torch.zeros(size, 0, dtype=torch.bool), torch.zeros(size, 0), torch.zeros(size, 0, 2), mix)
    if not steps:
        return Draws((), torch.zeros(size, 0, dtype=torch.bool), torch.zeros(size, 0), torch.zeros(size, 0, 2))
    return _chain(policy, key) if policy.kind == "chain" else _picks(policy, key)


def _chain(policy: Policy, key: np.ndarray) -> Draws:
    """Each step on its own: a chance, and where it matters a coin for the sign, a choice of magnitude and a place."""
    columns = [(step, _stream(number)) for number, step in enumerate(policy.steps)]
    chances = uniform(key, [stream for _, stream in columns])
    fired = chances < np.array([step.probability for step, _ in columns])
    return Draws(tuple(step.op for step, _ in columns), torch.from_numpy(fired), *_amounts(key, columns))


def _picks(policy: Policy, key: np.ndarray) -> Draws:
    """In each of a few slots one of the steps, every one as likely."""
    columns = [(step, _stream(slot)) for slot in range(policy.picks) for step in policy.steps]
    count = len(policy.steps)
    chosen = np.floor(uniform(key, [_stream(slot) for slot in range(policy.picks)]) * count)  # [B, slots]
    fired = (chosen[..., None] == np.arange(count)).reshape(len(key), -1)
    return Draws(tuple(step.op for step, _ in columns), torch.from_numpy(fired), *_amounts(key, columns))


def _stream(slot: int) -> int:
    return _STEPS + _STEP_WIDTH * slot


def _amounts(key: np.ndarray, columns: list[tuple[Step, int]]) -> tuple[Tensor, Tensor]:
    """Magnitudes [B, S] and places [B, S, 2] of the steps, each step with its stream. What nothing reads is not drawn."""
    size = len(key)
    wanted = []
    for step, stream in columns:
        wanted += [stream + 1] if step.sign else []
        wanted += [stream + 2] if step.choices else []
        wanted += [stream + 3, stream + 4] if "place" in known.entry(step.op).reads else []
    wanted = sorted(set(wanted))
    at = {stream: number for number, stream in enumerate(wanted)}
    drawn = uniform(key, wanted)  # [B, K]
    magnitude = np.empty((size, len(columns)))
    magnitude[:] = [step.magnitude or 0.0 for step, _ in columns]
    place = np.zeros((size, len(columns), 2)) if any(s + 3 in at for _, s in columns) else np.zeros((1, 1, 2))
    for number, (step, stream) in enumerate(columns):
        if step.choices:
            choice = np.floor(drawn[:, at[stream + 2]] * len(step.choices)).astype(np.int64)
            magnitude[:, number] = np.array(step.choices)[choice]
        if stream + 3 in at:
            place[:, number] = drawn[:, [at[stream + 3], at[stream + 4]]]
    signed = [number for number, (step, _) in enumerate(columns) if step.sign]
    if signed:
        coins = drawn[:, [at[columns[number][1] + 1] for number in signed]]
        magnitude[:, signed] *= np.where(coins < 0.5, -1.0, 1.0)
    return torch.from_numpy(magnitude), torch.from_numpy(place).expand(size, len(columns), 2)


def draw_crop(key: np.ndarray, stream: int, *, padding: int, flip: bool) -> Geometry:
    """Crop offsets from -padding to padding, each as likely, and a fair coin for the flip.

    key: [B] uint64, of the images in their view (`keys_of`). stream: PLAIN, AUGMENTED or PARTNER.
    """
    u = uniform(key, [stream, stream + 1, stream + 2])
    offset = torch.from_numpy(np.floor(u[:, :2] * (2 * padding + 1)).astype(np.int64) - padding)
    return Geometry(offset[:, 0], offset[:, 1], torch.from_numpy((u[:, 2] < 0.5) & flip))


def draw_box(key: np.ndarray, stream: int, *, height: int, width: int, flip: bool) -> Geometry:
    """A box of 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3: the first of ten attempts that fits, else the centre.

    key: [B] uint64, of the images in their view (`keys_of`). stream: PLAIN, AUGMENTED or PARTNER.
    Source: torchvision.transforms.RandomResizedCrop, whose rule this is (the fallback keeps the ratio within the same limits).
    """
    u = uniform(key, [stream + 2, *range(stream + 8, stream + 8 + 4 * _ATTEMPTS)])
    size = len(u)
    attempt = u[:, 1:].reshape(size, _ATTEMPTS, 4)
    area = height * width * (0.08 + 0.92 * attempt[..., 0])
    ratio = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * attempt[..., 1])
    wide, high = np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)  # [B, attempts]
    first = fits.argmax(1)
    at = (np.arange(size), first)
    box_w, box_h = wide[at], high[at]
    top = np.floor(attempt[..., 2][at] * (height - box_h + 1)).astype(np.int64)
    left = np.floor(attempt[..., 3][at] * (width - box_w + 1)).astype(np.int64)
    whole_w, whole_h = width, height
    if width / height < 3 / 4:
        whole_h = round(width / (3 / 4))
    elif width / height > 4 / 3:
        whole_w = round(height * (4 / 3))
    none = ~fits.any(1)
    box_w, box_h = np.where(none, whole_w, box_w), np.where(none, whole_h, box_h)
    top, left = np.where(none, (height - whole_h) // 2, top), np.where(none, (width - whole_w) // 2, left)
    flips = torch.from_numpy((u[:, 0] < 0.5) & flip)
    tops, lefts, heights, widths = (torch.from_numpy(part) for part in (top, left, box_h, box_w))
    return Geometry(tops, lefts, flips, heights, widths)


def keys_of(index: Tensor, view: int | Tensor, seed: int) -> np.ndarray:
    """The key of each image in that view: index [B] integers, view an integer or [B] integers. Returns uint64 [B]."""
    views = view.cpu().numpy() if isinstance(view, Tensor) else view
    return keys(seed, index.cpu().numpy(), views)
