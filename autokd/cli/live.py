"""What a person watches while a search runs: budgets with their leaders on top, trials below, time at the side.

The search tells what happens as plain dictionaries, those that `autokd.track.recorder` lists; a board keeps what it heard and
draws it. Nothing here computes a result: the ledger is the truth, this is a view of it. Beside the recorded events a search may
tell `phase` (text: what goes on before and between trials). What an event does not carry is left blank.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.cli.console import console, echo
from autokd.cli.documents import emit
from autokd.cli.tables import drawn
from autokd.cli.terminal import hang_up, shown
from autokd.config.limits import COSTS, cost_of_row, limits_in
from autokd.report.columns import LIMITS, Column
from autokd.report.summary import limits_of
from autokd.report.words import duration, percent, progress
from autokd.select.best import rank
from autokd.train.report import Throttle

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["Board", "Follower", "follow"]

_ROWS = 14  # trials shown


@dataclass
class _Line:
    """One trial as the board knows it."""

    trial: str
    facts: dict[str, Any]
    status: str = "running"
    images: float = 0
    epochs: float = 0
    val_top1: float = math.nan
    train_loss: float = math.nan
    reason: str = ""
    order: int = 0

    @property
    def arm(self) -> str:
        """Whom it is about, where it is part of a confirmation."""
        tags = self.facts.get("tags") or {}
        return str(tags["arm"]) if tags.get("role") else ""

    @property
    def label(self) -> str:
        return f"{self.trial} ({self.arm})" if self.arm else self.trial

    @property
    def scored(self) -> str:
        """Its last validation score; the loss that it trains on where no image is held out."""
        if math.isnan(self.val_top1) and math.isfinite(self.train_loss):
            return f"training loss {self.train_loss:.4f}"
        return f"val {percent(self.val_top1)}"

    @property
    def progress(self) -> float:
        if self.status == "done":  # whole batches may end a little before the last epoch does
            return 1.0
        whole = self.facts.get("total_epochs") or (self.facts.get("config") or {}).get("epochs") or 0
        return min(1.0, self.epochs / whole) if whole else 0.0


@dataclass
class Board:
    """All that was heard so far. `clock` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    run: str = ""
    name: str = ""
    phase: str = "reading the space"
    budgets: list[dict[str, Any]] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    trials: dict[str, _Line] = field(default_factory=dict)
    ended: str = ""
    what: str = "search"

    def __post_init__(self) -> None:
        self.start = self.clock()
        self.before = 0.0  # seconds of earlier sessions
        self.spared = math.nan  # seconds before the first trial: loading, teachers
        self.lock = threading.RLock()
        self.teaching: dict[str, dict[str, Any]] = {}  # teachers that are trained: how far each is
        self._throttles: dict[str, Throttle] = {}
        self._count = 0

    def take(self, event: dict[str, Any]) -> str | None:
        """Keep an event, and say it in one line; None where it is not worth one."""
        with self.lock:
            take = getattr(self, f"_take_{event.get('event', '')}", None)
            return take(event) if take else None

    def plan(self, *, name: str = "", budgets: Any = (), limits: dict[str, Any] | None = None) -> None:
        """What is known before the search begins, from the space."""
        with self.lock:
            self.name = name or self.name
            self.budgets = [dict(budget) for budget in budgets] or self.budgets
            self.limits = {key: value for key, value in (limits or {}).items() if value} or self.limits

    def catch_up(self, events: Iterable[dict[str, Any]]) -> None:
        """Keep the events of earlier sessions; trials that were under way then wait until the search takes them up."""
        for event in events:
            self.take(event)
            self.before = max(self.before, _number(event.get("elapsed"), 0.0))
        self.ended, self.phase = "", "reading the ledger"
        self.start = self.clock()

    def _take_begin(self, event: dict[str, Any]) -> str:
        if event.get("what"):
            return self._take_part(event)
        self.run = str(event.get("run") or self.run)
        budgets = [
            {"name": budget} if isinstance(budget, str) else dict(budget) for budget in event.get("budgets") or ()
        ]
        if not self.budgets or any(len(budget) > 1 for budget in budgets):
            self.budgets = budgets or self.budgets
        self.plan(name=Path(self.run).name, limits=event.get("limits"))
        numbers = {key: value for key, value in self.limits.items() if isinstance(value, (int, float))}
        words = {key: key.replace("gpu_", "GPU ").removesuffix("s" * (value == 1)) for key, value in numbers.items()}
        limits = ", ".join(f"{value:g} {words[key]}" for key, value in numbers.items())
        return f"run {self.run}" + (f"  (ends at {limits})" if limits else "")

    def _take_part(self, event: dict[str, Any]) -> str:
        """A part of a confirmation begins, or goes on: it has a ledger of its own, and trials of its own."""
        self.what, self.ended, self.trials, self.limits = str(event["what"]), "", {}, {}
        self.spared, self.before, self.start = math.nan, _number(event.get("elapsed"), 0.0), self.clock()
        self.plan(limits=event.get("limits"))
        if event["event"] == "resume":
            self._recall(Path(str(event.get("run"))))
        most = self.limits.get("trials")
        return f"{self.what}" + (f": {most:g} trainings at the most" if most else "")

    def _recall(self, folder: Path) -> None:
        """Keep what an earlier session of a part left in its ledger."""
        from autokd.track.ledger import FILE, read_events

        for event in read_events(folder / FILE):
            if event["event"] in ("trial", "report", "end", "again"):
                self.take(event)

    def _take_resume(self, event: dict[str, Any]) -> str:
        self.phase = "going on"
        return self._take_begin(event) if event.get("run") else "the search goes on"

    def _take_phase(self, event: dict[str, Any]) -> str:
        self.phase = str(event.get("text", ""))
        return self.phase

    def _take_decision(self, event: dict[str, Any]) -> str:
        self.phase = f"chosen: {event.get('text', '')}"
        return self.phase

    def _take_progress(self, event: dict[str, Any]) -> str | None:
        name = str(event["teacher"])
        self.teaching[name] = event
        throttle = self._throttles.setdefault(name, Throttle())
        due = throttle.due(event["epochs"], event["total_epochs"], look=bool(event.get("look")))
        told = (event["epochs"], event["total_epochs"], event.get("val_top1"), event.get("seconds_left"))
        return f"teacher {name}: {progress(*told)}" if due else None

    def _take_teacher(self, event: dict[str, Any]) -> str:
        self.teaching.pop(str(event.get("teacher")), None)
        made = "trained" if event.get("trained") else "loaded"
        seen = " (it saw these images in training)" if event.get("saw_validation") else ""
        accuracy = _number(event.get("val_top1"), math.nan)
        score = f": {percent(accuracy)} on validation" if math.isfinite(accuracy) else ""
        self.phase = f"teacher {event.get('teacher')} {made}{score}{seen}"
        return self.phase

    def _take_trial(self, event: dict[str, Any]) -> str:
        self._count += 1
        self.teaching.clear()
        if math.isnan(self.spared):
            self.spared = _number(event.get("elapsed"), self.elapsed)
        trial = str(event["trial"])
        known = self.trials.get(trial)
        line = known or _Line(trial, {})
        line.facts.update({key: value for key, value in event.items() if value is not None})
        line.status, line.order = "running", self._count
        self.trials[trial] = line
        self.phase = ""
        return f"trial {line.label} {'goes on' if known else 'starts'}  {self._words(line)}"

    def _take_again(self, event: dict[str, Any]) -> str:
        line = self._line(event)
        line.status, line.reason = "running", ""
        because = f"  ({event['because']})" if event.get("because") else ""
        return f"trial {line.label} goes on  {self._words(line)}{because}"

    def _take_report(self, event: dict[str, Any]) -> str:
        line = self._line(event)
        self._score(line, event)
        return f"trial {line.label} at {line.epochs:.3g} epochs  {line.scored}  {self._words(line)}"

    def _take_end(self, event: dict[str, Any]) -> str:
        line = self._line(event)
        line.status = str(event.get("status", "done"))
        line.reason = str(event.get("reason") or "")
        self._score(line, event)
        reason = f"  ({line.reason})" if line.reason else ""
        return f"trial {line.label} {line.status}  {line.scored}  {self._words(line)}{reason}"

    def _take_close(self, event: dict[str, Any]) -> str:
        self.ended = str(event.get("status") or "finished")
        reason = str(event.get("reason") or "")
        self.phase = f"{self.what} {self.ended}" + (f": {reason}" if reason else "")
        return self.phase

    @staticmethod
    def _score(line: _Line, event: dict[str, Any]) -> None:
        line.images = _number(event.get("images"), line.images)
        line.epochs = _number(event.get("epochs"), line.epochs)
        line.val_top1 = _number(event.get("val_top1"), line.val_top1)
        line.train_loss = _number(event.get("train_loss"), line.train_loss)

    def _line(self, event: dict[str, Any]) -> _Line:
        trial = str(event["trial"])
        if trial not in self.trials:
            self._count += 1
            self.trials[trial] = _Line(trial, dict(event), order=self._count)
        return self.trials[trial]

    @staticmethod
    def _words(line: _Line) -> str:
        facts = line.facts
        pair = (
            f"{facts['teacher']} > {facts.get('student', '?')}"
            if facts.get("teacher")
            else str(facts.get("student", ""))
        )
        words = [str(facts.get("budget", "")), pair, str(facts.get("method", "")), _policy(facts)]
        return "  ".join(word for word in words if word)

    @property
    def elapsed(self) -> float:
        return self.before + self.clock() - self.start

    def counts(self) -> dict[str, int]:
        told = {"running": 0, "done": 0, "stopped": 0, "failed": 0}
        for line in self.trials.values():
            told[line.status] = told.get(line.status, 0) + 1
        return told

    def remaining(self) -> float:
        """Seconds until the first limit is hit, at the pace of the trials so far; NaN before that can be told, or at the end."""
        if self.ended:
            return math.nan
        told = []
        trained = self.elapsed - (0.0 if math.isnan(self.spared) else self.spared)
        hours = self.limits.get("hours")
        if hours:
            told.append(max(0.0, 3600 * float(hours) - self.elapsed))
        planned = self.limits.get("trials")
        if planned:
            ended = sum(line.status != "running" for line in self.trials.values())
            under_way = sum(line.progress for line in self.trials.values() if line.status == "running")
            share_done = min(1.0, (ended + under_way) / float(planned))
            if share_done > 0.02:
                told.append(trained * (1 - share_done) / share_done)
        images = self.limits.get("images")
        if images:
            seen = sum(line.images for line in self.trials.values())
            if seen > 0:
                told.append(trained * max(0.0, float(images) - seen) / seen)
        return min(told) if told else math.nan

    def leader(self, budget: dict[str, Any]) -> _Line | None:
        """The best trial whose student the budget admits: of the finished ones, or else of the running ones."""
        fitting = [line for line in self.trials.values() if _fits(line.facts, budget) and math.isfinite(line.val_top1)]
        if self.what == "confirmation":
            fitting = _averaged(fitting)
        for states in (("done",), ("running", "stopped")):
            chosen = [line for line in fitting if line.status in states]
            if chosen:
                return min(chosen, key=_rank)
        return None

    def render(self, width: int = 100) -> Group:
        """The board as rich draws it."""
        from rich.console import Group
        from rich.text import Text

        with self.lock:
            tables = [self._budgets_table(width), *([self._teachers_table(width)] if self.teaching else [])]
            tables += [self._trials_table(width)] if self.trials else []
            dropped = dict.fromkeys(title for _, some in tables for title in some)
            parts = [part for table, _ in tables for part in (Text(), table or Text("no room: use a wider terminal"))]
            return Group(self._head(Text), *parts, self._foot(Text, list(dropped)))

    def _head(self, text: Any) -> Any:
        counts = self.counts()
        planned = self.limits.get("trials")
        limit = duration(3600 * float(self.limits["hours"])) if self.limits.get("hours") else "no limit"
        head = text()
        head.append(self.name or "autokd", style="bold")
        head.append("" if self.what == "search" else f"   {self.what}")
        left = self.remaining()
        head.append(
            f"   {duration(self.elapsed)} / {limit}" + (f"   ETA {duration(left)}" if math.isfinite(left) else "")
        )
        head.append(f"   {len(self.trials)}" + (f"/{planned:g}" if planned else "") + " trials: ")
        head.append(", ".join(f"{number} {state}" for state, number in counts.items() if number) or "none yet")
        return head

    def _budgets_table(self, width: int) -> tuple[Any, tuple[str, ...]]:
        rows = []
        for budget in self.budgets:
            name, limits, best = budget.get("name", ""), limits_of(budget), self.leader(budget)
            if best is None:
                rows.append((name, limits, *["-"] * 5))
                continue
            score = percent(best.val_top1) + ("" if best.status == "done" else " so far")
            facts = best.facts
            words = (str(facts.get("student", "")), str(facts.get("method", "")), _policy(facts))
            rows.append((name, limits, best.trial, score, *words))
        columns = ("budget", LIMITS, "leader", "val top-1", _cut("student"), _cut("method", 2), _cut("policy", 5))
        return drawn(columns, rows, width)

    def _teachers_table(self, width: int) -> tuple[Any, tuple[str, ...]]:
        rows = []
        for name, one in self.teaching.items():
            done = f"{one['epochs']:.3g} of {one['total_epochs']:g}"
            rows.append((name, done, percent(one.get("val_top1")), duration(one.get("seconds_left"))))
        return drawn(("teacher", "epochs", "val top-1", Column("time left", 1)), rows, width)

    def _trials_table(self, width: int) -> tuple[Any, tuple[str, ...]]:
        style = {"running": "", "done": "green", "stopped": "dim", "failed": "red"}
        lines = sorted(self.trials.values(), key=lambda line: (line.status != "running", -line.order))[:_ROWS]
        rows = []
        for line in lines:
            facts = line.facts
            words = (str(facts.get(key) or "-") for key in ("budget", "teacher", "student", "method"))
            reason = line.reason if line.status == "failed" else ""
            rows.append((line.arm or line.trial, *words, _policy(facts) or "-", f"{line.progress:.0%}",
                         percent(line.val_top1), line.status, reason))  # fmt: skip
        columns = ["trial", Column("budget", 1), _cut("teacher", 4), _cut("student"), _cut("method", 2), _cut("policy", 5)]
        columns += ["done", "val top-1", "state", _cut("reason", 3)]
        if not any(row[-1] for row in rows):
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        return drawn(columns, rows, width, styles=[style.get(line.status, "") for line in lines])

    def _foot(self, text: Any, dropped: Sequence[str]) -> Any:
        hidden = len(self.trials) - _ROWS
        words = [shown(f"… and {hidden} more")] if hidden > 0 else []
        words += [self.phase] if self.phase else []
        words += [f"no room for {', '.join(dropped)}: use a wider terminal"] if dropped else []
        return text(shown("   ".join(words)), style="dim")


