"""A run: one search, the folder that holds all there is to know of it, and the way on after a stop.

runs/<name>-<date>-<short id>/
    space.yaml  environment.json  data.json  ledger.jsonl  trials.parquet/  study.journal  ray/
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.config.limits import COSTS
from autokd.errors import AutokdError, SearchFailed, readable
from autokd.files import cache_root, full_disk, in_shell, uncollected, write_text
from autokd.machine import cpus, memory
from autokd.search.control import WORDS, Watch
from autokd.search.granted import granted
from autokd.seeds import scheme_of
from autokd.track.ledger import FILE, FolderLock, all_events, read_events, sync_folder
from autokd.track.recorder import Recorder, table_of
from autokd.track.state import state_of

if TYPE_CHECKING:
    from autokd.data.check import DataReport
    from autokd.search.feasible import Feasible

__all__ = [
    "Run",
    "SearchFailed",
    "bench_settings",
    "carry_out",
    "fit",
    "observers_of",
    "read_data",
    "resume",
    "search",
    "secretless",
    "without_secrets",
]

SPACE = "space.yaml"
DATA = "data.json"  # what reading the data set found before the search
_SILENCE = 5.0  # seconds between two words on how far the reading is
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Run:
    """What lies in a run folder. Nothing is kept in memory: ask again while a search runs and the answer is newer."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not (self.folder / FILE).exists():
            raise AutokdError("no run here", where=str(folder), fix="a run is a folder with a ledger.jsonl in it")

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def space(self) -> Any:
        """The SearchSpace that was asked for."""
        from autokd.config.search_space import load_space

        return load_space(self.folder / SPACE)

    @property
    def trials(self) -> Any:
        """One row a (trial, rung), as an Arrow table; the columns are those of autokd.track.table.COLUMNS."""
        return table_of(self.folder)

    def best(self, budget: str | None = None) -> Any:
        """The row of the best trial of a budget (None where there is none yet); of every budget, by name, without one."""
        found = import_module("autokd.select.best").best_of_run(self.folder)  # a room beside this one: asked by name
        if budget is None:
            return found
        if budget not in found:
            raise AutokdError(f"no budget {budget!r}", where=str(self.folder), fix=f"budgets: {', '.join(found)}")
        return found[budget]

    def status(self) -> dict[str, Any]:
        """state (a word of autokd.track.state.STATES), reason, trials by status, images, elapsed seconds."""
        counts = {"running": 0, "done": 0, "stopped": 0, "failed": 0}
        status: dict[str, str] = {}
        images: dict[str, int] = {}
        behind: dict[str, int] = {}  # images of a shorter training that a trial went on from
        elapsed = 0.0
        events = all_events(self.folder / FILE)
        for event in events:
            elapsed = max(elapsed, event.get("elapsed", 0.0))
            kind = event["event"]
            if kind in ("trial", "again"):
                status[event["trial"]] = "running"
            elif kind == "report":
                behind.setdefault(event["trial"], (event.get("behind") or {}).get("images", 0))
                images[event["trial"]] = event["images"] - behind[event["trial"]]
            elif kind == "end":
                status[event["trial"]] = event["status"]
        for one in status.values():
            counts[one] += 1
        state = state_of(self.folder, events)
        return {
            "state": state.word,
            "reason": state.reason,
            "trials": counts,
            "images": sum(images.values()),
            "elapsed": elapsed,
        }

    def ask(self, word: str) -> None:
        """pause, stop or cancel the search that works on this run in another process (autokd.search.control.WORDS)."""
        import_module("autokd.search.control").ask(self.folder, word)

    def confirm(self, **settings: Any) -> dict[str, Any]:
        """Train the best few of each budget again with fresh seeds, and choose (autokd.search.confirm)."""
        return import_module("autokd.search.confirm").confirm(self.folder, **settings)

    def finalize(self, **settings: Any) -> Any:
        """Retrain the best of each budget at full length, test each once, and write it out (autokd.finalize.retrain)."""
        return import_module("autokd.finalize.retrain").finalize(self.folder, **settings)

    def report(self, *, compare: str | os.PathLike[str] | None = None) -> Path:
        """Write report.html with its figures, and return its path; `compare` lays another run's front over this one's.

        MLflow's run of the search is given them, too, where no other run is compared.
        """
        page = Path(import_module("autokd.report.run_page").write_report(self.folder, compare=compare))
        if compare is None:
            import_module("autokd.track.mlflow_files").keep_files(self.folder)
        return page


