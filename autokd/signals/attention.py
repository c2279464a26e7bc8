"""Where a teacher looks in every training image: computed once for a teacher and a data set, and kept on disk."""

from __future__ import annotations

import json
import warnings
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from autokd.augment.views import Attention
from autokd.files import whole
from autokd.signals.teacher import Teacher

__all__ = ["attention_map", "attention_of"]

_VERSION = 1  # raise it when the same teacher and images would give other maps
_BATCH = 128


def attention_map(features: Tensor, height: int, width: int) -> Tensor:
    """The channels' mean square of a feature map, resized to the image (bilinear) and stretched to 0 … 255 in every image.

    features: [B, C, h, w]. Returns uint8 [B, height, width]; all 255 where the map is the same everywhere.
    Source: A(x) of "Paying More Attention to Attention", arXiv:1612.03928, section 3.1, with p = 2.
    """
    energy = features.float().square().mean(dim=1, keepdim=True)
    energy = interpolate(energy, size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    low, high = energy.amin(dim=(1, 2), keepdim=True), energy.amax(dim=(1, 2), keepdim=True)
    flat = high <= low
    return torch.where(flat, 1.0, (energy - low) / (high - low).masked_fill(flat, 1.0)).mul(255).round().to(torch.uint8)


def attention_of(teacher: Teacher, pixels: Tensor, data: str, folder: Path | None) -> Attention:
    """The maps of the whole, uncropped images, [N, H, W] uint8 on their device, from the teacher's last feature map.

    data: the data set's fingerprint. folder: where they are kept; None: nowhere.
    """
    told = json.dumps([_VERSION, teacher.fingerprint, list(teacher.mean), list(teacher.std), data])
    key = blake2b(told.encode(), digest_size=16).hexdigest()
    path = folder / f"{key}.npy" if folder is not None else None
    shape = (len(pixels), *pixels.shape[-2:])
    maps = _read(path, shape)
    if maps is None:
        parts = [
            attention_map(teacher.features(part).stages[-1], *part.shape[-2:]).cpu() for part in pixels.split(_BATCH)
        ]
        maps = torch.cat(parts)
        _write(path, maps.numpy())
    return Attention(maps.to(pixels.device), key)


def _read(path: Path | None, shape: tuple[int, ...]) -> Tensor | None:
    if path is None or not path.exists():
        return None
    try:
        found = np.load(path)
    except (OSError, ValueError, EOFError):
        found = np.empty(0)
    if found.shape != shape or found.dtype != np.uint8:
        warnings.warn(f"{path} is damaged and is made anew", RuntimeWarning, stacklevel=3)
        return None
    return torch.from_numpy(found)


def _write(path: Path | None, maps: np.ndarray) -> None:
    """Aside, then renamed. Where nothing can be written the maps are made again by the next process, after a warning."""
    if path is None:
        return
    try:
        with whole(path) as file:
            np.save(file, maps)
    except OSError as error:
        warnings.warn(f"the teacher's attention is not kept ({error})", RuntimeWarning, stacklevel=3)
