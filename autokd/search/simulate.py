"""Schedulers replayed on recorded curves: which of them finds, at equal cost, the best student of every budget.

A repetition draws trials from the recorded pool in a random order, trains as many at once as there are workers (time is views
processed), asks the scheduler at every rung, and ends when the views are spent. Only what ran to its end within them counts.
Compared with what the whole pool holds, that gives each budget a regret. A pool of curves that all reach their end (a run with
`search.scheduler: none`) favours no scheduler.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from autokd.errors import AutokdError, did_you_mean
from autokd.search.plan import stays
from autokd.track.curves import Curve

__all__ = ["SCHEDULERS", "Outcome", "replay", "simulate"]


class Rule(Protocol):
    """Whether a trial goes on from a rung, given all that reached that rung before it."""

    def keeps(self, trial: Curve, rung: int, score: float) -> bool: ...


@dataclass
class _Never:
    """Every trial runs to its end: random search."""

    eta: float = 3.0

    def keeps(self, trial: Curve, rung: int, score: float) -> bool:
        return True


@dataclass
class _Strata:
    """The search's own rule: one in eta stays, compared within each budget that admits the student; any of them saves it."""

    eta: float = 3.0
    seen: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def keeps(self, trial: Curve, rung: int, score: float) -> bool:
        kept = False
        for stratum in self.strata(trial):
            others = self.seen.setdefault((stratum, rung), [])
            kept = kept or stays(others, score, self.eta)
            insort(others, score)
        return kept

    def strata(self, trial: Curve) -> tuple[str, ...]:
        return trial.budgets


class _Asha(_Strata):
    """Asynchronous successive halving: all trials in one line, by score. Source: arXiv:1810.05934."""

    def strata(self, trial: Curve) -> tuple[str, ...]:
        return ("",)


@dataclass
class _MoAsha:
    """Asynchronous successive halving over score and multiply-accumulates: ranked by fronts, and within a front by how far
    the neighbours are. Source: "Multi-objective Asynchronous Successive Halving", arXiv:2106.12639."""

    eta: float = 3.0
    seen: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def keeps(self, trial: Curve, rung: int, score: float) -> bool:
        points = self.seen.setdefault(rung, [])
        points.append((score, -trial.macs))
        if len(points) < self.eta:
            return True
        place = _order(np.asarray(points)).index(len(points) - 1)
        return place < max(1, int(len(points) / self.eta))


def _order(points: np.ndarray) -> list[int]:
    """Positions of points [n, 2] (more is better), the first front first and within a front the loneliest first."""
    left, order = list(range(len(points))), []
    while left:
        beaten = [
            any((points[j] >= points[i]).all() and (points[j] > points[i]).any() for j in left if j != i) for i in left
        ]
        front = [i for i, worse in zip(left, beaten, strict=True) if not worse]
        order += sorted(front, key=lambda i: -_crowding(points, front, i))
        left = [i for i in left if i not in front]
    return order


def _crowding(points: np.ndarray, front: Sequence[int], one: int) -> float:
    """NSGA-II's crowding distance: the sides of the box between a point's neighbours on its front, over the front's extent."""
    total = 0.0
    for axis in range(points.shape[1]):
        line = sorted(front, key=lambda i: points[i, axis])
        place, extent = line.index(one), points[line[-1], axis] - points[line[0], axis]
        if place in (0, len(line) - 1):
            return math.inf
        total += (points[line[place + 1], axis] - points[line[place - 1], axis]) / (extent or 1.0)
    return total


SCHEDULERS: dict[str, Callable[[float], Rule] | None] = {
    "strata": _Strata,
    "asha": _Asha,
    "mo-asha": _MoAsha,
    "fronts": _MoAsha,  # with the search's own proposals
    "none": _Never,
    "first-rung": None,  # half of the views on first rungs, the other half on the best of them, to their end
}
_TURNED = ("strata", "fronts")  # proposals go round the budgets


@dataclass(frozen=True)
class Outcome:
    """Means over repetitions. regret: budget -> score left behind; half its 95 % interval in `spread`.

    empty: share of (repetition, budget) without a finished student. false_kills: share in which the best trial that was begun
    for a budget was stopped. started, finished: trials. views: spent.
    """

    scheduler: str
    regret: dict[str, float]
    spread: dict[str, float]
    empty: float
    false_kills: float
    started: float
    finished: float
    views: float

    @property
    def total(self) -> float:
        """Regret summed over the budgets."""
        return sum(self.regret.values())


