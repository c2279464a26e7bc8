"""What a run found, in a few tables: the best student of each budget, the front, what was passed over, what failed.

Everything is computed from the run folder (ledger.jsonl, space.yaml, confirm.json, final/), so that it can be asked for while the
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

from autokd.config.limits import COSTS, Deployment, cost_of_row, limits_in, unusual
from autokd.errors import AutokdError
from autokd.report.columns import LIMITS, MACS, METHOD, PARAMS, POLICY, STUDENT, TEACHER, Column, folded
from autokd.report.finals import FILES, MEASURED, TESTED, file_rows, read_finals, score_rows
from autokd.report.words import amount, cost, duration, percent
from autokd.select.best import admitted_of, best, front, is_ranked, last_rows, limited, limits_of_run, to_finish
from autokd.select.confirmed import confirmed_row, read_confirmed
from autokd.select.empty import why_empty
from autokd.track.ledger import FILE, all_events
from autokd.track.markdown import in_markdown
from autokd.track.recorder import rows_of
from autokd.track.state import RunState, state_of

__all__ = ["FORMATS", "Pick", "Summary", "confirmation", "empty", "headline", "render", "sections", "settings_of", "summarise"]

FORMATS = ("table", "md", "csv", "json")  # as text; the page is autokd.report.run_page
_PASSED_OVER = 3  # a budget
_OF_TEACHER = (
    *("teacher", "val_top1", "ece", "params", "macs"),
    *("checkpoint", "trained", "policy", "saw_validation", "seconds"),
)


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
    file_size: int | None
    memory: int | None
    latency_ms: float | None
    epochs: float
    images: int
    seconds: float
    status: str
    seed: int | None = None
    precision: str | None = None  # what it was trained in: float32, tf32 or bf16
    gap: float = 0.0
    config: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    latencies: dict[str, float] = field(default_factory=dict, repr=False, compare=False)  # ms by conditions


@dataclass(frozen=True)
class Summary:
    """What is known of a run. `best`, `passed_over` and `leading` go by the budget's name.

    `leading` has the best trial under way of each budget that has no finished one yet; it may still be stopped. Where no image
    was held out (`select` is last) `best`, `front` and `passed_over` are empty, and `finished` has every trial that came to its
    end, by the names that autokd finalize gives them.
    """

    run: str
    state: str  # a word of autokd.track.state.STATES
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
    leading: dict[str, Pick] = field(default_factory=dict)
    confirmed: dict[str, Any] | None = None  # what RUN/confirm.json says
    stale: tuple[str, ...] = ()  # budgets whose search found a better trial since
    chosen: dict[str, Pick] = field(default_factory=dict)  # what was confirmed and still holds, by budget
    latencies: dict[str, Any] = field(default_factory=dict)  # as the ledger has them: machine, timings, marginal
    finals: tuple[dict[str, Any], ...] = ()  # what RUN/final/*/metrics.json say, but for the long lists
    select: str = "validation"  # or last: nothing ranks the trials
    finished: dict[str, dict[str, Pick]] = field(default_factory=dict)  # by budget, where nothing ranks them
    empty: dict[str, str] = field(default_factory=dict)  # budgets of which no trial has come to its end, and why

    @property
    def no_students(self) -> bool:
        """Whether no trial of any budget has come to its end."""
        return len(self.empty) == len(self.budgets)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(folder: str | Path) -> Summary:
    """Read a run folder. Raises AutokdError where it is none."""
    folder = Path(folder)
    events = all_events(folder / FILE) if (folder / FILE).exists() else []
    told = _told(events)
    rows = last_rows(rows_of(folder, events))
    budgets = limits_of_run(folder, events)
    admitted = admitted_of(events)
    under_way = [{**row, "status": "done"} for row in rows if row["status"] == "running"]  # as if they ended here
    ahead = {name: ranked[0]["trial"] for name, ranked in best(under_way, budgets, admitted).items() if ranked}
    confirmed = read_confirmed(folder)
    stale = []
    chosen: dict[str, Pick] = {}
    found: dict[str, Pick | None] = {}
    passed: dict[str, tuple[Pick, ...]] = {}
    for name, ranked in best(rows, budgets, admitted).items():
        told_of = (confirmed or {"budgets": {}})["budgets"].get(name)
        row = confirmed_row(ranked, told_of)
        if row is not None:
            chosen[name] = _pick(row)
        elif told_of and told_of["chosen"]:
            stale.append(name)
        fitting = [_pick(row) for row in ranked]
        found[name] = fitting[0] if fitting else None
        passed[name] = tuple(_with_gap(pick, fitting[0]) for pick in _one_each(fitting)[1 : 1 + _PASSED_OVER])
    counts = {"running": 0, "done": 0, "stopped": 0, "failed": 0}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    state = state_of(folder, events)
    select = "validation" if is_ranked(events) else "last"
    finished = {} if select == "validation" else to_finish(rows, budgets, events)
    return Summary(
        run=folder.name,
        state=state.word,
        reason=state.reason,
        seconds=told.elapsed,
        counts=counts,
        images=sum(int(row["images"] or 0) for row in rows),
        budgets=tuple(budgets),
        best=found,
        front=tuple(_pick(row) for row in front(rows, limited(budgets))),
        passed_over=passed,
        failures=tuple(
            {"trial": row["trial"], "student": row["student"], "reason": row["reason"] or "not told"}
            for row in rows
            if row["status"] == "failed"
        ),
        teachers=tuple(told.teachers.values()),
        latencies=told.latencies,
        leading={
            name: _pick(next(row for row in rows if row["trial"] == trial))
            for name, trial in ahead.items()
            if found[name] is None
        },
        confirmed=confirmed,
        stale=tuple(stale),
        chosen=chosen,
        finals=read_finals(folder, [name for budget in budgets for name in finished.get(budget["name"]) or (budget["name"],)]),
        select=select,
        empty=why_empty(rows, budgets, admitted),
        finished={name: {label: _pick(row) for label, row in some.items()} for name, some in finished.items()},
    )


@dataclass
class _Told:
    """What only the ledger says: how long it took, the teachers and the latencies."""

    elapsed: float = 0.0
    teachers: dict[str, dict[str, Any]] = field(default_factory=dict)
    latencies: dict[str, Any] = field(default_factory=dict)


def _told(events: Iterable[dict[str, Any]]) -> _Told:
    told = _Told()
    for event in events:
        kind = event["event"]
        told.elapsed = max(told.elapsed, float(event.get("elapsed") or 0.0))
        if kind in ("begin", "resume"):
            told.latencies = event.get("latencies") or {}
        if kind == "teacher":
            told.teachers[str(event.get("teacher"))] = {key: event.get(key) for key in _OF_TEACHER}
    return told


def _pick(row: dict[str, Any]) -> Pick:
    config = json.loads(row["config"]) if row.get("config") else {}
    return Pick(
        trial=row["trial"],
        val_top1=row["val_top1"] if row["val_top1"] is not None else math.nan,
        student=row["student"],
        teacher=row["teacher"],
        method=row["method"],
        settings=", ".join(filter(None, (settings_of(config), row.get("precision")))),
        policy=row["policy"],
        ratio=row["ratio"],
        params=row["params"],
        macs=row["macs"],
        file_size=row.get("file_size"),
        memory=row.get("memory"),
        latency_ms=row.get("latency_ms"),
        latencies=json.loads(row["latencies"]) if row.get("latencies") else {},
        epochs=row["epochs"] or 0.0,
        images=row["images"] or 0,
        seconds=row["seconds"] or 0.0,
        status=row["status"],
        seed=row["seed"],
        precision=row.get("precision"),
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
    for term in (config.get("method") or {}).get("also") or ():
        words.append(f"+ {_short(float(term['weight']))} {term['name']}")
    if loss.get("adapt", "fixed") != "fixed":
        words.append(f"weights by {loss['adapt']}")
    recipe = config.get("recipe") or {}
    words += [f"{key} {_short(recipe[key])}" for key in ("lr",) if key in recipe]
    return ", ".join(words)


def _origin(teacher: dict[str, Any]) -> str:
    if teacher.get("policy") in (None, "none"):
        return "trained here" if teacher.get("trained") else "loaded"
    return f"trained with {teacher['policy']}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
    extra = [name for name in limited(summary.budgets) if name not in ("params", "macs")]
    told = _best(summary, limits, extra) if summary.select == "validation" else [_finished(summary, limits, extra)]
    told += empty(summary)
    told += confirmation(summary, short=short)
    if summary.finals:
        how = "retrained with fresh seeds" if summary.select == "validation" else "the last epoch of each seed"
        told.append(Section(f"Tested: {how} by autokd finalize", TESTED, tuple(score_rows(summary.finals))))
    if short:
        return told
    if summary.finals:
        told.append(Section(MEASURED, FILES, tuple(file_rows(summary.finals)), "none"))
    if summary.select == "validation":
        told += _ranking(summary, extra)
    failed = tuple((failure["trial"], failure["student"], failure["reason"]) for failure in summary.failures)
    told.append(Section("Failed", ("trial", STUDENT, folded("reason")), failed, "no trial failed"))
    told += _latencies(summary)
    if summary.teachers:
        rows = tuple(
            (
                str(teacher["teacher"]),
                percent(teacher["val_top1"]),
                percent(teacher.get("ece")),
                amount(teacher.get("params")),
                amount(teacher.get("macs")),
                _origin(teacher),
                "saw the validation images" if teacher.get("saw_validation") else "",
            )
            for teacher in summary.teachers
        )
        origin, note = folded("origin", 2), folded("note")
        facts = (folded("teacher"), "val top-1", Column("calibration error", 3), PARAMS, MACS, origin, note)
        where = "on the validation split" if summary.select == "validation" else "not measured: no image was held out"
        told.append(Section(f"Teachers, {where}", facts, rows))
    return told


def _best(summary: Summary, limits: dict[str, str], extra: Sequence[str]) -> list[Section]:
    head = ("budget", LIMITS, "trial", "val top-1", STUDENT, PARAMS, MACS, TEACHER, METHOD)
    found = []
    for name, best_one in summary.best.items():
        pick = best_one or summary.leading.get(name)
        if pick is None:
            found.append((name, limits[name], "none", *["-"] * (len(head) - 3)))
        else:
            so_far = "" if best_one else " so far"
            found.append((name, limits[name], pick.trial, percent(pick.val_top1) + so_far, pick.student, amount(pick.params),
                          amount(pick.macs), pick.teacher or "-", pick.method))  # fmt: skip
    told = [Section("Best student of each budget, by validation accuracy", head, tuple(found), "no budgets")]
    return [*told, _costs(summary, extra)] if extra else told


EMPTY = "Budgets without a student"


def empty(summary: Summary) -> list[Section]:
    """Which budgets no trial has come to its end for, and why; a trial under way that leads one is told above."""
    rows = tuple((name, why) for name, why in summary.empty.items() if name not in summary.leading)
    return [Section(EMPTY, ("budget", folded("why")), rows)] if rows else []


UNRANKED = "Finished trainings: none is the best, no image was held out (search.select: last)"


def _finished(summary: Summary, limits: dict[str, str], extra: Sequence[str]) -> Section:
    """What came to its end where nothing ranks it, in the order of the trials."""
    columns = ("name", LIMITS, "trial", STUDENT, PARAMS, MACS, *(Column(TITLES[name], 5) for name in extra), TEACHER, METHOD,
               POLICY, folded("settings", 1))  # fmt: skip
    rows = []
    for budget in summary.budgets:
        for name, pick in summary.finished.get(budget["name"], {}).items():
            dear = (cost(one, cost_of_row(asdict(pick), one, budget)) for one in extra)
            rows.append((name, limits[budget["name"]], pick.trial, pick.student, amount(pick.params), amount(pick.macs), *dear,
                         pick.teacher or "-", pick.method, policy_of(pick), pick.settings))  # fmt: skip
    return Section(UNRANKED, columns, tuple(rows), "no trial has finished yet")


def _ranking(summary: Summary, extra: Sequence[str]) -> list[Section]:
    """The settings of the best, the front, and what was passed over."""
    picks = {name: summary.chosen.get(name, pick) for name, pick in summary.best.items()}
    settings = tuple((name, pick.trial, policy_of(pick), pick.settings) for name, pick in picks.items() if pick)
    title = "Settings of the confirmed, or else the best" if summary.chosen else "Their settings"
    told = [Section(title, ("budget", "trial", POLICY, folded("settings")), settings, "no trial has finished yet")]
    dear = tuple(Column(TITLES[name], 5) for name in extra)
    columns = ("trial", "val top-1", Column("MACs", 1), Column("params", 1), *dear, STUDENT, TEACHER, METHOD, POLICY)
    told.append(
        Section(
            "Front: nothing as small and as cheap is as accurate",
            columns,
            tuple(
                (
                    p.trial,
                    percent(p.val_top1),
                    amount(p.macs),
                    amount(p.params),
                    *(cost(name, getattr(p, name)) for name in extra),
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
        (name, p.trial, percent(p.val_top1), f"{-p.gap:z.2f}", p.student, p.teacher or "-", p.method, policy_of(p))
        for name, picks in summary.passed_over.items()
        for p in picks
    )
    columns = ("budget", "trial", "val top-1", "points", STUDENT, TEACHER, METHOD, POLICY)
    told.append(Section("Passed over: the next best of each budget", columns, passed, "nothing"))
    return told


def confirmation(summary: Summary, *, short: bool = False) -> list[Section]:
    """The tables of a confirmation: what was chosen, what it gains, which knobs mattered; with who raced, where not `short`."""
    if summary.confirmed is None:
        return []
    budgets = summary.confirmed["budgets"]
    columns = ("budget", "trial", STUDENT, "fresh seeds", "95 % interval", Column("search said", 1), Column("optimism", 2),
               folded("verdict"))
    chosen = tuple(
        (name, one["trial"], one["student"], f"{percent(one['mean'])} ({len(one['seeds'])})", _span(one),
         percent(one["search"]), _points(told["optimism"]), _verdict(name, told, summary))
        if one is not None
        else (name, *["-"] * 6, _verdict(name, told, summary))
        for name, told, one in ((name, told, _chosen(told)) for name, told in budgets.items())
    )  # fmt: skip
    made = [Section("Confirmed with fresh seeds", columns, chosen)]
    gains = tuple(
        (name, role, one["student"], percent(one["mean"]), "it is the choice itself" if one["same"] else _gain(one["gain"]))
        for name, told in budgets.items()
        for role, one in told["controls"].items()
    )
    head = ("budget", folded("control"), STUDENT, "val top-1", folded("gain, in points (95 %)"))
    made.append(Section("Against controls, with the same seeds", head, gains, "no control was trained"))
    mattered = tuple((name, _mattered(told["knobs"])) for name, told in budgets.items())
    made.append(Section("Which knobs mattered, each by itself", ("budget", folded("share of the order of its trials")), mattered))
    if short:
        return made
    raced = tuple(
        (name, one["trial"], one["student"], amount(one["macs"]), percent(one["search"]), percent(one["mean"]),
         str(len(one["seeds"])), _fate(one, told))
        for name, told in budgets.items()
        for one in told["candidates"]
    )  # fmt: skip
    raced_by = ("budget", "trial", STUDENT, MACS, Column("search said", 1), "fresh", Column("seeds", 2), folded("to the best"))
    made.append(Section("The race; points to the best mean ± standard error", raced_by, raced))
    knobs = tuple(
        (name, one["name"], f"{one['share']:.0%}", f"{one['adjusted']:.2g}", "mattered" if one["mattered"] else "not shown")
        for name, told in budgets.items()
        for one in told["knobs"]["told"]
    )
    if knobs:
        made.append(Section("Knobs one by one", ("budget", "knob", "of the order", "p (Holm)", folded("verdict")), knobs))
    return made


def _mattered(knobs: dict[str, Any]) -> str:
    if not knobs["told"]:
        return f"too few trials to tell ({knobs['trials']})"
    words = [f"{one['name']} {one['share']:.0%}" for one in knobs["told"] if one["mattered"]]
    return ", ".join(words) or f"none is shown to, by {knobs['trials']} trials"


def _chosen(told: dict[str, Any]) -> dict[str, Any] | None:
    return next((one for one in told["candidates"] if one["trial"] == told["chosen"]), None)


def _verdict(name: str, told: dict[str, Any], summary: Summary) -> str:
    if name in summary.stale:
        return "out of date: confirm again"
    return told["verdict"] + (f" ({told['why']})" if told["why"] else "")


def _span(one: dict[str, Any]) -> str:
    return f"{100 * one['low']:.2f} to {100 * one['high']:.2f}"


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:+z.2f}"


def _gain(gain: dict[str, Any] | None) -> str:
    return "-" if gain is None else f"{_points(gain['mean'])} ({_points(gain['low'])} to {_points(gain['high'])})"


def _fate(one: dict[str, Any], told: dict[str, Any]) -> str:
    """What became of a candidate, in a few words."""
    out = one["dropped"]
    if out is not None and out["failed"]:
        return f"failed: {out['failed']}"
    if out is not None:
        return f"dropped: {_points(-out['behind'])} to {out['leader']}, p {out['p']:.2g}"
    if told["chosen"] is None:
        return ""
    behind = one["behind"]
    words = ["best mean"] if one["trial"] == told["best"] or behind is None else []
    words = words or [f"{_points(-behind['mean'])} ± {100 * behind['se']:.2f}"]
    words += ["chosen"] if one["trial"] == told["chosen"] else ["as good"] if one["within"] and behind is not None else []
    return ", ".join(words)


def _costs(summary: Summary, names: Sequence[str]) -> Section:
    """What the best students cost beyond parameters and multiply-accumulates; a latency under the budget's own conditions."""
    rows = []
    for budget in summary.budgets:
        pick = summary.best.get(budget["name"]) or summary.leading.get(budget["name"])
        if pick is not None:
            told = [cost(name, cost_of_row(asdict(pick), name, budget)) for name in names]
            rows.append((budget["name"], pick.student, *told, budget.get("conditions") or ""))
    columns = ("budget", STUDENT, *(TITLES[name] for name in names), folded("conditions of the latency", 1))
    if "latency_ms" not in names:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Section("What they cost at inference", columns, tuple(rows), "no trial has finished yet")


