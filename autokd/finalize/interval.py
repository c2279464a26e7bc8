"""How sure a test accuracy is: a bootstrap over the test images and over the trainings."""

from __future__ import annotations

import numpy as np

__all__ = ["interval"]


def interval(correct: np.ndarray, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The percentile interval of the mean accuracy. correct: bool [S, N], seeds by test images. Returns (low, high), shares.

    Each draw takes S seeds and N images with replacement, each independently of the other, since every training is tested
    on the same images. With both redrawn the interval is a little too wide rather than too narrow; with one seed it speaks
    of the images alone. Raises ValueError for an empty array.
    Source: Owen, "The pigeonhole bootstrap", arXiv:0712.1111.
    """
    correct = np.asarray(correct, dtype=np.float64)
    if correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"needs [seeds, images] with something in it, not {correct.shape}")
    seeds, images = correct.shape
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for number in range(draws):
        times = np.bincount(random.integers(0, seeds, seeds), minlength=seeds)  # [S], how often each seed was taken
        each = times @ correct / seeds  # [N], the chosen seeds' share of right answers for each image
        means[number] = each[random.integers(0, images, images)].mean()
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
