"""Schedulers replayed on recorded curves: which of them finds, at equal cost, the best student of every budget.

A repetition draws trials from the recorded pool in a random order, trains as many at once as there are workers (time is views
processed), asks the scheduler at every rung, and ends when the views are spent. Only what ran to its end within them counts.
Compared with what the whole pool holds, that gives each budget a regret. A pool of curves that all reach their end (a run with
`search.scheduler: none`) favours no scheduler.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from autokd.errors import AutokdError, did_you_mean
from autokd.search.promotion import LEADERS, Stopped, Waiting, deserves
from autokd.track.curves import Curve

__all__ = ["SCHEDULERS", "Outcome", "Replay", "replay", "simulate"]


class Rule(Protocol):
    """Whether a trial goes on from a rung, given all that reached that rung before it; and which stopped one is taken up."""

    def keeps(self, trial: Curve, rung: int, score: float) -> bool: ...

    def bound(self, trial: Curve) -> bool:
        """Whether it goes to its end whatever the rungs say."""
        return False

    def takes_up(self, left: float, step: float | None) -> Curve | None:
        """A stopped trial that goes on in the place of a new one. left: views that nothing under way will spend. step: those of
        a new trial up to its first rung, None where there is no new one."""
        return None


@dataclass
class _Never(Rule):
    """Every trial runs to its end: random search."""

    eta: float = 3.0

    def keeps(self, trial: Curve, rung: int, score: float) -> bool:
        return True


@dataclass
class _Asha(Rule):
    """Asynchronous successive halving: all trials in one line, by score; stopped for good. As long as fewer than `eta` have
    come to a rung, all go on. Source: arXiv:1810.05934."""

    eta: float = 3.0
    seen: dict[int, list[float]] = field(default_factory=dict)

    def keeps(self, trial: Curve, rung: int, score: float) -> bool:
        others = self.seen.setdefault(rung, [])
        kept = stays(others, score, self.eta)
        insort(others, score)
        return kept


def stays(others: Sequence[float], score: float, eta: float) -> bool:
    """Whether ASHA lets a trial go on: among the first 1 in `eta` of those that reached a rung, itself included.

    others: the scores of those that were there before it, worst first. As long as fewer than `eta` have come, all go on.
    """
    count, better = len(others) + 1, len(others) - bisect_right(others, score)
    return count < eta or better < max(1, int(count / eta))


@dataclass
class _Strata(Rule):
    """The search's own, by the functions it decides with itself: a trial goes on while it is among the first 1 in eta of any
    budget that admits it; a stopped one once it is, or where what is left has to be kept for the leaders of the budgets."""

    eta: float
    rungs: Sequence[float]
    budgets: Sequence[str]
    seen: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    waiting: Waiting = field(default_factory=Waiting)
    stopped: list[Curve] = field(default_factory=list)  # by the numbers of those that wait
    leading: set[str] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)  # budget: trials that ended or will

    def keeps(self, trial: Curve, rung: int, score: float) -> bool:
        for budget in trial.budgets:
            insort(self.seen.setdefault((budget, rung), []), score)
        if self.bound(trial):
            return True
        if any(deserves(self.seen[budget, rung], score, self.eta) for budget in trial.budgets):
            if rung == len(self.rungs) - 1:
                self.ends.update(trial.budgets)
            return True
        self.waiting.add(Stopped(len(self.stopped), trial.budgets, rung, score))
        self.stopped.append(trial)
        return False

    def bound(self, trial: Curve) -> bool:
        return trial.trial in self.leading

    def takes_up(self, left: float, step: float | None) -> Curve | None:
        found = self.waiting.promoted(self.seen, self.eta)
        chosen = self.waiting.leaders({budget: LEADERS - self.ends[budget] for budget in self.budgets})
        if found is not None:
            at = found[0].rung
            step = ((*self.rungs, 1.0)[at + 1] - self.rungs[at]) * self.stopped[found[0].number].length
        rest = sum((1 - self.rungs[one.rung]) * self.stopped[one.number].length for one, _ in chosen)
        leads = bool(chosen) and (step is None or left - step < rest)
        if not leads and found is None:
            return None
        one = chosen[0][0] if leads else found[0]  # type: ignore[index]
        self.waiting.remove(one.number)
        trial = self.stopped[one.number]
        if leads:
            self.leading.add(trial.trial)
        if leads or one.rung == len(self.rungs) - 1:
            self.ends.update(trial.budgets)
        return trial


@dataclass
class _MoAsha(Rule):
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


SCHEDULERS: dict[str, Callable[[float, Sequence[float], Sequence[str]], Rule] | None] = {
    "strata": _Strata,
    "asha": lambda eta, rungs, budgets: _Asha(eta),
    "mo-asha": lambda eta, rungs, budgets: _MoAsha(eta),
    "fronts": lambda eta, rungs, budgets: _MoAsha(eta),  # with the search's own proposals
    "none": lambda eta, rungs, budgets: _Never(),
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
            rule = made(eta, rungs, budgets)
            begun, ended, spent, *_ = replay(_in_turn(line, budgets) if name in _TURNED else line, rule, rungs, views, workers)
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


class Replay(NamedTuple):
    """Trials begun, trials that ran to their end, views spent, when it ended, and the share that each trial came to."""

    begun: list[Curve]
    ended: list[Curve]
    spent: float
    time: float
    reached: dict[str, float]


def replay(
    line: Sequence[Curve], rule: Rule, rungs: Sequence[float], views: float, workers: int
) -> Replay:
    """One search. Trials take as long as they have views."""
    waiting = list(reversed(line))
    begun: list[Curve] = []
    ended: list[Curve] = []
    marks = [*rungs, 1.0]
    reached: dict[str, int] = {}  # trial: marks that lie behind it
    heap: list[tuple[float, int, Curve]] = []  # (when it reaches its next mark, a number, trial)
    numbers = iter(range(10**9))
    spent = 0.0

    def step(trial: Curve) -> float:
        mark = reached.get(trial.trial, 0)
        return (marks[mark] - (marks[mark - 1] if mark else 0.0)) * trial.length

    def under_way(trial: Curve) -> float:
        """Views until it may be stopped."""
        mark = reached.get(trial.trial, 0)
        return (1 - (marks[mark - 1] if mark else 0.0)) * trial.length if rule.bound(trial) else step(trial)

    def go(now: float, trial: Curve) -> None:
        heapq.heappush(heap, (now + step(trial), next(numbers), trial))

    def fill(now: float) -> None:
        left = views - spent - sum(under_way(trial) for _, _, trial in heap)
        trial = rule.takes_up(left, marks[0] * waiting[-1].length if waiting else None)
        if trial is None and waiting:
            trial = waiting.pop()
            begun.append(trial)
        if trial is not None:
            go(now, trial)

    def told(spent: float, now: float) -> Replay:
        return Replay(begun, ended, spent, now, {name: marks[count - 1] for name, count in reached.items()})

    now = 0.0
    for _ in range(workers):
        fill(now)
    while heap:
        now, _, trial = heapq.heappop(heap)
        cost, mark = step(trial), reached.get(trial.trial, 0)
        if spent + cost > views:
            return told(views, min(now, views / workers))
        spent += cost
        reached[trial.trial] = mark + 1
        if mark == len(marks) - 1:
            ended.append(trial)
            fill(now)
        elif rule.keeps(trial, mark, trial.score(marks[mark])):
            go(now, trial)
        else:
            fill(now)
    return told(spent, now)


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