def _latencies(summary: Summary) -> list[Section]:
    """What was timed, a table for each deployment, and which budgets' limits lie inside the interval."""
    machine = summary.latencies.get("machine", {})
    where = ", ".join(str(machine[key]) for key in ("gpu", "processor") if machine.get(key)) or "an unknown machine"
    asking = {b["name"]: str(Deployment(**b["deployment"])) for b in summary.budgets if b.get("deployment")}
    tables: dict[str, list[tuple[str, ...]]] = {}
    for one in summary.latencies.get("timings", ()):
        student, deployment = one.get("student"), one["deployment"]
        marginal = [
            name
            for name, some in summary.latencies.get("marginal", {}).items()
            if student in some and asking.get(name) == deployment
        ]
        words = [f"marginal for {', '.join(marginal)}"] if marginal else []
        kept = [
            name
            for name, some in summary.latencies.get("doubtful", {}).items()
            if student in some and asking.get(name) == deployment
        ]
        if one.get("busy"):
            words.append(f"not trustworthy: {one.get('doubt') or 'something else was running'}")
            words += [f"kept in {', '.join(kept)}"] if kept else []
        name = student or f"{one.get('teacher')} (teacher)"
        tables.setdefault(deployment, []).append((name, _estimate(one["median"]), _estimate(one["p90"]), "; ".join(words)))
    columns = (folded("network"), folded("median, ms (95 % interval)"), folded("90th percentile, ms", 1), folded("note"))
    return [
        Section(f"Latency, {deployment}, on {where}", columns, tuple(rows))
        for deployment, rows in tables.items()
    ]


