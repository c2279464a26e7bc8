"""What scores over a few seeds allow to be said: intervals, paired differences, and a verdict in plain words.

Pure statistics on plain numbers. Student's t throughout, since a handful of seeds is all that anyone trains; differences are
taken seed by seed, since arms share their seeds; Holm's correction where several comparisons are made of one finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "NOT_SHOWN",
    "OPPOSITE",
    "SHOWN",
    "Contrast",
    "Correlation",
    "Estimate",
    "Verdict",
    "compare",
    "estimate",
    "holm",
    "overall",
    "quantile",
    "ranks",
    "spearman",
    "tail",
]

SHOWN, NOT_SHOWN, OPPOSITE = "shown", "not shown at this size", "the opposite"
_EXACT = 8  # up to so many values every permutation is counted


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval. `low` and `high` are NaN where one value, which has no spread, is all there is."""

    mean: float
    low: float
    high: float
    count: int
    sd: float = math.nan

    @property
    def margin(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Contrast:
    """A comparison stated before the scores are known: sum of weight x score over `terms`, formed within each seed.

    claim: +1 where it is claimed to be above zero, -1 where below. "a against b" is (("a", 1.0), ("b", -1.0)).
    """

    label: str
    terms: tuple[tuple[str, float], ...]
    claim: int = 1


@dataclass(frozen=True)
class Verdict:
    """`p` is two-sided and uncorrected, `adjusted` is Holm's within the finding; both NaN with fewer than two seeds."""

    label: str
    difference: Estimate
    p: float
    adjusted: float
    word: str


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of `count` pairs; `p`: the share of permutations at least as far from zero."""

    rho: float
    p: float
    count: int


def tail(t: float, df: int) -> float:
    """P(|T| > |t|) for Student's T with `df` degrees of freedom, a whole number from 1 up.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4 (finite sums).
    """
    if df < 1:
        raise ValueError(f"degrees of freedom are a whole number from 1 up, not {df}")
    if math.isinf(t):
        return 0.0
    angle = math.atan2(abs(t), math.sqrt(df))
    cosine = math.cos(angle)
    term = cosine if df % 2 else 1.0
    total = 0.0
    for k in range(2 + df % 2, df + 2, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    if df % 2:
        inside = 2 / math.pi * (angle + (math.sin(angle) * total if df > 1 else 0.0))
    else:
        inside = math.sin(angle) * total
    return min(1.0, max(0.0, 1.0 - inside))


def quantile(level: float, df: int) -> float:
    """The t with P(|T| <= t) = level."""
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, not {level}")
    low, high = 0.0, 1.0
    while tail(high, df) > 1 - level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, df) > 1 - level else (low, middle)
    return (low + high) / 2


def estimate(values: Iterable[float], *, level: float = 0.95, least: float = 0.0) -> Estimate:
    """Mean and interval of scores of several seeds.

    least: the smallest standard deviation that is believed. Accuracies are counts of images, and two or three seeds agree to
    the image now and then; an interval of no width would call any difference certain.
    Raises ValueError where there is no value.
    """
    found = np.asarray(list(values), dtype=np.float64)
    if not found.size:
        raise ValueError("no value to estimate from")
    mean = float(found.mean())
    if found.size == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    sd = max(float(found.std(ddof=1)), least)
    margin = quantile(level, found.size - 1) * sd / math.sqrt(found.size)
    return Estimate(mean, mean - margin, mean + margin, int(found.size), sd)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: each may be compared with the level itself. NaN stays NaN, and counts for none.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted((p, i) for i, p in enumerate(ps) if not math.isnan(p))
    adjusted = [math.nan] * len(ps)
    largest = 0.0
    for step, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - step) * p))
        adjusted[i] = largest
    return adjusted


def compare(
    scores: Mapping[str, Mapping[int, float]],
    contrasts: Sequence[Contrast],
    *,
    level: float = 0.95,
    least: float = 0.0,
) -> list[Verdict]:
    """A verdict for each contrast of one finding. scores: arm -> {seed: score}; a seed counts where every arm has it.

    A contrast with an arm that has no score at all in common is left out. least: as in `estimate`.
    """
    made: list[tuple[Contrast, Estimate, float]] = []
    for contrast in contrasts:
        seeds = set.intersection(*(set(scores.get(arm, {})) for arm, _ in contrast.terms))
        if not seeds:
            continue
        values = [sum(weight * scores[arm][seed] for arm, weight in contrast.terms) for seed in sorted(seeds)]
        found = estimate(values, level=level, least=least)
        p = math.nan
        if found.count > 1:
            error = found.sd / math.sqrt(found.count)
            p = tail(found.mean / error, found.count - 1) if error > 0 else float(found.mean == 0)
        made.append((contrast, found, p))
    return [
        Verdict(contrast.label, found, p, adjusted, _word(found.mean, adjusted, contrast.claim, 1 - level))
        for (contrast, found, p), adjusted in zip(made, holm([p for *_, p in made]), strict=True)
    ]


def _word(mean: float, adjusted: float, claim: int, threshold: float) -> str:
    if not adjusted < threshold:  # NaN is not
        return NOT_SHOWN
    return SHOWN if mean * claim > 0 else OPPOSITE


def overall(verdicts: Sequence[Verdict]) -> str:
    """One word for a claim of several parts: shown where every part is, the opposite where one part is."""
    words = [verdict.word for verdict in verdicts]
    if OPPOSITE in words:
        return OPPOSITE
    return SHOWN if words and all(word == SHOWN for word in words) else NOT_SHOWN


def ranks(values: Iterable[float]) -> np.ndarray:
    """1 for the smallest; equal values share the mean of their ranks. float64 [N]."""
    found = np.asarray(list(values), dtype=np.float64)
    _, group, sizes = np.unique(found, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return (last - (sizes - 1) / 2)[group]


def spearman(one: Sequence[float], other: Sequence[float], *, draws: int = 20000, seed: int = 0) -> Correlation:
    """The rank correlation of pairs, with the p value of a permutation test (exact up to eight pairs).

    NaN where there are fewer than three pairs or one side is constant.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} values against {len(other)}")
    count = len(one)
    a, b = ranks(one), ranks(other)
    if count < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(math.nan, math.nan, count)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    rho = float(a @ b) / scale
    if count <= _EXACT:
        from itertools import permutations

        orders = np.array(list(permutations(range(count))))
    else:
        random = np.random.default_rng(seed)
        orders = np.argsort(random.random((draws, count)), axis=1)
    others = b[orders] @ a / scale
    extreme = int((np.abs(others) >= abs(rho) - 1e-12).sum())
    p = extreme / len(orders) if count <= _EXACT else (extreme + 1) / (len(orders) + 1)
    return Correlation(rho, p, count)