def simulate(
    curves: Sequence[Curve],
    *,
    schedulers: Sequence[str] = tuple(SCHEDULERS),
    rungs: Sequence[float] = (0.15, 0.28, 0.53),
    eta: float = 3.0,
    share: float = 0.3,
    repetitions: int = 300,
    workers: int = 2,
    seed: int = 0,
) -> list[Outcome]:
    """Every scheduler on the same random orders. share: the views of a repetition, of those of the whole pool.

    A budget without a finished student has as regret what lies between its best and its worst recorded score. Raises AutokdError
    for an unknown scheduler, and where the pool is too small to choose from.
    """
    for name in schedulers:
        if name not in SCHEDULERS:
            fix = f"one of {', '.join(SCHEDULERS)}{did_you_mean(name, SCHEDULERS)}"
            raise AutokdError(f"no scheduler {name!r}", fix=fix)
    if len(curves) < 3:
        raise AutokdError(
            f"{len(curves)} trials were trained to their end, too few to replay a search",
            fix="record some with --set search.scheduler=none",
        )
    if not 0 < share <= 1 or repetitions < 2 or workers < 1 or eta <= 1 or not all(0 < r < 1 for r in rungs):
        fix = "--share 0.3 --repetitions 300 --workers 2 --eta 3 --rungs 0.15,0.28,0.53"
        raise AutokdError("these numbers make no search", fix=fix)
    views = share * sum(curve.length for curve in curves)
    orders = [np.random.default_rng((seed, number)).permutation(len(curves)) for number in range(repetitions)]
    return [_outcome(name, curves, orders, sorted(rungs), eta, views, workers) for name in schedulers]


def _outcome(
    name: str,
    curves: Sequence[Curve],
    orders: Sequence[np.ndarray],
    rungs: Sequence[float],
    eta: float,
    views: float,
    workers: int,
) -> Outcome:
    budgets = list(dict.fromkeys(budget for curve in curves for budget in curve.budgets))
    made = SCHEDULERS[name]
    pool = {budget: [c.final for c in curves if budget in c.budgets] for budget in budgets}
    regrets: dict[str, list[float]] = {budget: [] for budget in budgets}
    empty, killed, counts = 0, 0, []
    for order in orders:
        line = [curves[i] for i in order]
        if made is None:
            begun, ended, spent = _first_rung(line, rungs[0] if rungs else 1.0, views)
        else:
            begun, ended, spent = replay(_in_turn(line, budgets) if name in _TURNED else line, made(eta), rungs, views, workers)
        counts.append((len(begun), len(ended), spent))
        for budget in budgets:
            found = [c.final for c in ended if budget in c.budgets]
            tried = [c for c in begun if budget in c.budgets]
            empty += not found
            killed += bool(tried) and max(tried, key=lambda c: c.final) not in ended
            regrets[budget].append(max(pool[budget]) - (max(found) if found else min(pool[budget])))
    cells = len(orders) * len(budgets)
    started, finished, spent = np.mean(counts, axis=0).tolist()
    return Outcome(
        name,
        {budget: float(np.mean(values)) for budget, values in regrets.items()},
        {budget: float(1.96 * np.std(values, ddof=1) / math.sqrt(len(values))) for budget, values in regrets.items()},
        empty / cells,
        killed / cells,
        started,
        finished,
        spent,
    )


def _in_turn(line: Sequence[Curve], budgets: Sequence[str]) -> list[Curve]:
    """The search's proposals go round the budgets: each takes the next trial of the line that it admits."""
    left, turned, turn = list(line), [], 0
    while left:
        for step in range(len(budgets)):
            budget = budgets[(turn + step) % len(budgets)]
            one = next((c for c in left if budget in c.budgets), None)
            if one is not None:
                turn = (turn + step + 1) % len(budgets)
                turned.append(one)
                left.remove(one)
                break
    return turned


def replay(
    line: Sequence[Curve], rule: Rule, rungs: Sequence[float], views: float, workers: int
) -> tuple[list[Curve], list[Curve], float]:
    """(trials begun, trials that ran to their end, views spent) of one search. Trials take as long as they have views."""
    waiting = list(reversed(line))
    begun: list[Curve] = []
    ended: list[Curve] = []
    marks = [*rungs, 1.0]
    heap: list[tuple[float, int, int, Curve]] = []  # (when it reaches its next mark, a number, that mark, trial)
    numbers = iter(range(10**9))

    def begin(now: float) -> None:
        if waiting:
            trial = waiting.pop()
            begun.append(trial)
            heapq.heappush(heap, (now + marks[0] * trial.length, next(numbers), 0, trial))

    for _ in range(workers):
        begin(0.0)
    spent = 0.0
    while heap:
        now, _, mark, trial = heapq.heappop(heap)
        step = (marks[mark] - (marks[mark - 1] if mark else 0.0)) * trial.length
        if spent + step > views:
            return begun, ended, views
        spent += step
        if mark == len(marks) - 1:
            ended.append(trial)
            begin(now)
        elif rule.keeps(trial, mark, trial.score(marks[mark])):
            heapq.heappush(heap, (now + (marks[mark + 1] - marks[mark]) * trial.length, next(numbers), mark + 1, trial))
        else:
            begin(now)
    return begun, ended, spent


def _first_rung(line: Sequence[Curve], rung: float, views: float) -> tuple[list[Curve], list[Curve], float]:
    spent, begun = 0.0, []
    for trial in line:
        if spent + rung * trial.length > views / 2:
            break
        spent += rung * trial.length
        begun.append(trial)
    ended: list[Curve] = []
    for trial in sorted(begun, key=lambda c: -c.score(rung)):
        if spent + (1 - rung) * trial.length > views:
            break
        spent += (1 - rung) * trial.length
        ended.append(trial)
    return begun, ended, spent
