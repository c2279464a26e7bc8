"""What a run found, in a few tables: the best student of each budget, the front, what was passed over, what failed.

Everything is computed from the run folder (trials.parquet, ledger.jsonl, space.yaml), so that it can be asked for while the
search runs and on another machine. The same summary comes as text, Markdown, CSV and JSON.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError
from autokd.report.words import amount, duration, percent

__all__ = ["FORMATS", "Pick", "Summary", "headline", "render", "sections", "settings_of", "summarise"]

FORMATS = ("table", "md", "csv", "json")
_PASSED_OVER = 3  # a budget


@dataclass(frozen=True)
class Pick:
    """One trial as a table shows it. `gap` is in points of validation top-1 behind the budget's best."""

    trial: str
    val_top1: float
    student: str
    teacher: str | None
    method: str
    settings: str
    policy: str
    ratio: float | None
    params: int | None
    macs: int | None
    epochs: float
    images: int
    seconds: float
    status: str
    seed: int | None = None
    gap: float = 0.0
    config: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Summary:
    """What is known of a run. `best` and `passed_over` go by the budget's name."""

    run: str
    state: str  # running, finished, paused, cancelled, failed or cut off
    reason: str
    seconds: float
    counts: dict[str, int]  # trials by status
    images: int  # views all students trained on
    budgets: tuple[dict[str, Any], ...]
    best: dict[str, Pick | None]
    front: tuple[Pick, ...]
    passed_over: dict[str, tuple[Pick, ...]]
    failures: tuple[dict[str, str], ...]
    teachers: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(folder: str | Path) -> Summary:
    """Read a run folder. Raises AutokdError where it is none."""
    folder = Path(folder)
    told = _ledger(folder)
    rows = _last_rows(folder)
    budgets = _budgets(folder, told)
    reached = [pick for pick in map(_pick, rows) if _counts(pick)]
    best: dict[str, Pick | None] = {}
    passed: dict[str, tuple[Pick, ...]] = {}
    for budget in budgets:
        fitting = sorted((pick for pick in reached if _admits(budget, pick, told)), key=_rank)
        best[budget["name"]] = fitting[0] if fitting else None
        rest = [_with_gap(pick, fitting[0]) for pick in _one_each(fitting)[1 : 1 + _PASSED_OVER]]
        passed[budget["name"]] = tuple(rest)
    counts = {"running": 0, "done": 0, "stopped": 0, "failed": 0}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    closed = told.closed or {}
    return Summary(
        run=folder.name,
        state=str(closed.get("status") or "running"),
        reason=str(closed.get("reason") or ""),
        seconds=told.elapsed,
        counts=counts,
        images=sum(int(row["images"] or 0) for row in rows),
        budgets=tuple(budgets),
        best=best,
        front=tuple(_front(reached)),
        passed_over=passed,
        failures=tuple(
            {"trial": row["trial"], "student": row["student"], "reason": row["reason"] or "not told"}
            for row in rows
            if row["status"] == "failed"
        ),
        teachers=tuple(told.teachers.values()),
    )


@dataclass
class _Told:
    """What only the ledger says: the state of the search, the teachers, and which budgets admit each trial's student."""

    began: dict[str, Any] = field(default_factory=dict)
    closed: dict[str, Any] | None = None
    elapsed: float = 0.0
    teachers: dict[str, dict[str, Any]] = field(default_factory=dict)
    admitted: dict[str, list[str]] = field(default_factory=dict)


def _ledger(folder: Path) -> _Told:
    from autokd.track.ledger import FILE, read_events

    told = _Told()
    if not (folder / FILE).exists():
        return told
    for event in read_events(folder / FILE):
        kind = event["event"]
        told.elapsed = max(told.elapsed, float(event.get("elapsed") or 0.0))
        if kind == "begin":
            told.began = event
        elif kind in ("close", "resume"):
            told.closed = event if kind == "close" else None
        elif kind == "teacher":
            keep = ("teacher", "val_top1", "checkpoint", "trained", "saw_validation", "seconds")
            told.teachers[str(event.get("teacher"))] = {key: event.get(key) for key in keep}
        elif kind == "trial" and event.get("budgets") is not None:
            told.admitted[event["trial"]] = list(event["budgets"])
    return told


def _last_rows(folder: Path) -> list[dict[str, Any]]:
    """The latest row of every trial, in the order in which trials began."""
    from autokd.track.table import read_table

    latest: dict[str, dict[str, Any]] = {}
    for row in read_table(folder).to_pylist():
        known = latest.get(row["trial"])
        if known is None or (row["images"] or 0) >= (known["images"] or 0):
            latest[row["trial"]] = row
    return list(latest.values())


