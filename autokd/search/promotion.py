"""Which of the trials that were stopped at a rung goes on: the best of their budget, and in the end whoever leads it.

A rung stops a trial, it does not forget it: the checkpoint stays, and with every trial that comes to the rung later the first 1
in `eta` of a budget grows to hold one more. Source: the promotions of asynchronous successive halving (arXiv:1810.05934,
algorithm 2), here within each budget; that what is left is kept for bringing each budget's leaders to their end is ours.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LEADERS", "Stopped", "Waiting", "deserves"]

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


class Waiting:
    """The trials that wait, in a line for each rung and budget; what is asked of it takes no longer where more of them wait."""

    def __init__(self) -> None:
        self._known: dict[int, Stopped] = {}
        self._lines: dict[tuple[int, str], list[tuple[float, int]]] = {}  # (score, -number), the first to go on last

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def add(self, one: Stopped) -> None:
        self._known[one.number] = one
        for budget in one.budgets:
            insort(self._lines.setdefault((one.rung, budget), []), (one.score, -one.number))

    def remove(self, number: int) -> None:
        one = self._known.pop(number)
        for budget in one.budgets:
            line = self._lines[one.rung, budget]
            del line[bisect_left(line, (one.score, -number))]

    def promoted(self, rungs: Mapping[tuple[str, int], Sequence[float]], eta: float) -> tuple[Stopped, str] | None:
        """Who goes on by the rule, and in which budget: from the highest rung, and there the best. None where nobody does.

        rungs: (budget, rung) -> scores of all that reached it, worst first.
        """
        found: tuple[tuple[int, float, int], str] | None = None
        for (rung, budget), line in self._lines.items():
            if not line or (found is not None and (rung, *line[-1]) <= found[0]):
                continue
            if deserves(rungs.get((budget, rung), ()), line[-1][0], eta):  # else nobody behind it does
                found = (rung, *line[-1]), budget
        return None if found is None else (self._known[-found[0][2]], found[1])

    def leaders(self, wanting: Mapping[str, int]) -> list[tuple[Stopped, str]]:
        """Whom to bring to the end so that no budget lacks finished trials, most needed first, each once with its budget.

        wanting: budget -> how many more it should have. Higher rungs come first, and there better scores.
        """
        found: dict[int, tuple[Stopped, str]] = {}
        for budget, count in sorted(wanting.items(), key=lambda item: -item[1]):
            lines = sorted((rung for rung, of in self._lines if of == budget), reverse=True)
            heads = [entry for rung in lines for entry in reversed(self._lines[rung, budget][-count:])] if count > 0 else []
            for _, number in heads[: max(0, count)]:
                found.setdefault(-number, (self._known[-number], budget))
        return list(found.values())