def _estimate(told: Sequence[float]) -> str:
    value, low, high = told
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def headline(summary: Summary) -> str:
    """The run in two lines: what became of it, and what it took."""
    told = dict(summary.counts)
    if summary.state != "running":
        told["unfinished"] = told.pop("running", 0)
    counts = ", ".join(f"{number} {state}" for state, number in told.items() if number) or "no trials"
    cost = f"{duration(summary.seconds)}, {amount(summary.images)} views trained on"
    return f"{summary.run}: {RunState(summary.state, summary.reason)}\n{counts}; {cost}"


def render(summary: Summary, form: str, more: Sequence[Section] = ()) -> str:
    """The summary as `md`, `csv`, `json` or plain text (`table`), the latter and `md` with `more` tables at the end.

    Raises AutokdError for another word.
    """
    if form == "json":
        return json.dumps(_finite(summary.to_dict()), indent=2, ensure_ascii=False)
    if form == "csv":
        return _csv(summary)
    if form == "md":
        return _markdown(summary, more)
    if form == "table":
        return _text(summary, more)
    raise AutokdError(f"no format {form!r}", fix="one of: " + ", ".join((*FORMATS, "html")))


def _csv(summary: Summary) -> str:
    """One row a pick; `part` says which table it stands in."""
    names = [name for name in Pick.__dataclass_fields__ if name not in ("config", "latencies")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "budget", *names])

    def line(part: str, budget: str, pick: Pick) -> None:
        values = [_finite(getattr(pick, name)) for name in names]
        writer.writerow([part, budget, *("" if value is None else value for value in values)])

    for budget, pick in summary.best.items():
        if pick is not None:
            line("best", budget, pick)
    for budget, picks_by_name in summary.finished.items():
        for pick in picks_by_name.values():
            line("finished", budget, pick)
    for pick in summary.front:
        line("front", "", pick)
    for budget, picks in summary.passed_over.items():
        for pick in picks:
            line("passed over", budget, pick)
    return out.getvalue().rstrip("\n")


