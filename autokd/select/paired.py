"""Two ways of training compared on the same validation images and with the same seeds.

What differs from one seed to the next and what differs from one image to the next are told apart (a two-way layout without
replication), since both were drawn: another seed, and other images, would have given another difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autokd.select.interval import difference_interval, share_interval

__all__ = ["Paired", "Spread", "accuracy", "paired", "pooled_spread"]

DRAWS = 4_000


@dataclass(frozen=True)
class Spread:
    """How much the difference of two accuracies varies from seed to seed: a variance, and how sure that is."""

    variance: float
    df: int


@dataclass(frozen=True)
class Paired:
    """The mean difference of two accuracies (first less second, shares of 1), its interval and its standard error.

    p: one-sided, that the first is not better. With one seed the interval speaks of the images alone, and p is NaN.
    """

    mean: float
    low: float
    high: float
    se: float
    p: float
    seeds: int
    images: int


def paired(
    first: np.ndarray,
    second: np.ndarray,
    *,
    level: float = 0.95,
    spread: Spread | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Paired:
    """A paired bootstrap of the difference of two accuracies.

    first, second: bool [S, N], whether each of S trainings (the same seeds) is right on each of N images (the same images).
    A draw redraws the images with replacement. A handful of seeds cannot be redrawn in that way (of two, every other draw
    would hold one of them twice, and the interval would be far too narrow): what they add is drawn from Student's t, scaled
    by their own standard error. Chance that is neither the image's nor the seed's is counted once, with the seeds; theirs is
    never taken to be less than that chance alone makes it, since few seeds agree to the image now and then.

    Arms that differ on few images leave a bootstrap next to nothing to redraw. The interval is therefore at least as wide as the
    score interval (`difference_interval`), and p at least McNemar's with a continuity correction, of as many images as account
    for what differs between images.

    spread: how much seeds vary, where more is known of it than these two arms tell; it widens the interval or leaves it, and
    its degrees of freedom take the place of S - 1. Raises ValueError where the arms do not match.
    Source (p): Edwards, "Note on the correction for continuity in testing the significance of the difference between correlated
    proportions", Psychometrika 13 (1948).
    """
    ones, others = np.asarray(first, dtype=np.int8), np.asarray(second, dtype=np.int8)
    if ones.shape != others.shape or ones.ndim != 2 or ones.size == 0:
        raise ValueError(f"needs two of the same shape [seeds, images], not {ones.shape} and {others.shape}")
    found = _drawn(ones - others, spread, draws, seed)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(found.draws, ends)
    ahead, behind = _apart(found)
    least, most = difference_interval(ahead, behind, found.images, NormalDist().inv_cdf(ends[1]))
    p = math.nan
    if found.seeds > 1:
        p = max((1 + int((found.draws <= 1e-15).sum())) / (1 + draws), _mcnemar(ahead, behind))
    return Paired(found.mean, min(float(low), least), max(float(high), most), found.se, p, found.seeds, found.images)


def accuracy(correct: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """The mean of one way of training, and its 95 % interval, made as that of `paired`; no narrower than `share_interval`.

    correct: bool [S, N]. Raises ValueError where there is nothing in it.
    """
    answers = np.asarray(correct, dtype=np.int8)
    if answers.ndim != 2 or answers.size == 0:
        raise ValueError(f"needs [seeds, images] with something in it, not {answers.shape}")
    found = _drawn(answers, None, draws, seed)
    low, high = np.quantile(found.draws, [0.025, 0.975])
    least, most = share_interval(found.mean, found.images)
    return found.mean, max(0.0, min(float(low), least)), min(1.0, max(float(high), most))


@dataclass(frozen=True)
class _Drawn:
    """Drawn means, and the variances of the mean that images and seeds make."""

    draws: np.ndarray
    mean: float
    by_images: float
    by_seeds: float
    seeds: int
    images: int

    @property
    def se(self) -> float:
        return math.sqrt(self.by_images + self.by_seeds)


def _drawn(apart: np.ndarray, spread: Spread | None, draws: int, seed: int) -> _Drawn:
    """apart: int8 [S, N], -1, 0 or 1."""
    count, images = apart.shape
    sums = apart.sum(axis=0, dtype=np.int64)  # [N]
    mean = float(sums.sum()) / apart.size
    rows = apart.mean(axis=1, dtype=np.float64)  # [S]
    between, chance = _mean_squares(apart, sums)
    variance = max(float(rows.var(ddof=1)) if count > 1 else 0.0, chance / images)
    df = count - 1
    if spread is not None and count > 1:
        variance, df = max(variance, spread.variance), spread.df
    by_images = max(0.0, between - chance) / apart.size if count > 1 else float(sums.var()) / images
    by_seeds = variance / count if count > 1 else 0.0
    random = np.random.default_rng(seed)
    shrink = math.sqrt(max(0.0, 1 - chance / between)) if count > 1 and between > 0 else 1.0
    drawn = mean + shrink * (_redrawn(sums, count, draws, random) - mean)
    if by_seeds > 0:
        drawn = drawn + math.sqrt(by_seeds) * random.standard_t(df, draws)
    return _Drawn(drawn, mean, by_images, by_seeds, count, images)


def pooled_spread(arms: Sequence[np.ndarray]) -> Spread | None:
    """How much the difference of any two of these arms varies from seed to seed, as if it were alike for all of them.

    arms: bool [S, N] each. Two seeds say little of two arms, and more of four. None where there is nothing to learn it from.
    """
    means = np.array([np.asarray(arm).mean(axis=1, dtype=np.float64) for arm in arms])  # [K, S]
    if len(arms) < 2 or means.shape[1] < 2:
        return None
    left = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0, keepdims=True) + means.mean()
    df = (means.shape[0] - 1) * (means.shape[1] - 1)
    return Spread(2 * float((left**2).sum()) / df, df)


def _apart(found: _Drawn) -> tuple[float, float]:
    """On how many images the first, and the second, would be the only one right to give this mean and variance between images.

    Of one seed these are the counts themselves. Of several they leave out what differs from seed to seed on an image.
    """
    between = found.by_images * (found.images - 1 if found.seeds > 1 else found.images)
    squares = max(between + found.mean**2, abs(found.mean))
    return found.images * (squares + found.mean) / 2, found.images * (squares - found.mean) / 2


def _mcnemar(ahead: float, behind: float) -> float:
    """One-sided, that the first is not better: with no image apart there is nothing to say."""
    if ahead + behind == 0:
        return 1.0
    return NormalDist().cdf((1 + behind - ahead) / math.sqrt(ahead + behind))


def _mean_squares(apart: np.ndarray, sums: np.ndarray) -> tuple[float, float]:
    """The mean squares between images, and of what is neither the image's nor the seed's; (0, 0) of a single seed or image.

    In whole numbers to the last division, so that the order of the images cannot matter. sums: [N], over seeds.
    """
    count, images = apart.shape
    if count < 2 or images < 2:
        return 0.0, 0.0
    by_seed = [int(one) for one in apart.sum(axis=1, dtype=np.int64)]
    whole = sum(by_seed) ** 2
    of_images = images * int((sums**2).sum()) - whole  # this and the next two times S x N
    of_seeds = count * sum(one**2 for one in by_seed) - whole
    total = apart.size * int(np.count_nonzero(apart)) - whole  # each is -1, 0 or 1
    left = total - of_images - of_seeds
    return of_images / (apart.size * (images - 1)), left / (apart.size * (count - 1) * (images - 1))


def _redrawn(sums: np.ndarray, count: int, draws: int, random: np.random.Generator) -> np.ndarray:
    """Means [draws] over images drawn with replacement. An image's sum over seeds takes 2 S + 1 values at the most, so that
    counting how often each value is drawn is the same as drawing images, and much faster."""
    values, times = np.unique(sums, return_counts=True)
    taken = random.multinomial(len(sums), times / len(sums), size=draws)  # [draws, values]
    return taken @ (values / count) / len(sums)
