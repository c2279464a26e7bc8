"""The seeds of a run, derived in one place: each purpose has a range of its own, so that no two trainings share a seed by chance.

A seed is (purpose + 1) x 2^32 + a place, and the place is a one-to-one mapping of the training's number that the space's seed
chooses. Two purposes never meet, whatever the space's seed; two trainings of one purpose never meet within a run; and seeds below
2^32, which a user writes (of a teacher, say), meet none of them.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

__all__ = ["LARGEST", "PURPOSES", "SCHEME", "derived", "proposal", "scheme_of"]

LARGEST = 2**63 - 1  # of a seed that a user writes: tables and generators hold no larger one
SCHEME = 1  # in the ledger as `seeds`; runs of versions before it have none
PURPOSES = ("search", "random", "confirm", "finalize", "study", "teacher")
_RANGE = 2**32


def derived(seed: int, purpose: str, number: int) -> int:
    """The seed of training `number` of a purpose. seed: the space's, or a teacher's for copies of that teacher."""
    if not 0 <= number < _RANGE:
        raise ValueError(f"training {number} of {purpose!r} is not one of 2^32")
    start = int.from_bytes(blake2b(str(seed).encode(), digest_size=4).digest())
    return (PURPOSES.index(purpose) + 1) * _RANGE + _mixed((start + number) % _RANGE)


def proposal(*parts: Any) -> int:
    """The seed of the sampler at one proposal, 32 bits. parts: the space's seed, the budget, the number of the proposal."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=4).digest())


def scheme_of(events: list[dict[str, Any]]) -> int:
    """How a run derives its seeds, by its first event: SCHEME for a new one, 0 for runs of versions that counted upwards."""
    return SCHEME if not events else int(events[0].get("seeds", 0))


def _mixed(number: int) -> int:
    """A bijection of 32-bit integers. Source: the finaliser of MurmurHash3."""
    number = (number ^ number >> 16) * 0x85EBCA6B % _RANGE
    number = (number ^ number >> 13) * 0xC2B2AE35 % _RANGE
    return number ^ number >> 16
