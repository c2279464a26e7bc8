"""95 % intervals of an accuracy, and of the difference of two accuracies on the same images.

A bootstrap redraws what was seen. Where nearly every image is right (or nearly every pair of answers agrees) it has next to
nothing to redraw, and its interval is far too narrow: 50 of 50 would be 100 % for certain. Score intervals do not have this
fault; no interval here is narrower than the score interval of as many images.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Z", "answers_interval", "difference_interval", "share_interval", "wilson"]

Z = 1.959963984540054  # 95 %, two-sided
_POISSON = (0.0, 0.051293, 0.355362, 0.817691)  # the mean for which a count of at least 0, 1, 2, 3 has a probability of 5 %


def wilson(share: float, count: int, z: float = Z) -> tuple[float, float]:
    """The score interval of a share of `count` images; 0 to 1. Raises ValueError without images.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if count < 1:
        raise ValueError("an interval needs an image")
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    margin = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, min(share, middle - margin)), min(1.0, max(share, middle + margin))


def share_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` images, such as an accuracy: Wilson's, wider one to three images from the edge.

    Wilson's interval of 399 of 400 misses a true 99.96 %, so that it holds the truth in 84 % of the cases there; with the wider
    end it is 91 % at the least (of 50 to 400 images). A share that is a mean over seeds need not be a whole number of images.
    Source: Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16 (2001), 4.1.1.
    """
    low, high = wilson(share, count)
    right, wrong = count * share, count * (1 - share)
    if wrong <= 3:
        high = max(high, 1 - float(np.interp(wrong, range(4), _POISSON)) / count)
    if right <= 3:
        low = min(low, float(np.interp(right, range(4), _POISSON)) / count)
    return low, high


def answers_interval(correct: np.ndarray, *, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean accuracy, shares. correct: bool [S, N], seeds by test images.

    A percentile bootstrap: each draw takes S seeds and N images with replacement, independently, since every training is tested
    on the same images. It is widened to `share_interval` of the mean of N images, which it does not reach near the edge. One
    seed speaks of the images alone, and two say little of other seeds.
    Raises ValueError for an empty array. Source: Owen, "The pigeonhole bootstrap", arXiv:0712.1111.
    """
    correct = np.asarray(correct, dtype=bool)
    if correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"needs [seeds, images] with something in it, not {correct.shape}")
    seeds, images = correct.shape
    random = np.random.default_rng(seed)
    kinds, times = np.unique(correct, axis=1, return_counts=True)  # [S, K]: images that all seeds answer alike are one kind
    taken_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)  # [draws, S]
    taken_images = random.multinomial(images, times / images, size=draws)  # [draws, K]
    means = ((taken_seeds @ kinds) * taken_images).sum(axis=1) / correct.size
    low, high = np.quantile(means, [0.025, 0.975])
    least, most = share_interval(float(correct.mean()), images)
    return min(float(low), least), max(float(high), most)


def difference_interval(ahead: float, behind: float, images: int, z: float = Z) -> tuple[float, float]:
    """The score interval of a difference of two accuracies on the same images, (ahead - behind) / images.

    ahead, behind: the number of images on which only the first is right, and only the second (fractions where several seeds
    are averaged). Where both are zero it ends at -z^2 / (N + z^2) and z^2 / (N + z^2): how many images agree bounds the
    difference of others. Raises ValueError without images.
    Source: Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17 (1998).
    """
    if images < 1:
        raise ValueError("an interval needs an image")
    found = (ahead - behind) / images
    return _end(ahead, behind, images, z, -1.0, found), _end(ahead, behind, images, z, 1.0, found)


def _end(ahead: float, behind: float, images: int, z: float, far: float, near: float) -> float:
    """Between `near`, the difference itself, and `far`, -1 or 1: where the score statistic is z in size."""
    for _ in range(60):
        middle = (near + far) / 2
        if _score(ahead, behind, images, middle) ** 2 < z * z:
            near = middle
        else:
            far = middle
    return near


def _score(ahead: float, behind: float, images: int, difference: float) -> float:
    """Tango's statistic that the true difference is this one."""
    b = (2 * images - ahead + behind) * difference - ahead - behind
    c = -behind * difference * (1 - difference)
    only_second = (math.sqrt(max(0.0, b * b - 8 * images * c)) - b) / (4 * images)  # its likeliest probability
    variance = images * (2 * only_second + difference * (1 - difference))
    gap = ahead - behind - images * difference
    return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0