def _cut(title: str, drop: int = 0) -> Column:
    return Column(title, drop, "cut")


class Follower:
    """Gives each event to whoever watches: a live table on a terminal, a line on a pipe, with `as_json` what --jsonl prints."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.board = Board()
        self.as_json, self.quiet = as_json, quiet
        self.screen = console()
        self.live: Any = None

    def __enter__(self) -> Follower:
        if not self.as_json and not self.quiet and self.screen.is_terminal:
            from rich.live import Live

            self.live = Live(
                get_renderable=lambda: self.board.render(self.screen.width),
                console=self.screen,
                refresh_per_second=4,
                vertical_overflow="ellipsis",
            )
            self.live.__enter__()
        elif not self.as_json and not self.quiet:
            echo(f"[{duration(0):>5}] {self.board.phase}")
        return self

    def __exit__(self, *failure: Any) -> None:
        if self.live is not None:
            self.live.__exit__(*failure)

    def __call__(self, event: dict[str, Any]) -> None:
        """What `search` is given as its observer. Never raises: what is drawn must not stop what is computed."""
        if event.get("closed"):
            hang_up()
        try:
            line = self.board.take(event)
        except Exception as error:  # an event of a shape nobody thought of
            line = f"(an event could not be shown: {error!r})"
        if self.as_json:
            emit(event)
        elif self.live is None and not self.quiet and line:
            echo(f"[{duration(self.board.elapsed):>5}] {line}")


def follow(*, as_json: bool = False, quiet: bool = False) -> Follower:
    return Follower(as_json=as_json, quiet=quiet)


def _averaged(lines: Iterable[_Line]) -> list[_Line]:
    """The candidates of a confirmation, each with the mean of its seeds so far."""
    seeds: dict[str, list[_Line]] = {}
    for line in lines:
        tags = line.facts.get("tags") or {}
        if tags.get("role") == "candidate" and line.status == "done":
            seeds.setdefault(tags["of"], []).append(line)
    return [
        _Line(of, made[0].facts, "done", val_top1=sum(line.val_top1 for line in made) / len(made))
        for of, made in seeds.items()
    ]


def _rank(line: _Line) -> tuple[Any, ...]:
    """As the report ranks them (autokd.select.best)."""
    return rank({"val_top1": line.val_top1, "trial": line.trial} | {name: line.facts.get(name) for name in COSTS})


def _number(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, (int, float)) else otherwise


def _policy(facts: dict[str, Any]) -> str:
    policy = facts.get("policy")
    if not policy or policy == "none":
        return str(policy or "")
    ratio = facts.get("ratio")
    return f"{policy} {ratio:.2f}" if isinstance(ratio, (int, float)) else str(policy)


def _fits(facts: dict[str, Any], budget: dict[str, Any]) -> bool:
    if facts.get("budgets"):
        return budget.get("name") in facts["budgets"]
    costs = {key: cost_of_row(facts, key, budget) for key in limits_in(budget)}
    if any(cost is None for cost in costs.values()):
        return facts.get("budget") == budget.get("name")
    return all(cost is not None and cost <= limit for cost, limit in zip(costs.values(), limits_in(budget).values()))
