"""What a trial tells while it runs, and when it has ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """One look at a trial.

    images: views the student has trained on. epochs: images / training images. passes: how often each original was read.
    val_top1: share of the validation split, scored with the moving average of the weights where there is one; this and val_loss
    are None where nothing is held out. Losses are in nats. seconds: training and scoring since the trial began, over all its
    resumes; teacher_seconds: the part of it that waited for the teacher. signal_hits, signal_misses: the teacher's answers so
    far that lay in kept files, and those that were computed for this trial (autokd.signals.tally). precision: what it was
    trained in, float32, tf32 or bf16.
    """

    images: int
    epochs: float
    passes: float
    val_top1: float | None
    val_loss: float | None
    train_loss: float
    lr: float
    seconds: float
    teacher_seconds: float = 0.0
    signal_hits: int = 0
    signal_misses: int = 0
    precision: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
