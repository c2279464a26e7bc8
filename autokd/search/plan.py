"""How long a search goes on, how it proposes, and where trials are compared: the numbers the brain works by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autokd.search.promotion import LEADERS

__all__ = ["Mark", "Plan", "limit_of", "plan_of"]


@dataclass(frozen=True)
class Mark:
    """A point of a trial at which it is scored. Trials are compared where `rung` is a number."""

    epochs: float  # images processed / images of the training split
    rung: int | None = None
    final: bool = False


@dataclass(frozen=True)
class Plan:
    """All lengths in epochs: images processed divided by the images of the training split, the same for every trial.

    `rungs`: where trials of a budget are compared, ascending; () compares none (the scheduler `none`). `eta`: of so many
    trials one goes on. `looks`: points between the rungs that are scored for the curves alone. `failures`: the share of
    failed trials, of at least `failures_after` ended ones, that ends the search; `failures_first` failures do where nothing
    else has ended yet. `leaders`: of each budget so many trials are brought to their end, before a limit cuts the search off.
    """

    epochs: float
    rungs: tuple[float, ...] = ()
    eta: float = 3.0
    looks: int = 0
    sampler: str = "tpe"  # tpe | random | gp | nsga2
    seed: int = 0
    concurrent: int | None = None
    trials: int | None = None
    hours: float | None = None
    images: float | None = None
    gpu_hours: float | None = None
    gpus: float = 0.0  # of one trial
    trial_hours: float | None = None  # of one trial
    failures: float = 0.5
    failures_after: int = 20
    failures_first: int = 5
    leaders: int = LEADERS

    def marks(self, epochs: float) -> tuple[Mark, ...]:
        """Where a trial of this length is scored, in order; the last one is its end."""
        rungs = [one for one in self.rungs if one < epochs * 0.999]
        marks = {one: Mark(one, number) for number, one in enumerate(rungs)}
        marks[epochs] = Mark(epochs, len(rungs), True)
        for number in range(1, self.looks + 1):
            at = epochs * number / (self.looks + 1)
            if all(abs(at - known) > 0.25 * epochs / (self.looks + 1) for known in marks):
                marks[at] = Mark(at)
        return tuple(marks[at] for at in sorted(marks))


def limit_of(limit: float | None, share: float) -> float | None:
    """A share of a limit, where there is one."""
    return None if limit is None else limit if share == 1 else limit * share


def plan_of(space: Any, *, gpus: float = 0.0) -> Plan:
    """The numbers of a SearchSpace's `search` section, less what it keeps for a confirmation. gpus: of one trial."""
    search = space.search
    confirm = getattr(space, "confirm", None)
    own = 1.0 if confirm is None else 1 - confirm.share
    rungs = () if search.scheduler == "none" else tuple(share * search.epochs for share in search.rungs.shares())
    return Plan(
        epochs=search.epochs,
        rungs=rungs,
        eta=search.rungs.eta,
        looks=getattr(space, "looks", 4),
        sampler=search.sampler,
        seed=search.seed,
        concurrent=search.concurrent,
        trials=search.trials,
        hours=limit_of(search.hours, own),
        images=limit_of(search.images, own),
        gpu_hours=limit_of(search.gpu_hours, own),
        gpus=gpus,
        failures=getattr(search, "max_failures", 0.5),
        trial_hours=getattr(search, "trial_hours", None),
    )
