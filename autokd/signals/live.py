"""Ask the teacher at every batch."""

from __future__ import annotations

from torch import Tensor

from autokd.models.features import Features
from autokd.signals.tally import Tally
from autokd.signals.teacher import Teacher

__all__ = ["LiveSignals"]


class LiveSignals:
    """The plain way, and the reference the cache is held to."""

    wants_pixels = True

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.tally = teacher, Tally()

    def logits(
        self, rows: Tensor, view: int | Tensor, augmented: bool, pixels: Tensor | None, *, until: float | None = None
    ) -> Tensor:
        """The teacher's logits on the rendered views, float32 [B, C]. Only `pixels` (uint8 [B, C, H, W]) matters here."""
        assert pixels is not None
        self.tally.asked(len(rows))
        return self.teacher.logits(pixels)

    def answers(
        self, rows: Tensor, view: int | Tensor, augmented: bool, pixels: Tensor | None, *, until: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same with the pooled vectors, float32 [B, D], beside them."""
        assert pixels is not None
        self.tally.asked(len(rows))
        return self.teacher.answers(pixels)

    def features(self, pixels: Tensor) -> Features:
        return self.teacher.features(pixels)
