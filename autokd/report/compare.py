"""Two runs side by side: for each budget that either has, both best students and the difference."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from autokd.report.columns import LIMITS, folded
from autokd.report.courses import Course, Told
from autokd.report.run_charts import winners
from autokd.report.summary import Section, limits_of
from autokd.report.words import percent
from autokd.select.interval import share_interval

__all__ = ["Difference", "as_csv", "as_dicts", "as_section", "differences"]


@dataclass(frozen=True)
class Difference:
    """points: the first run's best minus the second's, in points of validation top-1, with a 95 % interval (NaN where the
    validation images cannot be counted). None where a run has no such budget, or no finished trial in it."""

    budget: str
    limits: str
    trial: str | None
    student: str | None
    val_top1: float | None
    other_trial: str | None
    other_student: str | None
    other_val_top1: float | None
    points: float | None
    low: float | None
    high: float | None


def differences(one: Told, other: Told) -> list[Difference]:
    """A row for each budget, by name. The interval is that of two shares of different images, by Newcombe's method 10 from the
    interval of each (`share_interval`): where both runs validate on the same images the truth is narrower, and neither counts
    that a best of many is chosen by luck, too.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17 (1998).
    """
    mine, theirs = winners(one), winners(other)
    limits = {str(b["name"]): limits_of(b) for b in one.budgets}
    elsewhere = {str(b["name"]): limits_of(b) for b in other.budgets}
    found = []
    for name in dict.fromkeys([*limits, *elsewhere]):
        here, there = limits.get(name, "not in this run"), elsewhere.get(name, "not in the other")
        told = here if here == there else f"{here} against {there}"
        a, b = mine.get(name), theirs.get(name)
        points, low, high = _points(a, b, one.images, other.images)
        found.append(Difference(name, told, *_facts(a), *_facts(b), points, low, high))
    return found


def _facts(one: Course | None) -> tuple[str | None, str | None, float | None]:
    return (None, None, None) if one is None else (one.trial, one.student, one.score)


def _points(
    a: Course | None, b: Course | None, images: int | None, others: int | None
) -> tuple[float | None, float | None, float | None]:
    if a is None or b is None or a.score is None or b.score is None:
        return None, None, None
    gap = a.score - b.score
    if not images or not others:
        return 100 * gap, None, None
    (low_a, high_a), (low_b, high_b) = share_interval(a.score, images), share_interval(b.score, others)
    below, above = math.hypot(a.score - low_a, high_b - b.score), math.hypot(high_a - a.score, b.score - low_b)
    return 100 * gap, 100 * (gap - below), 100 * (gap + above)


def as_section(one: Told, other: Told, found: list[Difference]) -> Section:
    columns = ("budget", LIMITS, folded(f"best of {one.run}"), folded(f"best of {other.run}"), "points", "95 % interval")
    rows = tuple(
        (
            row.budget,
            row.limits,
            _best(row.trial, row.student, row.val_top1),
            _best(row.other_trial, row.other_student, row.other_val_top1),
            "-" if row.points is None else f"{row.points:+z.2f}",
            "-" if row.low is None else f"{row.low:+z.2f} to {row.high:+z.2f}",
        )
        for row in found
    )
    return Section(f"Against {other.run}, by validation accuracy", columns, rows, "no budgets")


def _best(trial: str | None, student: str | None, score: float | None) -> str:
    return "-" if trial is None else f"{percent(score)} {student} ({trial})"


def as_dicts(found: list[Difference]) -> list[dict[str, Any]]:
    return [asdict(row) for row in found]


def as_csv(found: list[Difference]) -> str:
    from autokd.report.chart import csv_text

    columns = tuple(Difference.__dataclass_fields__)
    return csv_text(columns, [tuple(asdict(row).values()) for row in found]).rstrip("\n")
