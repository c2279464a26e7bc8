"""The figures of a confirmation: what fresh seeds say of each budget's candidates and controls, and what the search said."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autokd.report.chart import GREY, INK, Axis, Chart, Series
from autokd.report.words import percent

__all__ = ["confirmations"]

_COLUMNS = (
    *("budget", "arm", "kind", "student", "chosen", "dropped_after", "search_val_top1"),
    *("mean", "low", "high", "seed", "val_top1"),
)


def confirmations(told: Mapping[str, Any] | None, stale: Collection[str] = ()) -> list[Chart]:
    """A figure for each budget. told: what RUN/confirm.json says. stale: budgets whose search has found a better trial since."""
    budgets = (told or {}).get("budgets", {})
    made = (_chart(number, name, one, name in stale) for number, (name, one) in enumerate(budgets.items()))
    return [chart for chart in made if chart is not None]


def _chart(number: int, budget: str, told: Mapping[str, Any], stale: bool) -> Chart | None:
    arms = [{**one, "arm": one["trial"], "kind": _kind(one, told["chosen"])} for one in told["candidates"]]
    arms += [{**one, "arm": role, "kind": "control"} for role, one in told["controls"].items()]
    if not any(one["scores"] for one in arms):
        return None
    groups = (
        ("chosen", "chosen: mean of fresh seeds", 1, "star", 13.0),
        ("candidate", "candidate", 0, "circle", 9.0),
        ("dropped", "candidate that was dropped", GREY, "circle", 9.0),
        ("control", "control", 2, "square", 9.0),
    )
    series = [_seeds(arms)]
    for kind, label, colour, symbol, size in groups:
        mine = [(place, one) for place, one in enumerate(arms) if one["kind"] == kind and one["mean"] is not None]
        if mine:
            series.append(_means(label, colour, symbol, size, mine))
    series.append(_searched(arms))
    says = (
        f"Validation accuracy within {budget} with fresh seeds: bars are 95 % intervals over seeds and images, small points "
        "single seeds. A ring is what the search said of the trial; how far it lies to the right of the mean is its optimism."
        + (" The search has found a better trial since: confirm again." if stale else "")
    )
    names = tuple(f"{one['arm']} {one['student']}" for one in arms)
    rows = tuple(row for one in arms for row in _rows(budget, one))
    x, y = Axis("validation top-1, %"), Axis("", names=names, low=len(names) - 0.4, high=-0.6)
    height = 150 + 46 * len(names)
    return Chart(f"confirmed-{number}", budget, says, x, y, _COLUMNS, rows, tuple(series), height=height)


def _kind(one: Mapping[str, Any], chosen: str | None) -> str:
    return "dropped" if one["dropped"] is not None else "chosen" if one["trial"] == chosen else "candidate"


def _means(label: str, colour: int, symbol: Any, size: float, mine: Sequence[tuple[int, Mapping[str, Any]]]) -> Series:
    low, high = (tuple(100 * one[end] for _, one in mine) for end in ("low", "high"))
    xs, ys = tuple(100 * one["mean"] for _, one in mine), tuple(float(place) for place, _ in mine)
    notes = tuple(_note(one) for _, one in mine)
    return Series(label, xs, ys, colour=colour, symbol=symbol, size=size, low=low, high=high, across=True, notes=notes)


def _seeds(arms: Sequence[Mapping[str, Any]]) -> Series:
    """A little below the means, so that these are not hidden, and equal ones below each other."""
    xs, ys, notes = [], [], []
    for place, one in enumerate(arms):
        for number, (seed, score) in enumerate(_scored(one)):
            equal = one["scores"][:number].count(score)
            xs.append(100 * score)
            ys.append(place + min(0.44, 0.24 + 0.1 * equal))
            notes.append(f"{one['arm']}, seed {seed}: {percent(score)}")
    return Series("one seed", tuple(xs), tuple(ys), colour=GREY, size=5, notes=tuple(notes))


def _searched(arms: Sequence[Mapping[str, Any]]) -> Series:
    known = [(place, one) for place, one in enumerate(arms) if one.get("search") is not None]
    xs, ys = tuple(100 * one["search"] for _, one in known), tuple(float(place) for place, _ in known)
    notes = tuple(f"{one['arm']}: the search said {percent(one['search'])}" for _, one in known)
    return Series("the search said", xs, ys, colour=INK, symbol="circle-open", size=14, notes=notes)


def _scored(one: Mapping[str, Any]) -> list[tuple[int, float]]:
    return list(zip(one["seeds"], one["scores"], strict=True))


def _note(one: Mapping[str, Any]) -> str:
    """The arm with its score, its student, and what became of it."""
    words = f"{one['arm']}: {percent(one['mean'])} ({100 * one['low']:.2f} to {100 * one['high']:.2f}), {len(one['seeds'])} seeds"
    words += f"\n{one['student']}"
    out, gain = one.get("dropped"), one.get("gain")
    if out is not None:
        return f"{words}\ndropped after {out['seeds']} seeds"
    if one.get("same"):
        return f"{words}\nthe choice itself"
    if gain is not None:
        mean, low, high = (f"{100 * gain[key]:+z.2f}" for key in ("mean", "low", "high"))
        return f"{words}\nthe choice gains {mean} ({low} to {high}) points over it"
    return words


def _rows(budget: str, one: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """A row a seed; one without a seed where nothing was trained."""
    out = one.get("dropped")
    after = out["seeds"] if out is not None else None
    facts = (budget, one["arm"], one["kind"], one["student"], one["kind"] == "chosen", after, one.get("search"))
    ends = (one["mean"], one["low"], one["high"])
    return [(*facts, *ends, seed, score) for seed, score in _scored(one)] or [(*facts, *ends, None, None)]
