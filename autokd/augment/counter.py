"""Random numbers by counter: what comes out depends on what it is for, and on nothing that was drawn before.

SplitMix64 (the finaliser of "Fast splittable pseudorandom number generators", Steele, Lea and Flood, OOPSLA 2014), on NumPy's
64-bit integers, whose wrap-around is the same everywhere. The numbers are few (some dozens an image), so they are made on the CPU
whatever the images lie on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = ["STEP", "keys", "mixed", "splitmix", "uniform"]

STEP = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd


def splitmix(state: np.ndarray) -> np.ndarray:
    """The mixing function: a bijection of 64-bit integers, uint64 of any shape. It overwrites its argument."""
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def keys(seed: int, index: np.ndarray, view: np.ndarray | int) -> np.ndarray:
    """One 64-bit key for each (seed, image, view): index and view integers [B] (view may be one number). Returns uint64 [B]."""
    key: np.ndarray | int = mixed(int(seed) + STEP)
    for number, part in enumerate((view, index), 2):
        own = number * STEP % 2**64  # without a constant of its own, seed 1 view 2 would be seed 2 view 1
        if isinstance(part, np.ndarray):
            one = splitmix(part.astype(np.int64).view(np.uint64).reshape(-1) + np.uint64(own))
            key = splitmix(one ^ (np.uint64(key) if isinstance(key, int) else key))
        else:
            assert isinstance(key, int)
            key = mixed(key ^ mixed(int(part) + own))
    assert isinstance(key, np.ndarray)
    return key


def mixed(state: int) -> int:
    """`splitmix` of one integer, taken modulo 2^64; for one, Python is quicker than NumPy."""
    state %= 2**64
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


def uniform(key: np.ndarray, streams: Sequence[int]) -> np.ndarray:
    """Numbers in [0, 1) with 53 random bits: key uint64 [B], K stream numbers. Returns float64 [B, K].

    Stream k of a key is the (k + 1)-th output of the SplitMix64 generator seeded with that key.
    """
    drawn = splitmix(key[:, None] + _steps(tuple(streams)))
    drawn >>= np.uint64(11)
    return drawn * 2.0**-53


@lru_cache(maxsize=256)
def _steps(streams: tuple[int, ...]) -> np.ndarray:
    return np.array([(k + 1) * STEP % 2**64 for k in streams], dtype=np.uint64)