def _budgets(folder: Path, told: _Told) -> list[dict[str, Any]]:
    """The budgets with their limits, as the space's file has them; their names alone where it can no longer be read."""
    from autokd.config.search_space import load_space

    listed = told.began.get("budgets") or []
    if listed and all(isinstance(budget, dict) for budget in listed):
        return [dict(budget) for budget in listed]
    try:
        space = load_space(folder / "space.yaml")
    except AutokdError:  # a teacher's file has moved, or there is no such file
        if not listed:
            raise
        return [{"name": str(name)} for name in listed]
    return [
        {"name": b.name, "params": b.params, "macs": b.macs, "of_teacher": dict(b.of_teacher)} for b in space.budgets
    ]


def _pick(row: dict[str, Any]) -> Pick:
    config = json.loads(row["config"]) if row.get("config") else {}
    return Pick(
        trial=row["trial"],
        val_top1=row["val_top1"] if row["val_top1"] is not None else math.nan,
        student=row["student"],
        teacher=row["teacher"],
        method=row["method"],
        settings=settings_of(config),
        policy=row["policy"],
        ratio=row["ratio"],
        params=row["params"],
        macs=row["macs"],
        epochs=row["epochs"] or 0.0,
        images=row["images"] or 0,
        seconds=row["seconds"] or 0.0,
        status=row["status"],
        seed=row["seed"],
        config=config,
    )


def settings_of(config: dict[str, Any]) -> str:
    """The settings of a trial's method and policy in a few words: 'temperature 4, kd_weight 0.9'."""
    method = (config.get("method") or {}).get("settings") or {}
    policy = (config.get("policy") or {}).get("settings") or {}
    loss = config.get("loss") or {}
    words = [f"{key} {_short(value)}" for key, value in {**method, **policy}.items()]
    if config.get("teacher"):
        words += [f"{key} {_short(loss[key])}" for key in ("ce_weight", "kd_weight") if key in loss]
    recipe = config.get("recipe") or {}
    words += [f"{key} {_short(recipe[key])}" for key in ("lr",) if key in recipe]
    return ", ".join(words)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _counts(pick: Pick) -> bool:
    """Trials that were trained to their end are compared; a shorter training's score says something else."""
    return pick.status == "done" and math.isfinite(pick.val_top1)


def _admits(budget: dict[str, Any], pick: Pick, told: _Told) -> bool:
    """Whether the budget admits the pick's student: as the ledger has it, else by its limits."""
    if pick.trial in told.admitted:
        return budget["name"] in told.admitted[pick.trial]
    for key in ("params", "macs"):
        limit, value = budget.get(key), getattr(pick, key)
        if limit is not None and (value is None or value > limit):
            return False
    return True


def _rank(pick: Pick) -> tuple[float, float, float, str]:
    """Most accurate first; among equals the cheapest."""
    return (-pick.val_top1, pick.macs or 0, pick.params or 0, pick.trial)


def _one_each(ranked: Sequence[Pick]) -> list[Pick]:
    """The best trial of each way of training (student, method, policy), so that near-copies do not fill the list."""
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for pick in ranked:
        way = (pick.student, pick.teacher, pick.method, pick.policy)
        if way not in seen:
            seen.add(way)
            kept.append(pick)
    return kept


def _with_gap(pick: Pick, best: Pick) -> Pick:
    from dataclasses import replace

    return replace(pick, gap=100 * (best.val_top1 - pick.val_top1))


def _front(picks: Iterable[Pick]) -> list[Pick]:
    """Trials that no cheaper or equally cheap one (in multiply-accumulates) equals in accuracy, the cheapest first."""
    front: list[Pick] = []
    for pick in sorted(picks, key=lambda pick: (pick.macs or 0, -pick.val_top1, pick.params or 0, pick.trial)):
        if not front or pick.val_top1 > front[-1].val_top1:
            front.append(pick)
    return front


