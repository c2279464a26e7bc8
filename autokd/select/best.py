"""Which trial is the best of each budget: one rule, for the report, the finalists and everything else that asks.

A row is a dict with the columns of trials.parquet (autokd.track.table.COLUMNS); of a trial, its last row.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["admits", "admitted_of", "best", "best_of_run", "comparable", "front", "last_rows", "limits_of_run", "rank"]

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


def rank(row: Row) -> tuple[float, float, float, str]:
    """Sorts the most accurate first; among equals the cheapest (multiply-accumulates, then parameters)."""
    return (-row["val_top1"], *_costs(row), row["trial"])


def admits(budget: Mapping[str, Any], row: Row, admitted: Mapping[str, Sequence[str]]) -> bool:
    """Whether the row's student keeps the budget: as the search found (`admitted`: trial -> names), else by its limits."""
    if row["trial"] in admitted:
        return budget["name"] in admitted[row["trial"]]
    costs = ((budget.get(key), row[key]) for key in ("params", "macs"))
    return all(limit is None or (value is not None and value <= limit) for limit, value in costs)


def best(
    rows: Iterable[Row], budgets: Iterable[Mapping[str, Any]], admitted: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[Row]]:
    """For each budget by name, the comparable trials whose student keeps it, the best first.

    It does not matter for which budget a trial was proposed, so that a looser budget's first is never worse than a tighter
    one's.
    """
    ranked = sorted(filter(comparable, last_rows(rows)), key=rank)
    return {one["name"]: [row for row in ranked if admits(one, row, admitted or {})] for one in budgets}


def front(rows: Iterable[Row]) -> list[Row]:
    """The trials that no other equals in accuracy at no more multiply-accumulates and no more parameters, the cheapest first.

    The winner of every budget on either cost stands on it. Of trials equal in all three the first by name stands for all.
    """
    found: list[Row] = []
    for row in sorted(filter(comparable, last_rows(rows)), key=rank):  # whoever equals or beats a row comes before it
        macs, params = _costs(row)
        if not any(a <= macs and b <= params for a, b in map(_costs, found)):
            found.append(row)
    return sorted(found, key=lambda row: (*_costs(row), row["trial"]))


def _costs(row: Row) -> tuple[float, float]:
    return row["macs"] or 0, row["params"] or 0


def best_of_run(folder: str | os.PathLike[str]) -> dict[str, Row | None]:
    """The row of the best trial of each budget of a run, None where none has been trained to its end.

    Where the budget was confirmed, the row is that of the confirmed choice, and `confirmed` in it says with what.
    """
    from autokd.select.confirmed import confirmed_row, read_confirmed
    from autokd.track.ledger import FILE, read_events
    from autokd.track.table import read_table

    events = list(read_events(Path(folder) / FILE))
    found = best(read_table(folder).to_pylist(), limits_of_run(folder, events), admitted_of(events))
    told = (read_confirmed(folder) or {}).get("budgets", {})
    return {name: confirmed_row(rows, told.get(name)) or (rows[0] if rows else None) for name, rows in found.items()}


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
    return [
        {"name": b.name, "params": b.params, "macs": b.macs, "of_teacher": dict(b.of_teacher)} for b in space.budgets
    ]


def admitted_of(events: Iterable[Row]) -> dict[str, list[str]]:
    """Which budgets admit each trial's student, by trial, as the search found before it began."""
    return {e["trial"]: list(e["budgets"]) for e in events if e["event"] == "trial" and e.get("budgets") is not None}
