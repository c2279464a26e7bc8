"""Which trial is the best of each budget: one rule, for the report, the finalists and everything else that asks.

A row is a dict with the columns of trials.parquet (autokd.track.table.COLUMNS); of a trial, its last row.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autokd.config.limits import COSTS, cost_of_row, limits_in

__all__ = [
    "admits",
    "admitted_of",
    "best",
    "best_of_run",
    "cheapness",
    "comparable",
    "front",
    "is_ranked",
    "last_rows",
    "limited",
    "limits_of_run",
    "rank",
    "to_finish",
]

Row = dict[str, Any]


def last_rows(rows: Iterable[Row]) -> list[Row]:
    """The latest row of every trial, in the order in which trials first appear."""
    latest: dict[str, Row] = {}
    for row in rows:
        known = latest.get(row["trial"])
        if known is None or (row["images"] or 0) >= (known["images"] or 0):
            latest[row["trial"]] = row
    return list(latest.values())


def comparable(row: Row) -> bool:
    """Trials that were trained to their end are compared; the score of a shorter training says something else."""
    return row["status"] == "done" and row["val_top1"] is not None and math.isfinite(row["val_top1"])


def rank(row: Row) -> tuple[Any, ...]:
    """Sorts the most accurate first; among equals the cheapest (multiply-accumulates, parameters, then the other costs)."""
    return (-row["val_top1"], *_costs(row, COSTS), row["trial"])


def admits(budget: Mapping[str, Any], row: Row, admitted: Mapping[str, Sequence[str]]) -> bool:
    """Whether the row's student keeps the budget: as the search found (`admitted`: trial -> names), else by its limits."""
    if row["trial"] in admitted:
        return budget["name"] in admitted[row["trial"]]
    costs = ((limit, cost_of_row(row, name, budget)) for name, limit in limits_in(budget).items())
    return all(value is not None and value <= limit for limit, value in costs)


def best(
    rows: Iterable[Row], budgets: Iterable[Mapping[str, Any]], admitted: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[Row]]:
    """For each budget by name, the comparable trials whose student keeps it, the best first.

    It does not matter for which budget a trial was proposed, so that a looser budget's first is never worse than a tighter
    one's.
    """
    ranked = sorted(filter(comparable, last_rows(rows)), key=rank)
    return {one["name"]: [row for row in ranked if admits(one, row, admitted or {})] for one in budgets}


def cheapness(row: Row, budget: Mapping[str, Any]) -> tuple[float, ...]:
    """Sorts the cheapest student first: by what the budget limits, under its conditions, then by the other costs."""
    names = set(limits_in(budget)) | set(budget.get("of_teacher") or ())
    told = (cost_of_row(row, name, budget) for name in sorted(names, key=_CHEAPEST.index))
    return (*(math.inf if value is None else value for value in told), *_costs(row, COSTS))


def front(rows: Iterable[Row], costs: Iterable[str] = ("macs", "params")) -> list[Row]:
    """The trials that no other equals in accuracy at no more of each of these costs, the cheapest first.

    The winner of every budget on these costs stands on it. Of trials equal in all of it the first in rank stands for all.
    """
    names = tuple(costs)
    found: list[Row] = []
    for row in sorted(filter(comparable, last_rows(rows)), key=rank):  # whoever equals or beats a row comes before it
        own = _costs(row, names)
        if not any(all(a <= b for a, b in zip(_costs(other, names), own)) for other in found):
            found.append(row)
    return sorted(found, key=lambda row: (*_costs(row, COSTS), row["trial"]))


def limited(budgets: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The costs that a front is drawn over: multiply-accumulates, parameters, and whatever else a budget limits."""
    some = {name for budget in budgets for name in (*limits_in(budget), *(budget.get("of_teacher") or ()))}
    return tuple(name for name in COSTS if name in some | {"macs", "params"})


def _costs(row: Row, names: Iterable[str]) -> tuple[float, ...]:
    order = sorted(names, key=_CHEAPEST.index)
    return tuple(value if (value := row.get(name)) is not None else math.inf for name in order)


_CHEAPEST = ("macs", "params", "file_size", "memory", "latency_ms")  # what decides first


def best_of_run(folder: str | os.PathLike[str]) -> dict[str, Row | None]:
    """The row of the best trial of each budget of a run, None where none has been trained to its end or nothing ranks them.

    Where the budget was confirmed, the row is that of the confirmed choice, and `confirmed` in it says with what.
    """
    from autokd.select.confirmed import confirmed_row, read_confirmed
    from autokd.track.ledger import FILE, all_events
    from autokd.track.recorder import rows_of

    events = all_events(Path(folder) / FILE)
    found = best(rows_of(folder, events), limits_of_run(folder, events), admitted_of(events))
    told = (read_confirmed(folder) or {}).get("budgets", {})
    return {name: confirmed_row(rows, told.get(name)) or (rows[0] if rows else None) for name, rows in found.items()}


def is_ranked(events: Iterable[Row]) -> bool:
    """Whether the trials of a run have a validation score to be ranked by; not where its space selects the last epoch."""
    said = [event.get("select") for event in events if event["event"] in ("begin", "resume")]
    return not said or said[-1] != "last"


def to_finish(
    rows: Iterable[Row], budgets: Iterable[Mapping[str, Any]], events: Iterable[Row]
) -> dict[str, dict[str, Row]]:
    """For each budget by name, every trial that came to its end and whose student keeps it, of a run whose trials nothing ranks.

    They go by the name that the student is finished under: the budget's where that has one such trial, else budget and trial.
    A trial that went on to a greater length stands for the shorter one. events: the run's.
    """
    events = list(events)
    admitted = admitted_of(events)
    done = {row["trial"]: row for row in last_rows(rows) if row["status"] == "done"}
    shorter = {event.get("of") for event in events if event["event"] == "trial" and event["trial"] in done}
    whole = [row for trial, row in done.items() if trial not in shorter]
    found = {}
    for budget in budgets:
        name, fitting = budget["name"], [row for row in whole if admits(budget, row, admitted)]
        found[name] = {name if len(fitting) == 1 else f"{name}-{row['trial']}": row for row in fitting}
    return found


def limits_of_run(folder: str | os.PathLike[str], events: Iterable[Row]) -> list[dict[str, Any]]:
    """The budgets with their limits as the last session began, or as the folder's space file has them."""
    from autokd.config.search_space import load_space

    listed: list[Any] = []
    for event in events:
        if event["event"] in ("begin", "resume") and event.get("budgets"):
            listed = event["budgets"]
    if listed and all(isinstance(budget, dict) for budget in listed):
        return [dict(budget) for budget in listed]
    space = load_space(Path(folder) / "space.yaml")
    return [budget.to_dict() for budget in space.budgets]


def admitted_of(events: Iterable[Row]) -> dict[str, list[str]]:
    """Which budgets admit each trial's student, by trial, as the search found before it began, or when one was added."""
    found: dict[str, list[str]] = {}
    pairs: dict[str, tuple[Any, Any]] = {}
    for event in events:
        if event["event"] == "trial" and event.get("budgets") is not None:
            found[event["trial"]] = list(event["budgets"])
            pairs[event["trial"]] = (event.get("teacher"), event.get("student"))
        for name, some in (event.get("added") or {}).items():
            there = {tuple(pair) for pair in some}
            for trial, pair in pairs.items():
                if pair in there and name not in found[trial]:
                    found[trial].append(name)
    return found