Observer = Callable[[dict[str, Any]], None]
AtEnd = Callable[[Path], None]


def search(
    space: Any,
    *,
    runs: str | os.PathLike[str] = "runs",
    name: str | None = None,
    on_event: Observer | None = None,
    observer: Any = None,
    overrides: Sequence[str] = (),
    engine: Any = "ray",
    feasible: Feasible | None = None,
    at_end: AtEnd | None = None,
) -> Run:
    """Search a space for the best student of each of its budgets; returns when a limit is hit, or after a pause.

    space: a YAML file, the same as Python values, or a SearchSpace. overrides: "path.to.key=value". on_event: called with
    every event (autokd.track.recorder lists them) and with {"event": "phase", "text": …} between them, and {"event":
    "progress", "teacher": …} while teachers train; `observer` is the same, or has a method of that name. engine: "ray",
    "inline" (one trial after another, in this process), or an object.

    Ctrl-C pauses: running trials go on to their next checkpoint; a second one stops at once. Raises AutokdError or Faults
    before anything is written where the space cannot be searched, and SearchFailed where no student came out, or too many trials
    failed.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise AutokdError(f"{name!r} cannot be the name of a run", fix="letters, digits, dots, dashes and underscores")
    space = _loaded(space, overrides)
    if getattr(space, "confirm", None) is not None:
        from autokd.search.confirm import refuse_unscored

        refuse_unscored(space)
    _possible(Path(runs))
    tell = _Teller(observers_of(on_event, observer)).phase
    granted(tell, Path(runs), ray=engine == "ray" and space.resources.address is None)
    report = None
    if feasible is None:
        report = read_data(space, tell)
        tell("counting what each student costs")
        feasible = fit(space, tell=tell)
    folder = _new_folder(Path(runs), name or space.name)
    with _room(folder, new=True), FolderLock(folder):
        _write(folder / "environment.json", json.dumps(environment(space), indent=2) + "\n")
        _write(folder / SPACE, space.to_yaml())
        for file, text in getattr(space, "files", {}).items():
            _write(folder / file, text)
        _note_data(folder, report)
        observers = observers_of(on_event, observer)
        made = carry_out(folder, space, feasible, engine, observers, past=[], overrides=overrides, at_end=at_end)
    return _confirmed(made, space, feasible, engine, observers_of(on_event, observer))


def resume(
    folder: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    on_event: Observer | None = None,
    observer: Any = None,
    engine: Any = "ray",
    retry_failed: bool = False,
    add_trials: int = 0,
    longer: float | None = None,
    add_budgets: Sequence[str] = (),
    feasible: Feasible | None = None,
    space: Any = None,
    at_end: AtEnd | None = None,
    on_past: Callable[[Any, list[dict[str, Any]]], None] | None = None,
) -> Run:
    """Go on with a run: what had ended is kept, what was under way goes on from its last checkpoint.

    overrides extend it, as in ["search.trials=100"]. retry_failed: failed trials are run once more. add_trials: so many more
    than were to be tried. longer: the new full length in epochs; finished trials keep their rows, and the best of each budget
    go on from their last checkpoint to the new length. add_budgets: "NAME:macs=20M,params=…"; what was tried counts for
    them at once. on_past: is given the space and the events of earlier sessions, before anything begins. Raises AutokdError
    where another process writes the run, where the changed space does not allow what was already tried, and where it would
    be made shorter.
    """
    run = Run(folder)
    folder = run.folder
    with FolderLock(folder), _room(folder):
        past = all_events(folder / FILE)
        overrides = [*overrides, *([f"search.epochs={longer:g}"] if longer is not None else [])]
        space = space or extended(folder, overrides, add_trials=add_trials, add_budgets=add_budgets, past=past)
        overrides += [*([f"{add_trials} more trials"] if add_trials else []), *(f"budget {one}" for one in add_budgets)]
        observers = observers_of(on_event, observer)
        granted(_Teller(observers).phase, folder, ray=engine == "ray" and space.resources.address is None)
        if on_past is not None:
            with uncollected():
                on_past(space, past)
        if feasible is None:
            tell = _Teller(observers).phase
            _note_data(folder, read_data(space, tell))
            feasible = fit(space, past, tell)
        more: dict[str, Any] = {"overrides": overrides, "retry_failed": retry_failed, "at_end": at_end}
        made = carry_out(folder, space, feasible, engine, observers, past=past, **more)
    return _confirmed(made, space, feasible, engine, observers)


@contextmanager
def _room(folder: Path, *, new: bool = False) -> Iterator[None]:
    """A full disk is told in words; a new run of which nothing could be recorded leaves no folder behind."""
    try:
        yield
    except BaseException as fault:  # Ctrl-C, too
        begun = not new or ((folder / FILE).exists() and any(True for _ in read_events(folder / FILE)))
        if not begun:
            shutil.rmtree(folder, ignore_errors=True)
        full = full_disk(fault)
        if full is None or not isinstance(fault, Exception) or isinstance(fault, AutokdError):
            raise
        if begun:
            raise import_module("autokd.search.work").full_disk(full, folder) from fault
        fix = "make room, or name another folder with --runs"
        raise AutokdError(f"the disk is full: {full.filename or full}", where=str(folder.parent), fix=fix) from fault


def _confirmed(made: Run, space: Any, feasible: Feasible, engine: Any, observers: list[Any]) -> Run:
    """The run, its winners confirmed where the space asks for it and the search has come to its end."""
    if getattr(space, "confirm", None) is not None and made.status()["state"] == "finished":
        from autokd.search.confirm import confirm

        told = [one.on_event if hasattr(one, "on_event") else one for one in observers]
        confirm(made.folder, space=space, feasible=feasible, engine=engine, observers=told, reserve=True)
    return made


def fit(
    space: Any, past: Sequence[Mapping[str, Any]] = (), tell: Callable[[str], None] = lambda text: None
) -> Feasible:
    """Every pair of the space, divided over its budgets. Raises AutokdError naming each budget that no student keeps.

    Latencies are measured where a budget limits them, but for what the events of the run's past know already.
    """
    from autokd.data.training import describe
    from autokd.search.feasible import checked_students, costs_of, feasible, timed
    from autokd.search.sources import check_teachers

    card = describe(space.data.name, root=space.data.root, options=space.data.options)
    weights = check_teachers(space, card)
    costs, teachers = costs_of(space, card)
    notes = checked_students(space, costs, teachers, card, tell=tell)
    costs, teachers, latencies, more = timed(space, costs, teachers, card, past=past, tell=tell)
    notes += more
    cheaper = space.cheaper_than_teacher
    return feasible(
        space.pairs(), space.budgets, costs, teachers, cheaper=cheaper, latencies=latencies, notes=(*weights, *notes)
    )


def read_data(space: Any, tell: Callable[[str], None] = lambda text: None) -> DataReport:
    """Read all of the space's data before anything is trained on it. Raises AutokdError or Faults, naming all that is wrong."""
    from autokd.data.check import check_data

    tell("reading the images")
    said = time.monotonic()

    def heard(part: str, done: int, count: int) -> None:
        nonlocal said
        if time.monotonic() - said > _SILENCE:
            said = time.monotonic()
            tell(f"reading the images: {done:,} of {count:,} of the {part} part")

    report = check_data(space.data, tell=heard)
    if (trouble := report.trouble()) is not None:
        raise trouble
    for line in report.lines():
        tell(line)
    return report