def _markdown(summary: Summary, more: Sequence[Section]) -> str:
    parts = [f"# {in_markdown(summary.run)}", in_markdown(headline(summary))]
    for section in (*sections(summary), *more):
        parts.append(f"## {in_markdown(section.title)}")
        if not section.rows:
            parts.append(in_markdown(section.none))
            continue
        lines = [_bar(section.columns), _bar(["---"] * len(section.columns)), *(_bar(row) for row in section.rows)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _bar(cells: Iterable[str]) -> str:
    return "| " + " | ".join(in_markdown(cell) for cell in cells) + " |"


def _text(summary: Summary, more: Sequence[Section]) -> str:
    parts = [headline(summary)]
    for section in (*sections(summary), *more):
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


TITLES = {"params": "params", "macs": "MACs", "file_size": "file", "memory": "memory", "latency_ms": "latency"}
_UNITS = {"params": " params", "macs": " MACs", "file_size": " file", "memory": " memory", "latency_ms": ""}
_OWNED = {"file_size": "file", "latency_ms": "latency"}


def limits_of(budget: dict[str, Any]) -> str:
    """'≤ 300 k params, 45 M MACs, 1 MB file, 5 ms (p90, 4 threads)'."""
    words = {name: f"{cost(name, limit)}{_UNITS[name]}" for name, limit in limits_in(budget).items()}
    for name, part in (budget.get("of_teacher") or {}).items():
        words[name] = f"{100 * part:.4g} % of the teacher's {_OWNED.get(name, name)}"
    if "latency_ms" in words and (odd := unusual(budget)):
        words["latency_ms"] += f" ({odd})"
    return "≤ " + ", ".join(words[name] for name in COSTS if name in words) if words else "no limit"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
