"""Whether what the test split says of the students holds on images from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from autokd.errors import AutokdError

__all__ = ["Standing", "named", "ranking"]


@dataclass(frozen=True)
class Standing:
    """A student's mean top-1 on the test split and on an outside set, with the interval of the latter."""

    student: str
    test: float
    external: float
    low: float
    high: float


def named(words: Iterable[str]) -> dict[str, str]:
    """["photos=DIR", …] to {"photos": "DIR", …}. Raises AutokdError for what is not NAME=PATH, and a name told twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not name.strip() or not path.strip():
            raise AutokdError(f"{word!r} is not NAME=PATH", fix="--external photos=path/to/photos")
        if name.strip() in found:
            raise AutokdError(f"two outside sets are called {name.strip()!r}", fix="give each a name of its own")
        found[name.strip()] = path.strip()
    return found


def ranking(name: str, standings: list[Standing]) -> dict[str, Any]:
    """{changes, text}: whether any two students change places between the test split and the outside set `name`.

    Equal scores are no change. changes is None where there are fewer than two students to rank.
    """
    if len(standings) < 2:
        return {"changes": None, "text": f"{name}: one student, so there is no ranking to change"}
    swapped = [
        (one, other)
        for one, other in combinations(standings, 2)
        if (one.test - other.test) * (one.external - other.external) < 0
    ]
    here = _order(standings, "test")
    if not swapped:
        return {"changes": False, "text": f"{name}: the ranking is that of the test split ({here})"}
    clear = sum(one.high < other.low or other.high < one.low for one, other in swapped)
    sure = "their intervals do not overlap" if clear == len(swapped) else "their intervals overlap, so it may be chance"
    if 0 < clear < len(swapped):
        sure = f"the intervals of {clear} of {len(swapped)} pairs that change places do not overlap"
    text = f"{name}: the ranking changes: {_order(standings, 'external')} there, {here} on the test split; {sure}"
    return {"changes": True, "text": text}


def _order(standings: list[Standing], by: str) -> str:
    ranked = sorted(standings, key=lambda one: -getattr(one, by))
    words = [ranked[0].student]
    for before, after in zip(ranked, ranked[1:], strict=False):
        words += ["=" if getattr(before, by) == getattr(after, by) else ">", after.student]
    return " ".join(words)