def _note_data(folder: Path, report: DataReport | None) -> None:
    """What reading the data found, beside the run; what was skipped stands in it."""
    if report is not None:
        _write(folder / DATA, json.dumps(report.to_dict(), indent=1) + "\n")


def carry_out(
    folder: Path,
    space: Any,
    feasible: Feasible,
    engine: Any,
    observers: list[Any],
    *,
    past: list[dict[str, Any]],
    overrides: Sequence[str] = (),
    retry_failed: bool = False,
    at_end: AtEnd | None = None,
) -> Run:
    """One session of a search, from the events of earlier ones to its close.

    A space may have `brain`, what decides in the place of Brain; `runs`, the folder of runs where `folder` lies deeper; `what`, a
    word for what is no search of its own; and `recorded`, what the run it is a part of has recorded of teachers.
    """
    from autokd.search.brain import Brain
    from autokd.search.plan import plan_of, with_length
    from autokd.search.teachers import known_teachers, recorded_teachers

    tell = _Teller(observers)
    log = _mlflow(folder, space, tell) if space.tracking.mlflow else None
    plan = replace(plan_of(space), seeds=scheme_of(past))
    past = with_length(past, plan)
    limiter = _limiter(folder, space, tell)
    own = [_Sweeper(folder, past), *([limiter] if limiter else [])]
    recorder = Recorder(folder, past=past, listeners=[*([log] if log else []), *own, tell])
    begun = False  # this session stands in the ledger; what is refused before that leaves the run as it was
    try:
        facts = {
            "run": str(folder),
            "name": space.name,
            "budgets": [one.to_dict() for one in space.budgets],
            **_latencies(feasible),
            "limits": {key: getattr(plan, key) for key in ("trials", "hours", "images", "gpu_hours")},
            "seed": space.search.seed,
            **({"seeds": plan.seeds} if plan.seeds else {}),
            **({} if plan.ranked else {"select": "last"}),
            "length": {"epochs": plan.epochs, "rungs": list(plan.rungs), "eta": plan.eta},
            **({"what": space.what} if hasattr(space, "what") else {}),
        }
        if not past:
            recorder.emit({"event": "begin", **facts})
            begun = True
        for text in told_of(feasible):
            tell.phase(text)
        engine = _engine(engine, space)
        brain = getattr(space, "brain", Brain)(
            space,
            feasible,
            plan,
            emit=recorder.emit,
            elapsed=lambda: recorder.elapsed,
            journal=folder / "study.journal",
            teachers=known_teachers(past),
            kept=lambda checkpoint: (folder / checkpoint).is_dir(),
        )
        with uncollected():
            brain.start(past)
        if past:
            if plan.epochs < brain.plan.epochs:
                raise AutokdError(
                    f"the search has gone on to {brain.plan.epochs:g} epochs and cannot be made shorter",
                    where=str(folder),
                    fix=f"ask for {brain.plan.epochs:g} or more, or start a new run",
                )
            if overrides:
                _write(folder / SPACE, space.to_yaml())  # before anything is recorded that the old one would not allow
            known = {one["name"] for event in past for one in event.get("budgets", ()) if event["event"] in ("begin", "resume")}
            new = {name: [list(pair) for pair in pairs] for name, pairs in feasible.pairs.items() if name not in known}
            more = {"changes": [without_secrets(one) for one in overrides], **({"added": new} if known and new else {})}
            told = recorder.emit({"event": "resume", **facts, **more})
            begun = True
            brain.lengthen(told)
        if retry_failed:
            for trial in [one.trial for one in brain.trials.values() if one.status == "failed"]:
                brain.take_up(trial)
        if limiter is not None:
            limiter.begin(brain.pause)
        if not brain.finished:
            heard = _Heard(brain, engine)
            with Watch(_watched(folder, space), heard), _interruptible(brain, engine, tell) as arm:
                recorded = {**getattr(space, "recorded", {}), **recorded_teachers(past)}
                _session(folder, space, feasible, engine, brain, recorder, tell, arm, heard, recorded)
        status, reason = brain.close(cancelled=engine.cancelled)
    except Exception as fault:
        if begun:
            _broken_off(recorder, fault)
        full = full_disk(fault)
        if full is not None and not isinstance(fault, AutokdError):
            raise import_module("autokd.search.work").full_disk(full, folder) from fault
        raise
    finally:
        if not isinstance(engine, str):
            engine.close()
        recorder.close()
        if begun and not hasattr(space, "what"):
            _conclude(import_module("autokd.select.front_file").write_front, folder, tell)  # a room beside this one
        if begun and at_end is not None:
            _conclude(at_end, folder, tell)
        if log is not None:
            log.close()
    if limiter is not None and limiter.why and status == "paused":
        raise limiter.fault()
    if status == "failed":
        why = f"what failed and why: autokd report {in_shell(folder)}"
        raise SearchFailed(reason, where=str(folder), fix=why if brain.failed else f"allow it more: {_more(folder)}")
    return Run(folder)


