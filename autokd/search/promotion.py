"""Which of the trials that were stopped at a rung goes on: the best of their budget, and in the end whoever leads it.

A rung stops a trial, it does not forget it: the checkpoint stays, and with every trial that comes to the rung later the first 1
in `eta` of a budget grows to hold one more. Source: the promotions of asynchronous successive halving (arXiv:1810.05934,
algorithm 2), here within each budget; that what is left is kept for bringing each budget's leaders to their end is ours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LEADERS", "Stopped", "deserves", "leaders", "promoted"]

LEADERS = 3  # of each budget so many trials are brought to their end


@dataclass(frozen=True)
class Stopped:
    """A trial that waits at the rung where it was stopped. `number`: its place in the search, which decides between equals."""

    number: int
    budgets: tuple[str, ...]
    rung: int
    score: float


def deserves(reached: Sequence[float], score: float, eta: float) -> bool:
    """Whether a score is among the first 1 in `eta`, rounded down, of those that reached a rung, itself included.

    reached: their scores, worst first.
    """
    return len(reached) - bisect_right(reached, score) < int(len(reached) / eta)


def promoted(
    stopped: Collection[Stopped], rungs: Mapping[tuple[str, int], Sequence[float]], eta: float
) -> tuple[Stopped, str] | None:
    """Who goes on by the rule, and in which budget: from the highest rung, and there the best. None where nobody does.

    rungs: (budget, rung) -> scores of all that reached it, worst first.
    """
    for one in sorted(stopped, key=_before):
        for budget in one.budgets:
            if deserves(rungs.get((budget, one.rung), ()), one.score, eta):
                return one, budget
    return None


def leaders(stopped: Collection[Stopped], wanting: Mapping[str, int]) -> list[tuple[Stopped, str]]:
    """Whom to bring to the end so that no budget lacks finished trials, most needed first, each once with its budget.

    wanting: budget -> how many more it should have.
    """
    found: dict[int, tuple[Stopped, str]] = {}
    line = sorted(stopped, key=_before)
    for budget, count in sorted(wanting.items(), key=lambda item: -item[1]):
        for one in [one for one in line if budget in one.budgets][: max(0, count)]:
            found.setdefault(one.number, (one, budget))
    return list(found.values())


def _before(one: Stopped) -> tuple[int, float, int]:
    return (-one.rung, -one.score, one.number)
