"""A run as its figures see it: every trial's course through its reports, from the ledger as it stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError
from autokd.select.best import admits, last_rows
from autokd.track.ledger import FILE, all_events
from autokd.track.recorder import rows_of

__all__ = ["COSTS", "Course", "End", "Point", "Told", "read_run", "validation_images"]

# cost axis: what it is called, and whether it is a count that reads as 200 k
COSTS: dict[str, tuple[str, bool]] = {
    "macs": ("multiply-accumulates for one image (MACs)", True),
    "params": ("parameters", True),
    "file_size": ("file size, bytes", True),
    "memory": ("memory, bytes", True),
    "latency_ms": ("latency, ms", False),
}


@dataclass(frozen=True)
class Point:
    """One report. rung: None between rungs. images, seconds: of this trial so far; elapsed: of the search, s.

    hits, misses: the teacher's answers so far that lay in kept files, and the others; None where they were not counted.
    """

    images: int
    epochs: float
    val_top1: float
    seconds: float
    teacher_seconds: float
    elapsed: float
    rung: int | None
    final: bool
    hits: int | None = None
    misses: int | None = None


@dataclass(frozen=True)
class Course:
    """One trial. `values` are the knobs as the space names them; `costs` what the table knows of its student."""

    trial: str
    budget: str
    budgets: tuple[str, ...]
    teacher: str | None
    student: str
    method: str
    policy: str
    ratio: float | None
    values: Mapping[str, Any]
    config: Mapping[str, Any]
    costs: Mapping[str, float]
    status: str = "running"
    reason: str = ""
    points: tuple[Point, ...] = ()

    @property
    def score(self) -> float | None:
        """Validation top-1 at the end of a training that went to its end; those of shorter ones say something else."""
        last = self.points[-1].val_top1 if self.status == "done" and self.points else math.nan
        return last if math.isfinite(last) else None

    def at_rung(self, rung: int) -> float | None:
        return next((point.val_top1 for point in self.points if point.rung == rung), None)

    @property
    def temperature(self) -> float | None:
        found = ((self.config.get("method") or {}).get("settings") or {}).get("temperature")
        return float(found) if isinstance(found, (int, float)) else None


@dataclass(frozen=True)
class End:
    """The end of a training that went to its end, in the order of time: what the search had spent by then."""

    trial: str
    elapsed: float  # s of search
    images: int  # views that all students had trained on
    seconds: float  # of training, all trials


@dataclass
class Told:
    """courses by trial, in the order in which they began. decisions: what a trial chose for itself, and why."""

    run: str
    budgets: list[dict[str, Any]]
    courses: dict[str, Course] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    decisions: list[tuple[str, str]] = field(default_factory=list)
    images: int | None = None  # of the validation split

    def finished(self) -> list[Course]:
        return [one for one in self.courses.values() if one.score is not None]

    def of_budget(self, name: str) -> list[Course]:
        return [one for one in self.courses.values() if name in one.budgets]


def read_run(folder: str | Path) -> Told:
    """Read a run folder, also one that a search is writing. Raises AutokdError where it is none."""
    from autokd.select.best import limits_of_run

    folder = Path(folder)
    events = all_events(folder / FILE)
    rows = {row["trial"]: row for row in last_rows(rows_of(folder, events))}
    budgets = limits_of_run(folder, events)
    told = _follow(events, Told(folder.name, budgets))
    told.courses = {name: _with_costs(one, rows[name], budgets) for name, one in told.courses.items()}
    configs = [one.config for one in told.courses.values() if one.config]
    told.images = validation_images(configs[0]) if configs else None
    return told


def _follow(events: Iterable[dict[str, Any]], told: Told) -> Told:
    images, seconds = 0, 0.0
    seen: set[str] = set()
    for event in events:
        kind, name = event["event"], str(event.get("trial"))
        course = told.courses.get(name)
        if kind == "trial":
            told.courses[name] = _begun(event)
        elif course is None:
            continue
        elif kind == "report":
            point, before = _point(event), course.points[-1] if course.points else None
            images += max(0, point.images - (before.images if before else 0))
            seconds += max(0.0, point.seconds - (before.seconds if before else 0.0))
            # after a cut a trial goes on from its last checkpoint, and tells again what it had told
            kept = tuple(one for one in course.points if one.images < point.images)
            told.courses[name] = replace(course, points=(*kept, point))
            for text in event.get("decisions") or ():
                if text not in seen:
                    seen.add(text)
                    told.decisions.append((name, str(text)))
        elif kind == "end":
            told.courses[name] = replace(course, status=event["status"], reason=str(event.get("reason") or ""))
            if told.courses[name].score is not None:
                told.ends.append(End(name, float(event.get("elapsed") or 0.0), images, seconds))
        elif kind == "again":
            told.courses[name] = replace(course, status="running", reason="")
    return told


def _begun(event: Mapping[str, Any]) -> Course:
    teacher = event.get("teacher")
    return Course(
        trial=str(event["trial"]),
        budget=str(event.get("budget")),
        student=str(event.get("student")),
        method=str(event.get("method")),
        policy=str(event.get("policy")),
        budgets=tuple(map(str, event.get("budgets") or ())),
        teacher=None if teacher is None else str(teacher),
        ratio=event.get("ratio"),
        values=event.get("values") or {},
        config=event.get("config") or {},
        costs={},
    )


def _point(event: Mapping[str, Any]) -> Point:
    score = event.get("val_top1")
    return Point(
        images=int(event.get("images") or 0),
        epochs=float(event.get("epochs") or 0.0),
        val_top1=float(score) if score is not None else math.nan,
        seconds=float(event.get("seconds") or 0.0),
        teacher_seconds=float(event.get("teacher_seconds") or 0.0),
        elapsed=float(event.get("elapsed") or 0.0),
        rung=event.get("rung"),
        final=bool(event.get("final")),
        hits=event.get("signal_hits"),
        misses=event.get("signal_misses"),
    )


def _with_costs(course: Course, row: dict[str, Any], budgets: list[dict[str, Any]]) -> Course:
    costs = {name: float(row[name]) for name in COSTS if isinstance(row.get(name), (int, float))}
    admitted = course.budgets or tuple(one["name"] for one in budgets if admits(one, row, {}))
    return replace(course, costs=costs, budgets=admitted)


def validation_images(config: Mapping[str, Any]) -> int | None:
    """How many images the validation split has, about (a stratified cut rounds by class); None where it cannot be told."""
    from autokd.data.training import describe

    data = config.get("data") or {}
    if data.get("split_file") or not data.get("validation"):
        return None
    try:
        card = describe(str(data.get("name")), root=data.get("root"), options=data.get("options") or {})
    except (AutokdError, OSError, ValueError):  # another machine, without the data
        return None
    return card.validated_on(float(data["validation"]))