def _more(folder: Path) -> str:
    return f"autokd resume {in_shell(folder)} --hours N (or --trials N, --set search.images=N)"


def _conclude(at_end: AtEnd, folder: Path, tell: _Teller) -> None:
    """What is made of a run's record cannot harm it, nor the search."""
    try:
        at_end(folder)
    except Exception as fault:
        tell.phase(f"what was to be done at the end could not be ({type(fault).__name__}: {fault})")


def _latencies(feasible: Feasible) -> dict[str, Any]:
    """What was timed, for the ledger."""
    if feasible.latencies is None:
        return {}
    marks = {"marginal": feasible.marginal, "doubtful": feasible.doubtful}
    told = {word: {name: list(some) for name, some in by_budget.items()} for word, by_budget in marks.items()}
    return {"latencies": {**feasible.latencies, **told}}


def told_of(feasible: Feasible) -> list[str]:
    """What a person should know of the latencies before the search begins."""
    some = [f"{name}: {', '.join(students)}" for name, students in feasible.marginal.items()]
    inside = "the latency limit lies inside what was measured, so that the measured value alone decides"
    more = [f"{name}: {', '.join(students)}" for name, students in feasible.doubtful.items()]
    told = [f"marginal ({inside}): {'; '.join(some)}"] if some else []
    told += [f"not excluded, since the latency is not trustworthy: {'; '.join(more)}"] if more else []
    return [*feasible.notes, *told]


