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
    lower = np.minimum(u, 1 - u)  # the density is symmetric about one half
    if alpha > 2:
        value = np.interp(lower, *_peak(float(alpha)))
    else:
        value = np.interp(lower, *_pole(float(alpha))) ** (1 / alpha)
    return np.where(u <= 0.5, value, 1 - value)


@lru_cache(maxsize=64)
def _pole(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The distribution function from 0 to one half, over s = t^alpha: (mass, s).

    In s the density (1 - s^(1/alpha))^(alpha - 1) is smooth even where the one in t has a pole at 0.
    """
    root = np.linspace(0, 0.5**alpha, 2 * _POINTS - 1)
    return _mass((1 - root ** (1 / alpha)) ** (alpha - 1)), root[::2]


@lru_cache(maxsize=64)
def _peak(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The distribution function from twelve standard deviations below one half (0 at least) to one half: (mass, t)."""
    t = np.linspace(max(0.0, 0.5 - 12 / np.sqrt(8 * alpha + 4)), 0.5, 2 * _POINTS - 1)
    return _mass((4 * t * (1 - t)) ** (alpha - 1)), t[::2]


def _mass(density: np.ndarray) -> np.ndarray:
    """Simpson's rule on cells of two steps, scaled to end at one half."""
    mass = np.concatenate([[0.0], np.cumsum(density[:-1:2] + 4 * density[1::2] + density[2::2])])
    return mass / mass[-1] * 0.5
