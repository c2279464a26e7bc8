"""The warm-up of a distillation loss: it rises in steps, one an epoch."""

from __future__ import annotations

import math


def risen(epoch: float, warmup: float) -> float:
    """min(1, n / warmup) in the n-th epoch, counted from 1 and constant within an epoch; 1 where there is no warm-up.

    epoch: what lies behind, a fraction; warmup: in epochs, 0 for none.
    """
    return min(1.0, (math.floor(epoch) + 1) / warmup) if warmup else 1.0
