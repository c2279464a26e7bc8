"""What a trial tells while it runs, and when it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Progress", "Report", "Throttle"]


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


@dataclass(frozen=True)
class Progress:
    """How far a training is, told every few seconds and at each look.

    val_top1: of the last look; None before the first one, and where nothing is held out. seconds_left: at the speed of this
    process; None before that is known. look: whether a Report was made at this point.
    """

    epochs: float
    total_epochs: float
    val_top1: float | None = None
    seconds_left: float | None = None
    look: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Throttle:
    """Which progress of a training is worth a line in a log: each look, and in between one every `every` seconds at most, after
    at least a twentieth of the training."""

    def __init__(self, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.every, self.clock = every, clock
        self._last = (clock(), -1.0)  # when the last line was printed, and the share that was done by then

    def due(self, epochs: float, total_epochs: float, *, look: bool) -> bool:
        share, (then, before) = epochs / total_epochs if total_epochs else 0.0, self._last
        if not look and (self.clock() - then < self.every or share - before < 0.05):
            return False
        self._last = (self.clock(), share)
        return True
