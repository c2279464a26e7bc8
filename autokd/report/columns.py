"""Columns of a table: which may be left out where there is little room, and which may be narrowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LIMITS", "MACS", "METHOD", "PARAMS", "POLICY", "STUDENT", "TEACHER", "Column", "Fit", "fit", "folded"]

_SPACE = 2  # between two columns
_FLOOR, _CUT = 12, 16  # characters that a column keeps which is folded, or cut
_LONGEST = 24  # a longer word is broken where there is no room for it


class Column(str):
    """The heading of a column. A plain str as a heading: always shown, never narrowed (ids, states, scores).

    drop: 0 is always shown; of the others, the highest is left out first. narrow: "fold" where its cells are prose that may
    take several lines, "cut" where they may be shortened (only in a table that is redrawn while it is watched).
    """

    drop: int
    narrow: str

    def __new__(cls, title: str, drop: int = 0, narrow: str = "") -> Column:
        made = super().__new__(cls, title)
        made.drop, made.narrow = drop, narrow
        return made


def folded(title: str, drop: int = 0) -> Column:
    return Column(title, drop, "fold")


# of the tables that describe trials
STUDENT, METHOD, LIMITS, TEACHER = folded("student"), folded("method", 2), folded("limits", 3), folded("teacher", 4)
POLICY, PARAMS, MACS = folded("policy", 5), Column("params", 6), Column("MACs", 7)


@dataclass(frozen=True)
class Fit:
    """shown: numbers of the columns that are shown. widths: of these. dropped: headings of the others. whole: it fits."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    dropped: tuple[str, ...]
    whole: bool


def fit(columns: Sequence[str], lengths: Sequence[Sequence[int]], words: Sequence[int], room: int) -> Fit:
    """Which columns a table of `room` characters shows, and how wide each is.

    lengths: of the cells of each column, its heading among them. words: the longest word of each column.
    Columns are narrowed first, then left out by their priority.
    """
    natural = [max(some) for some in lengths]
    floor = [_floor(column, width, word) for column, width, word in zip(columns, natural, words)]
    kept = list(range(len(columns)))
    while _total(floor, kept) > room:
        most = max((_drop(columns[number]) for number in kept), default=0)
        if not most:
            break
        kept.remove(max(number for number in kept if _drop(columns[number]) == most))
    widths = {number: natural[number] for number in kept}
    while (over := _total(widths, kept) - room) > 0:
        wide = [number for number in kept if widths[number] > floor[number]]
        if not wide:
            break
        widest, *rest = sorted(wide, key=lambda number: -widths[number])
        next_one = widths[rest[0]] if rest else 0
        step = max(1, min(over, widths[widest] - next_one))
        widths[widest] = max(floor[widest], widths[widest] - step)
    dropped = tuple(str(column) for number, column in enumerate(columns) if number not in kept)
    return Fit(tuple(kept), tuple(widths[number] for number in kept), dropped, _total(widths, kept) <= room)


def _total(widths: Sequence[int] | dict[int, int], kept: Sequence[int]) -> int:
    return sum(widths[number] for number in kept) + _SPACE * (len(kept) - 1)


def _floor(column: str, width: int, word: int) -> int:
    narrow = column.narrow if isinstance(column, Column) else ""
    least = {"fold": max(_FLOOR, min(word, _LONGEST)), "cut": _CUT}.get(narrow, width)
    return min(width, least)


def _drop(column: str) -> int:
    return column.drop if isinstance(column, Column) else 0