@dataclass(frozen=True)
class Section:
    """One table: a title, the names of its columns, its rows as words, and what is said where there are none."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    none: str = ""


def sections(summary: Summary, *, short: bool = False) -> list[Section]:
    """The tables of a summary, for whoever draws them. `short` leaves the best of each budget only."""
    limits = {budget["name"]: limits_of(budget) for budget in summary.budgets}
    head = ("budget", "limits", "trial", "val top-1", "student", "teacher", "method", "policy", "params", "MACs")
    found = []
    for name, pick in summary.best.items():
        if pick is None:
            found.append((name, limits[name], *["-"] * 8))
        else:
            found.append((name, limits[name], pick.trial, percent(pick.val_top1), pick.student, pick.teacher or "-", pick.method,
                          policy_of(pick), amount(pick.params), amount(pick.macs)))  # fmt: skip
    told = [Section("Best student of each budget, by validation accuracy", head, tuple(found), "no budgets")]
    if short:
        return told
    settings = tuple((name, pick.trial, pick.settings) for name, pick in summary.best.items() if pick)
    told.append(Section("Their settings", ("budget", "trial", "settings"), settings, "no trial has finished yet"))
    columns = ("trial", "val top-1", "MACs", "params", "student", "teacher", "method", "policy")
    told.append(
        Section(
            "Front: nothing cheaper is as accurate",
            columns,
            tuple(
                (
                    p.trial,
                    percent(p.val_top1),
                    amount(p.macs),
                    amount(p.params),
                    p.student,
                    p.teacher or "-",
                    p.method,
                    policy_of(p),
                )
                for p in summary.front
            ),
            "no trial has finished yet",
        )
    )
    passed = tuple(
        (name, p.trial, percent(p.val_top1), f"-{p.gap:.2f}", p.student, p.teacher or "-", p.method, policy_of(p))
        for name, picks in summary.passed_over.items()
        for p in picks
    )
    columns = ("budget", "trial", "val top-1", "points", "student", "teacher", "method", "policy")
    told.append(Section("Passed over: the next best of each budget", columns, passed, "nothing"))
    failed = tuple((failure["trial"], failure["student"], failure["reason"]) for failure in summary.failures)
    told.append(Section("Failed", ("trial", "student", "reason"), failed, "no trial failed"))
    if summary.teachers:
        rows = tuple(
            (
                str(teacher["teacher"]),
                percent(teacher["val_top1"]),
                "trained here" if teacher.get("trained") else "loaded",
                "saw the validation images" if teacher.get("saw_validation") else "",
            )
            for teacher in summary.teachers
        )
        told.append(Section("Teachers, on the validation split", ("teacher", "val top-1", "", "note"), rows))
    return told


def headline(summary: Summary) -> str:
    """The run in two lines: what became of it, and what it took."""
    counts = ", ".join(f"{number} {state}" for state, number in summary.counts.items() if number) or "no trials"
    reason = f" ({summary.reason})" if summary.reason else ""
    cost = f"{duration(summary.seconds)}, {amount(summary.images)} views trained on"
    return f"{summary.run}: {summary.state}{reason}\n{counts}; {cost}"


def render(summary: Summary, form: str) -> str:
    """The summary as `md`, `csv`, `json` or plain text (`table`). Raises AutokdError for another word."""
    if form == "json":
        return json.dumps(_finite(summary.to_dict()), indent=2, ensure_ascii=False)
    if form == "csv":
        return _csv(summary)
    if form == "md":
        return _markdown(summary)
    if form == "table":
        return _text(summary)
    raise AutokdError(f"no format {form!r}", fix="one of: " + ", ".join(FORMATS))


def _csv(summary: Summary) -> str:
    """One row a pick; `part` says which table it stands in."""
    names = [name for name in Pick.__dataclass_fields__ if name != "config"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "budget", *names])

    def line(part: str, budget: str, pick: Pick) -> None:
        values = [getattr(pick, name) for name in names]
        writer.writerow([part, budget, *("" if value is None else value for value in values)])

    for budget, pick in summary.best.items():
        if pick is not None:
            line("best", budget, pick)
    for pick in summary.front:
        line("front", "", pick)
    for budget, picks in summary.passed_over.items():
        for pick in picks:
            line("passed over", budget, pick)
    return out.getvalue().rstrip("\n")


def _markdown(summary: Summary) -> str:
    parts = [f"# {summary.run}", headline(summary)]
    for section in sections(summary):
        parts.append(f"## {section.title}")
        if not section.rows:
            parts.append(section.none)
            continue
        lines = [_bar(section.columns), _bar(["---"] * len(section.columns)), *(_bar(row) for row in section.rows)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _bar(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _text(summary: Summary) -> str:
    parts = [headline(summary)]
    for section in sections(summary):
        lines = [section.title]
        if section.rows:
            table = [section.columns, *section.rows]
            widths = [max(len(row[i]) for row in table) for i in range(len(section.columns))]
            lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
        else:
            lines.append(section.none)
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def policy_of(pick: Pick) -> str:
    return f"{pick.policy} {pick.ratio:.2f}" if pick.ratio is not None and pick.policy != "none" else pick.policy


def limits_of(budget: dict[str, Any]) -> str:
    """'≤ 300 k params, 45 M MACs'."""
    words = [
        f"{amount(budget[key])} {unit}"
        for key, unit in (("params", "params"), ("macs", "MACs"))
        if budget.get(key) is not None
    ]
    words += [f"{100 * part:.4g} % of the teacher's {key}" for key, part in (budget.get("of_teacher") or {}).items()]
    return "≤ " + ", ".join(words) if words else "no limit"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
