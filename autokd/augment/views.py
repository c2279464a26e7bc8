"""Views of a data set that lies in memory, rendered a batch at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from autokd.augment.apply import apply_
from autokd.augment.draw import (
    AUGMENTED,
    DRAW_VERSION,
    PARTNER,
    PLAIN,
    Draws,
    Mix,
    draw_box,
    draw_crop,
    draw_of,
    keys_of,
)
from autokd.augment.geometry import crop, crop_rows, reach, resized_crop
from autokd.augment.mix import cutmix, mixup
from autokd.augment.policy import Policy
from autokd.augment.windows import guarded
from autokd.errors import AutokdError

__all__ = ["Attention", "View", "Views"]

_CHUNK = 512  # rows at a time: more leave a core's cache, fewer spend their time on calls


@dataclass(frozen=True)
class View:
    """One rendering of some images. Where a policy mixes images, `partner` and `share` say with which and how much."""

    pixels: Tensor  # [B, C, H, W] uint8
    partner: Tensor | None = None  # [B] int64, the row of the mixed-in image
    share: Tensor | None = None  # [B] float32, the share of the own label


@dataclass(frozen=True)
class Attention:
    """Where a teacher looks in each of the resident images; `key` names the teacher and all else the maps depend on."""

    maps: Tensor  # [N, H, W] uint8
    key: str


class Views:
    """Plain and augmented views of resident images.

    pixels: [N, C, H, W] uint8, on the device where views are to be made. index: [N] int64, each image's stable number: what
    happens to an image depends on (seed, its number, the view number) and on nothing else. A plain view is crop + flip; an
    augmented one is the policy on the raw image, then a crop + flip of its own (`shared_geometry`: the plain view's).
    geometry "crop": zero padding by `padding` pixels and a crop of the image's own size; "resized_crop": a random box resized to
    `size` (height, width; the image's own where not given). attention: for policies that follow a teacher's.
    """

    def __init__(
        self,
        pixels: Tensor,
        index: Tensor,
        policy: Policy,
        *,
        padding: int,
        flip: bool,
        seed: int,
        shared_geometry: bool = False,
        geometry: Literal["crop", "resized_crop"] = "crop",
        size: tuple[int, int] | None = None,
        attention: Attention | None = None,
    ) -> None:
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or len(index) != len(pixels):
            raise ValueError(
                f"pixels are uint8 [N, C, H, W] with N numbers, not {pixels.dtype} {tuple(pixels.shape)} with {len(index)}"
            )
        if geometry not in ("crop", "resized_crop"):
            raise ValueError(f"geometry is crop or resized_crop, not {geometry!r}")
        height, width = pixels.shape[-2:]
        if padding > min(height, width):
            raise AutokdError(
                f"padding of {padding} pixels is more than an image of {height} x {width} has",
                fix="choose a smaller padding",
            )
        if height != width and any(step.op == "quarter_turn" for step in policy.steps):
            raise AutokdError(
                f"policy {policy.name!r} turns by right angles, and the images are {height} x {width}",
                fix="use `rotate`",
            )
        if policy.kind == "mix" and len(pixels) < 2:
            raise AutokdError(f"policy {policy.name!r} mixes two images, and there is one", fix="use another policy")
        if policy.reads_attention and (attention is None or policy.after_crop):
            raise AutokdError(
                f"policy {policy.name!r} follows a teacher's attention to the uncropped image, which is not here",
                fix="give its maps (autokd.signals.attention)",
            )
        self.attention = attention if policy.reads_attention else None
        self.pixels, self.index, self.policy = pixels.contiguous(), index.cpu().long(), policy
        self.padding, self.flip, self.seed = padding, flip, seed
        self.shared_geometry, self.geometry = shared_geometry, geometry
        self.size = (height, width) if size is None or geometry == "crop" else size

    def render(self, rows: Tensor, view: int | Tensor, augmented: bool) -> View:
        """View number `view` (an integer, or one a row) of the images in `rows`, [B] int64."""
        if isinstance(view, Tensor) and view.dim() == 0:
            view = int(view)
        if len(rows) <= _CHUNK or self.pixels.device.type != "cpu":
            return self._render(rows, view, augmented)
        views = view.split(_CHUNK) if isinstance(view, Tensor) else [view] * len(rows)
        parts = [self._render(part, number, augmented) for part, number in zip(rows.split(_CHUNK), views)]
        pixels = torch.cat([part.pixels for part in parts])
        if parts[0].partner is None or parts[0].share is None:
            return View(pixels)
        return View(pixels, torch.cat([p.partner for p in parts]), torch.cat([p.share for p in parts]))  # type: ignore[misc]

    def key(self, augmented: bool) -> str:
        """Canonical JSON of everything the pixels depend on besides the data themselves."""
        parts: dict[str, object] = {
            "draw": DRAW_VERSION,
            "geometry": self.geometry,
            "padding": self.padding if self.geometry == "crop" else 0,
            "size": list(self.size),
            "flip": bool(self.flip),
            "seed": int(self.seed),
            "augmented": bool(augmented),
        }
        if augmented:
            parts |= {"policy": json.loads(self.policy.key), "shared_geometry": bool(self.shared_geometry)}
            if self.attention is not None:
                parts["attention"] = self.attention.key
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))

    def _render(self, rows: Tensor, view: int | Tensor, augmented: bool) -> View:
        key = keys_of(self.index[rows.cpu()], view, self.seed)
        here = rows.to(self.pixels.device)
        if not augmented:
            return View(self._placed(here, key, PLAIN))
        stream = PLAIN if self.shared_geometry else AUGMENTED
        draws = draw_of(self.policy, key)
        if draws.mix is not None:
            return self._mixed(self._placed(here, key, stream), rows, key, draws.mix)
        if self.policy.after_crop:
            return View(apply_(self._placed(here, key, stream), draws))
        return View(self._placed(here, key, stream, draws))

    def _placed(self, rows: Tensor, key: np.ndarray, stream: int, draws: Draws | None = None) -> Tensor:
        """The images in `rows`, changed as drawn where anything is, then cropped and flipped."""
        place = None
        if self.geometry == "crop":
            place = draw_crop(key, stream, padding=self.padding, flip=self.flip)
            if draws is None:
                return crop_rows(self.pixels, rows, place, padding=self.padding)
        images, buffer = guarded(self.pixels, rows, reach(self.padding, self.pixels.shape[3]))
        if draws is not None:
            apply_(images, draws, None if self.attention is None else self.attention.maps[rows])
        if place is not None:
            return crop(images, place, padding=self.padding, buffer=buffer)
        height, width = images.shape[-2:]
        box = draw_box(key, stream, height=height, width=width, flip=self.flip)
        return resized_crop(images, box, height=self.size[0], width=self.size[1])

    def _mixed(self, images: Tensor, rows: Tensor, key: np.ndarray, mix: Mix) -> View:
        own = rows.cpu()
        other = (mix.partner * (len(self.pixels) - 1)).long()  # among the others: the own row is left out
        partner = (other + (other >= own)).to(self.pixels.device)
        partners = self._placed(partner, key, PARTNER)
        pixels, share = {"cutmix": cutmix, "mixup": mixup}[mix.kind](images, partners, mix)
        return View(pixels, partner, share)