def _broken_off(recorder: Recorder, fault: Exception) -> None:
    """Leave the reason in the ledger, where that can still be written."""
    told = fault.what if isinstance(fault, AutokdError) else f"{type(fault).__name__}: {fault}"
    try:
        status = "failed" if isinstance(fault, SearchFailed) else "cancelled"
        recorder.emit({"event": "close", "status": status, "reason": told[:500]})
    except AutokdError:
        pass


def _session(
    folder: Path,
    space: Any,
    feasible: Feasible,
    engine: Any,
    brain: Any,
    recorder: Recorder,
    tell: _Teller,
    arm: Callable[[], None],
    heard: _Heard,
    recorded: Mapping[str, Any],
) -> None:
    from dataclasses import replace

    from autokd.search.share import probes

    tell.phase("starting Ray" if type(engine).__name__ == "RayEngine" else "starting")
    gpus = engine.open(space.resources)
    arm()  # Ray has put its own handlers in place
    if (
        space.search.gpu_hours is not None
        and not gpus
        and not any((brain.plan.trials, brain.plan.hours, brain.plan.images))
    ):
        raise AutokdError(
            "search.gpu_hours alone ends this search, and its trials use no GPU",
            fix="set search.trials, search.hours or search.images",
        )
    _prepare_teachers(recorded, str(_home(folder, space) / "teachers"), space, engine, brain, recorder, tell)
    decisions = engine.settle(space, lambda: probes(space, feasible, brain.teachers), tell.phase)
    tell.on_event({"event": "phase", "text": "", "decisions": decisions, "time": time.time()})
    brain.plan = replace(brain.plan, gpus=engine.gpus)

    def tick() -> None:
        recorder.tick()
        heard.tick(tell)

    try:
        engine.run(brain, folder, tick)
    finally:
        heard.tick(tell)


