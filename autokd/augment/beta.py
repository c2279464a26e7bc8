"""Shares from a symmetric Beta distribution, by inverting its distribution function: one uniform number gives one share."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["quantile"]

_POINTS = 8193


def quantile(u: np.ndarray, alpha: float) -> np.ndarray:
    """The u-quantile of Beta(alpha, alpha): u float64 in [0, 1], any shape; to within 1e-6."""
    if alpha == 1:
        return u
    mass, root = _lower_half(float(alpha))
    lower = np.minimum(u, 1 - u)  # the density is symmetric about one half
    value = np.interp(lower, mass, root) ** (1 / alpha)
    return np.where(u <= 0.5, value, 1 - value)


@lru_cache(maxsize=64)
def _lower_half(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The distribution function from 0 to one half, over s = t^alpha.

    In s the density (1 - s^(1/alpha))^(alpha - 1) is smooth even where the one in t has a pole at 0.
    """
    root = np.linspace(0, 0.5**alpha, _POINTS)
    density = (1 - root ** (1 / alpha)) ** (alpha - 1)
    middle = (1 - ((root[1:] + root[:-1]) / 2) ** (1 / alpha)) ** (alpha - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + 4 * middle + density[:-1]) / 6)])  # Simpson's rule
    return mass / mass[-1] * 0.5, root
