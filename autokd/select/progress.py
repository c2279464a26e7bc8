"""How good a search was at each moment: the front in one number, and what a score of a few hundred images is worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

__all__ = ["correlation_interval", "front_height", "stairs"]


def stairs(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, score) pairs that no other equals or beats in score at no more cost, the cheapest first."""
    found: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or score > found[-1][1]:
            found.append((cost, score))
    return found


def front_height(points: Sequence[tuple[float, float]], low: float, high: float) -> float:
    """The mean height of the front over the logarithm of the cost, from `low` to `high`.

    At each cost the front is as high as the best score at no more than that cost, and zero where there is none: the
    hypervolume above a score of zero, divided by the width of the axis, so that it has the score's own unit.
    Raises ValueError unless 0 < low <= high.
    """
    if not 0 < low <= high:
        raise ValueError(f"costs run from above 0 upwards, not from {low} to {high}")
    if low == high:
        return max((score for cost, score in points if cost <= low), default=0.0)
    total = 0.0
    steps = [(max(cost, low), score) for cost, score in stairs(points) if cost < high]
    ends = [*(cost for cost, _ in steps[1:]), high]
    for (cost, score), end in zip(steps, ends):
        total += score * math.log(end / cost)
    return total / math.log(high / low)


def correlation_interval(rho: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a rank correlation of `count` pairs; NaN for fewer than five pairs.

    Source: Fisher's transform with the standard error of Bonett and Wright, Psychometrika 65 (2000), equation 4.
    """
    if count < 5 or math.isnan(rho):
        return math.nan, math.nan
    if abs(rho) >= 1:
        rho = math.copysign(1 - 1 / count**2, rho)  # a transform that ends; a perfect order of few pairs is no certainty
    middle, error = math.atanh(rho), math.sqrt((1 + rho * rho / 2) / (count - 3))
    return math.tanh(middle - z * error), math.tanh(middle + z * error)
