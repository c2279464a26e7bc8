"""How long a search goes on, how it proposes, and where trials are compared: the numbers the brain works by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autokd.errors import AutokdError
from autokd.search.promotion import LEADERS
from autokd.seeds import SCHEME, derived

__all__ = ["Mark", "Plan", "limit_of", "plan_of", "with_length"]


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
    `ranked`: whether trials have a validation score; without one they are neither compared nor learned from. `repeats`: so many
    proposals in a row that had been made before exhaust a budget's space.
    """

    epochs: float
    rungs: tuple[float, ...] = ()
    eta: float = 3.0
    looks: int = 0
    sampler: str = "tpe"  # tpe | random | gp | nsga2
    seed: int = 0
    purpose: str = "search"  # what the trials' seeds are for (autokd.seeds)
    seeds: int = SCHEME  # how they are derived; 0: counted upwards from `seed`, as before version 1 of the scheme
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
    ranked: bool = True
    repeats: int = 100

    def seed_of(self, number: int) -> int:
        """The seed of the trial of that number."""
        return derived(self.seed, self.purpose, number) if self.seeds else self.seed + number

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
    ranked = getattr(search, "select", "validation") == "validation"
    return Plan(
        epochs=search.epochs,
        rungs=rungs,
        eta=search.rungs.eta,
        looks=getattr(space, "looks", 4),
        sampler=search.sampler,
        seed=search.seed,
        purpose=getattr(space, "purpose", "search"),
        concurrent=search.concurrent,
        trials=search.trials,
        hours=limit_of(search.hours, own),
        images=limit_of(search.images, own),
        gpu_hours=limit_of(search.gpu_hours, own),
        gpus=gpus,
        failures=getattr(search, "max_failures", 0.5),
        trial_hours=getattr(search, "trial_hours", None),
        ranked=ranked,
        repeats=100 if ranked else min(10_000, max(100, 20 * space.size().points)),  # drawn until each has come
    )


def with_length(past: Sequence[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """The events of earlier sessions, with the length that the first of them searched at.

    A ledger from before lengths were noted has it in its trials; the rungs are then those of `plan`, in the same proportion.
    Raises AutokdError where what was reported does not lie at those: such a run cannot be told what to compare.
    """
    events = list(past)
    first = next((event for event in events if event["event"] == "trial"), None)
    if not events or first is None or "length" in events[0]:
        return events
    epochs = first["config"]["epochs"]
    rungs = [rung * epochs / plan.epochs for rung in plan.rungs]
    for event in events:
        number = event.get("rung") if event["event"] == "report" and not event.get("final") else None
        if number is None:
            continue
        if number >= len(rungs) or not math.isclose(event["epochs"], rungs[number], rel_tol=0.05, abs_tol=0.05):
            raise AutokdError(
                "this run is of a version that did not note its length, and its trials were not compared at the rungs of now",
                where=f"rung {number} at {event['epochs']:g} epochs",
                fix="resume it with the search.rungs it began with, or start a new run",
            )
    return [{**events[0], "length": {"epochs": epochs, "rungs": rungs}}, *events[1:]]
