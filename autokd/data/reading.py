"""What reading a part of a data set told beside its pixels: which files were faulty, passed over, or look odd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from autokd.errors import AutokdError, readable

__all__ = ["Faulty", "FaultyImages", "Finding", "Look", "PassedOver", "Reading", "Seen", "listed"]

_ROWS = 1000  # so many rows of each finding are kept by number
_SHOWN = 20  # faulty files that a message names; the report holds all


@dataclass(frozen=True)
class Faulty:
    """An image that cannot be read: where it stands, why, and the way out."""

    file: str
    reason: str
    fix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", readable(self.file))
        object.__setattr__(self, "reason", readable(self.reason))


@dataclass(frozen=True)
class PassedOver:
    """Files and folders that are not read, and why. suffixes: how many of each, where the suffix is the reason."""

    why: str
    count: int
    examples: tuple[str, ...]
    suffixes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong with data. stop: nothing sensible can come of it; the others are told."""

    what: str
    fix: str = ""
    where: str = ""
    stop: bool = False

    def error(self) -> AutokdError:
        return AutokdError(self.what, where=self.where, fix=self.fix)


@dataclass(frozen=True)
class Look:
    """What is odd about pixels. Rows are positions in the part; of many, the first thousand.

    low, high: the least and the greatest grey level of all. constant: rows of one value alone. copies: (row, an earlier row of
    the same pixels). counts: how many of both there are.
    """

    low: int
    high: int
    constant: tuple[int, ...]
    copies: tuple[tuple[int, int], ...]
    counts: Mapping[str, int]


class Seen:
    """Looks at images one after another. row: the position of each in its part."""

    def __init__(self) -> None:
        self._low, self._high = 255, 0
        self._constant: list[int] = []
        self._copies: list[tuple[int, int]] = []
        self._counts = {"constant": 0, "copies": 0}
        self._first: dict[bytes, int] = {}

    def add(self, row: int, pixels: np.ndarray) -> None:
        """pixels: uint8 [C, H, W], contiguous."""
        low, high = int(pixels.min()), int(pixels.max())
        self._low, self._high = min(self._low, low), max(self._high, high)
        if low == high:
            self._note("constant", self._constant, row)
        first = self._first.setdefault(blake2b(pixels.data, digest_size=12).digest(), row)
        if first != row:
            self._note("copies", self._copies, (row, first))

    def look(self) -> Look:
        return Look(self._low, self._high, tuple(self._constant), tuple(self._copies), dict(self._counts))

    def _note(self, word: str, found: list[Any], one: Any) -> None:
        self._counts[word] += 1
        if len(found) < _ROWS:
            found.append(one)


@dataclass(frozen=True, eq=False)
class Reading:
    """What is known of a part that was read.

    labels: int64 [rows], of every image of the part, also of those that cannot be read (-1: unknown). where: the name of the
    image at a row, for messages. validation: bool [rows], the rows that the set itself gives to validation, or None. kinds: how
    many files of each suffix (of a table: of each kind of image). hint: the way out where there is one class alone. findings:
    what looks wrong with how the files lie.
    """

    labels: np.ndarray
    where: Callable[[int], str]
    faulty: tuple[Faulty, ...] = ()
    look: Look | None = None
    validation: np.ndarray | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    hint: str = ""
    findings: tuple[Finding, ...] = ()


class FaultyImages(AutokdError):
    """Every image of a part that cannot be read, told at once. count: the images of the part."""

    def __init__(self, faulty: Sequence[Faulty], count: int, *, part: str = "", fix: str = "") -> None:
        self.faulty, self.count, self.part = tuple(faulty), count, part
        first = self.faulty[0]
        ways = [*dict.fromkeys(one.fix for one in self.faulty if one.fix), *([fix] if fix else [])]
        if len(self.faulty) == 1:
            super().__init__(first.reason, where=first.file, fix="; ".join(ways))
            return
        what = f"{len(self.faulty):,} of {count:,} images{part and f' of the {part} part'} cannot be read"
        super().__init__(f"{what}\n{listed(self.faulty)}", fix="; ".join(ways))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (self.faulty, self.count, self.part, self.what, self.where, self.fix))


def _again(faulty: tuple[Faulty, ...], count: int, part: str, what: str, where: str, fix: str) -> FaultyImages:
    made = FaultyImages(faulty, count, part=part)
    made.what, made.where, made.fix = what, where, fix
    return made


def listed(faulty: Sequence[Faulty], most: int = _SHOWN) -> str:
    """A line for each faulty image, of at most `most`."""
    lines = [f"  {one.file}: {one.reason.removeprefix('the image cannot be read: ')}" for one in faulty[:most]]
    return "\n".join([*lines, *([f"  … and {len(faulty) - most:,} more"] if len(faulty) > most else [])])