def _prepare_teachers(
    recorded: Mapping[str, Any], teachers: str, space: Any, engine: Any, brain: Any, recorder: Recorder, tell: _Teller
) -> None:
    """Train or load every teacher that a pair needs, and measure it; one that the run has had before must answer as it did.

    recorded: what earlier sessions have recorded of teachers. teachers: the folder of trained ones.
    """
    from dataclasses import asdict

    from autokd.search.teachers import compare, trained_before
    from autokd.search.work import teacher_from

    feasible = brain.feasible
    used = {teacher for pairs in feasible.pairs.values() for teacher, _ in pairs if teacher is not None}
    wanted = {name: brain.teachers.get(name, space.teachers[name]) for name in space.teachers if name in used}
    new = [name for name, one in wanted.items() if one.training is not None and not trained_before(name, teachers)]
    rest = [name for name in wanted if name not in new]
    doing = [f"{what} {', '.join(some)}" for what, some in (("training", new), ("measuring", rest)) if some]
    if doing:
        tell.phase(" and ".join(doing))

    def heard(name: str, progress: dict[str, Any]) -> None:
        tell.on_event({"event": "progress", "teacher": name, **progress, "time": time.time()})

    made = engine.teachers(asdict(space.data), {name: asdict(one) for name, one in wanted.items()}, teachers, heard)
    for name, facts in made.items():
        decisions = facts.pop("decisions", [])
        if name in recorded:
            trained_here = space.teachers[name].training is not None
            sentence = compare(name, recorded[name], facts, trained_here=trained_here)
            decisions += [sentence] if sentence else []
        tell.on_event({"event": "phase", "text": "", "decisions": decisions, "time": time.time()})
        if name in brain.teachers:
            continue
        cost = feasible.teachers.get(name)
        told = {key: getattr(cost, key) for key in COSTS if hasattr(cost, key)}
        recorder.emit({"event": "teacher", "teacher": name, **facts, **told})
        brain.teachers[name] = teacher_from(facts["config"])


class _Teller:
    """Passes events on to whoever watches; what they do wrong does not stop a search."""

    def __init__(self, observers: list[Any]) -> None:
        self.observers = observers
        self._said: set[str] = set()

    def on_event(self, event: dict[str, Any]) -> None:
        for text in event.get("decisions", ()):  # what a process measured and chose; each says it, a person reads it once
            if text not in self._said:
                self._said.add(text)
                self.on_event({"event": "decision", "text": text})
        for observer in self.observers:
            observer(event)

    def phase(self, text: str) -> None:
        self.on_event({"event": "phase", "text": text, "time": time.time()})


def _limiter(folder: Path, space: Any, tell: _Teller) -> Any:
    """What holds the whole run to its size on the disk, where the space limits it."""
    most = getattr(space.search, "max_disk_gb", None)
    if most is None:
        return None
    from autokd.search.disk import Limiter

    home = _home(folder, space)
    return Limiter(folder, home / folder.relative_to(home).parts[0], 1e9 * most, say=tell.phase)


class _Sweeper:
    """Deletes the checkpoints of stopped trials once the search is over, as none of them will go on."""

    def __init__(self, folder: Path, past: Sequence[dict[str, Any]]) -> None:
        self.folder = folder
        self.stopped: set[str] = set()
        for event in past:
            self._follow(event)

    def on_event(self, event: dict[str, Any]) -> None:
        self._follow(event)
        if event["event"] == "close" and event["status"] == "finished":
            from autokd.search.work import CHECKPOINTS

            for trial in self.stopped:
                shutil.rmtree(self.folder / CHECKPOINTS / trial, ignore_errors=True)

    def _follow(self, event: dict[str, Any]) -> None:
        if event["event"] == "end" and event["status"] == "stopped":
            self.stopped.add(event["trial"])
        elif event["event"] == "again":
            self.stopped.discard(event["trial"])


class _Heard:
    """What another process asked for is done at once, from the thread that heard it, and told by the search's own."""

    def __init__(self, brain: Any, engine: Any) -> None:
        self.brain, self.engine = brain, engine
        self.said: list[str] = []

    def __call__(self, word: str) -> None:
        if word == "cancel":
            self.engine.cancel()
        elif word == "stop":
            self.brain.stop()
        else:
            self.brain.pause()
        self.said.append(f"asked to {word}: {WORDS[word]}")

    def tick(self, tell: _Teller) -> None:
        while self.said:
            tell.phase(self.said.pop(0))


def _watched(folder: Path, space: Any) -> list[Path]:
    """Where a request for this session may lie: its own folder, and that of the run it is a part of."""
    home = _home(folder, space)
    return [folder, *(one for one in folder.parents if one != home and one.is_relative_to(home))]


