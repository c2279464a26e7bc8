"""The learning rate at any moment, as a pure function of the share of the training that is done."""

from __future__ import annotations

import math

from autokd.config.trial import RecipeConfig

__all__ = ["SCHEDULES", "learning_rate"]

SCHEDULES = ("cosine", "step", "constant", "trapezoid")


def learning_rate(recipe: RecipeConfig, done: float) -> float:
    """The rate when a share `done` in [0, 1] of the training lies behind.

    cosine: half a cosine from lr to 0 (Loshchilov and Hutter, arXiv:1608.03983, without restarts). step: times `decay`
    after each milestone. trapezoid: constant, then a straight line to 0 over the last `cooldown`. All rise linearly from 0
    over the first `warmup`. Written in shares, not epochs, so that a longer training keeps the shape.
    """
    if recipe.warmup > 0 and done < recipe.warmup:
        return recipe.lr * done / recipe.warmup
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        return recipe.lr * recipe.decay ** sum(done >= milestone for milestone in recipe.milestones)
    if recipe.schedule == "trapezoid":
        return recipe.lr * min(1.0, max(0.0, 1 - done) / recipe.cooldown) if recipe.cooldown > 0 else recipe.lr
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup)))
    raise ValueError(f"no schedule {recipe.schedule!r}: {', '.join(SCHEDULES)}")
