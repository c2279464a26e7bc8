"""Images in memory, and the card that says what a data set is without reading it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal

import numpy as np

from autokd.data.reading import Reading

__all__ = ["Card", "Images"]


@dataclass(frozen=True, eq=False)
class Images:
    """A part of a data set.

    pixels: uint8 [N, C, H, W], contiguous. labels: int64 [N], positions in `classes`. index: int64 [N], the position of
    each image in the training or test part it comes from; it stays with the image when rows are taken, and images that cannot
    be read have one, too. reading: what was learned when the part was read, where that was told.
    Raises ValueError where the arrays do not fit one another.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    index: np.ndarray
    reading: Reading | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise ValueError(f"pixels are uint8 [N, C, H, W], not {self.pixels.dtype} {list(self.pixels.shape)}")
        rows = len(self.pixels)
        for name in ("labels", "index"):
            value = getattr(self, name)
            if value.dtype != np.int64 or value.shape != (rows,):
                raise ValueError(f"{name} are int64 [{rows}], not {value.dtype} {list(value.shape)}")
        if rows and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(
                f"labels run from {self.labels.min()} to {self.labels.max()}; there are {len(self.classes)} classes"
            )
        object.__setattr__(self, "pixels", np.ascontiguousarray(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: np.ndarray) -> Images:
        """The images at `rows` (int [M]), copied, in that order."""
        return Images(self.pixels[rows], self.labels[rows], self.classes, self.index[rows])

    def fingerprint(self) -> str:
        """32 hexadecimal digits of shape, pixels, labels, index and the names of the classes in their order. Computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = blake2b(json.dumps([list(self.pixels.shape), list(self.classes)]).encode(), digest_size=16)
        for array, kind in ((self.pixels, "u1"), (self.labels, "<i8"), (self.index, "<i8")):
            digest.update(np.ascontiguousarray(array, dtype=kind).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Card:
    """What a data set says of itself.

    mean and std: one number a channel, of pixels scaled to 0..1, over the training part; empty where they are not known
    before the images are read. padding: pixels of zeros around an image before its random crop. train_images: images of the
    training part before any validation split, None where only reading tells. validation_images: those of them that the set
    itself gives to validation, None where a share is cut. geometry: how the plain view is cut, by a
    `crop` after padding or a `resized_crop` of changing scale.
    """

    name: str
    classes: int
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool
    train_images: int | None
    source: str
    geometry: Literal["crop", "resized_crop"] = "crop"
    validation_images: int | None = None

    def validated_on(self, validation: float) -> int | None:
        """How many images the validation split has, about; None where the size of the training part is not known."""
        if self.train_images is None:
            return None
        own = self.validation_images if validation else None
        return round(self.train_images * validation) if own is None else own

    def trained_on(self, validation: float, fraction: float = 1.0) -> int | None:
        """How many images are left to train on, about."""
        if self.train_images is None:
            return None
        own = self.validation_images if validation else None
        rest = self.train_images * (1 - validation) if own is None else self.train_images - own
        return round(rest * fraction)