@contextmanager
def _interruptible(brain: Any, engine: Any, tell: _Teller) -> Iterator[Callable[[], None]]:
    """Ctrl-C (or SIGTERM) once pauses, twice cancels; a third time Python does what it does. Yields what sets it up again.

    SIGHUP, of a terminal that closes, pauses too; it comes from the system and from a shell, so that a second one says no more.
    Where it is ignored, as under nohup, it stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    closed = getattr(signal, "SIGHUP", None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if closed is not None and signal.getsignal(closed) is not signal.SIG_IGN:
        before[closed] = signal.getsignal(closed)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def heard(number: int, frame: Any) -> None:
        if not brain.pausing:
            brain.pause()
            if number == closed and getattr(engine, "teaching", False):  # nobody is there to ask for it a second time
                engine.cancel()
            more = "" if number == closed else "; Ctrl-C again stops them now"
            try:
                tell.on_event({"event": "phase", "text": f"pausing: running trials go on to their next checkpoint{more}",
                               "time": time.time(), "closed": number == closed})  # fmt: skip
            except RuntimeError:  # it came amid a line that was being printed
                pass
        elif number != closed:
            restore()
            engine.cancel()

    def arm() -> None:
        for number in before:
            signal.signal(number, heard)

    arm()
    try:
        yield arm
    finally:
        restore()


def observers_of(on_event: Observer | None, observer: Any) -> list[Any]:
    found = [on_event] if on_event is not None else []
    if observer is not None:
        found.append(observer.on_event if hasattr(observer, "on_event") else observer)
    return found


def _loaded(space: Any, overrides: Sequence[str]) -> Any:
    if isinstance(space, (str, os.PathLike, Mapping)):
        from autokd.config.search_space import load_space

        return load_space(Path(space) if not isinstance(space, Mapping) else space, overrides=list(overrides))
    if overrides:
        raise AutokdError("overrides change a file or its values, not a SearchSpace", fix="pass them to load_space")
    return space


def _kept(folder: Path, overrides: Sequence[str]) -> Any:
    """The space that a run began with; a study's is the grid of its arms, which nothing can change."""
    from autokd.search import study

    if not (folder / study.FILE).exists():
        return _loaded(folder / SPACE, overrides)
    if overrides:
        raise AutokdError("what a study trains was decided when it began", where=str(folder), fix="start a new study")
    return study.kept_study(folder)[1]


def extended(
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    add_trials: int = 0,
    add_budgets: Sequence[str] = (),
    past: Sequence[Mapping[str, Any]] = (),
) -> Any:
    """The space that a run goes on with. Raises AutokdError or Faults where it cannot be extended so."""
    if not add_budgets:
        space = _kept(folder, overrides)
    else:
        from autokd.search import study
        from autokd.space.document import Document

        if (folder / study.FILE).exists():
            raise AutokdError("what a study trains was decided when it began", where=str(folder), fix="start a new study")
        values = Document.read(folder / SPACE).values
        more = list(overrides)
        for text in add_budgets:
            name, limits = _budget_of(text)
            if any(one.get("name") == name for one in values["budgets"]):
                raise AutokdError(f"there is a budget {name!r} already", where=text, fix="give the new one another name")
            values["budgets"].append({"name": name})
            more += [f"budgets.{name}.{limit}" for limit in limits]
        space = _loaded(values, more)
    if add_trials:
        from dataclasses import replace

        tried = sum(event["event"] == "trial" and event.get("of") is None for event in past)
        trials = (space.search.trials if space.search.trials is not None else tried) + add_trials
        space = replace(space, search=space.search.model_copy(update={"trials": trials}))
    return space


def _budget_of(text: str) -> tuple[str, list[str]]:
    """ "tiny:macs=20M,params=1M" as ("tiny", ["macs=20M", "params=1M"])."""
    name, _, rest = text.partition(":")
    limits = [one.strip() for one in rest.split(",") if one.strip()]
    sides = [side.strip() for one in limits for side in one.partition("=")]
    if not name.strip() or "." in name or not limits or not all(sides):
        fix = "for example --add-budget small:macs=20M,params=1M"
        raise AutokdError("this is no budget", where=f"--add-budget {text}", fix=fix)
    return name.strip(), limits


def _engine(engine: Any, space: Any) -> Any:
    if not isinstance(engine, str):
        return engine
    bench = bench_settings(space)
    if engine == "ray":
        from autokd.search.ray_engine import RayEngine

        return RayEngine(bench)
    if engine == "inline":
        from autokd.search.inline_engine import InlineEngine

        return InlineEngine(bench)
    raise AutokdError(f"no engine {engine!r}", fix="ray or inline")


def bench_settings(space: Any) -> dict[str, Any]:
    """What a search on this space tells its workshops."""
    kept = space.signals
    return {
        "cache_dir": str(cache_root() / "signals"),
        "signals": kept.mode,
        "max_gb": kept.max_gb,
        "top_k": kept.top_k,
    }


def _mlflow(folder: Path, space: Any, tell: _Teller) -> Any:
    from autokd.track.mlflow_files import files_of
    from autokd.track.mlflow_log import MlflowLog

    home = _home(folder, space)
    return MlflowLog(
        home,
        experiment=space.name,
        run=folder.relative_to(home).as_posix(),
        artifacts=files_of(folder),
        complain=tell.phase,
        wait=True,
    )


def _home(folder: Path, space: Any) -> Path:
    """The folder of all runs."""
    return Path(getattr(space, "runs", None) or folder.parent)


def _possible(runs: Path) -> None:
    """Raises AutokdError where no run can lie at such a path."""
    if re.match(r"[A-Za-z0-9]{2,}:/", str(runs)):  # Path makes one slash of two
        fix = "keep runs in a folder, and copy them afterwards: autokd copy RUN s3://bucket/runs (docs/cluster.md)"
        raise AutokdError("a run is worked on in a folder, not in object storage", where=str(runs), fix=fix)
    if readable(place := os.path.abspath(runs)) != place:
        fix = "name another folder with --runs"
        raise AutokdError("the path of the runs is not UTF-8, and Ray takes no other", where=place, fix=fix)


def _new_folder(runs: Path, name: str) -> Path:
    try:
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            folder = runs / f"{name}-{time.strftime('%Y%m%d')}-{secrets.token_hex(2)}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as fault:
        raise AutokdError(
            f"no run can be written there: {fault.strerror}", where=str(runs), fix="name another folder with --runs"
        ) from fault


def _write(path: Path, text: str) -> None:
    """Whole or absent, and its name on the disk, too."""
    write_text(path, text)
    sync_folder(path.parent)


def environment(space: Any) -> dict[str, Any]:
    """Versions, machine, git commit and seeds; nothing that is secret."""
    packages = ("autokd", "torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy", "timm")
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cpus": cpus(), "memory": memory()},
        "commit": _commit(),
        "seeds": {"search": space.search.seed, "split": space.data.split_seed, "views": space.data.views_seed},
        "command": [Path(sys.argv[0]).name, *secretless(sys.argv[1:])],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


_ACCOUNT = re.compile(r"(?<=://)[^/@\s]+@")  # user:password@ of an address
_SECRET = re.compile(r"((?:token|password|passwd|secret|api[-_]?key)[\w.-]*[\"']?\s*[=:]\s*)\S+", re.IGNORECASE)
_KNOWN = re.compile(r"\b(?:(?:hf_|gh[opsu]_|github_pat_|glpat-|xox[abp]-|sk-)[\w-]{16,}|AKIA[A-Z0-9]{16})")  # by their looks
_NAMED = re.compile(r"--?[\w.-]*(?:token|password|passwd|secret|api[-_]?key|credential)[\w.-]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """A word of a command line with accounts in addresses, values of keys named as secrets and well-known tokens put out."""
    return _KNOWN.sub("***", _SECRET.sub(r"\1***", _ACCOUNT.sub("***@", text)))


def secretless(words: Sequence[str]) -> list[str]:
    """The words of a command line, each as `without_secrets` has it; also the word after a bare `--token` or the like."""
    found: list[str] = []
    for word in words:
        behind = found and _NAMED.fullmatch(found[-1]) and not word.startswith("-")
        found.append("***" if behind else without_secrets(word))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of autokd itself, where it runs from a repository."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        told = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None
