"""What the trials of a run keep on the disk, what it is still good for, and what may go. Imports neither torch nor Ray.

Each trial has its last checkpoint alone. While a search is not over, unfinished trials go on from theirs, and those that a rung
stopped may; once it is, these go. `resume --retry-failed` starts failed ones at theirs, and `resume --longer` takes the best of
each budget further.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autokd.track.ledger import FILE, FolderLock, held, read_events
from autokd.track.state import state_of

__all__ = ["ERRORS", "PLACE", "Checkpoints", "Listed", "Waste", "clear", "drop", "listed", "size_of", "waste"]

PLACE = "ray/checkpoints"  # below the run folder; autokd.search.work writes there
ERRORS = "error.txt"  # in a trial's checkpoints: what was said when it broke
TUNE = "ray/tune"  # what Ray notes for itself; the next session begins by deleting it
PARTS = ("confirm", "confirm/random")  # of a confirmation, each with a ledger and checkpoints of its own
STUDY = "study.json"  # what makes a run a study, which cannot be made longer


@dataclass
class _Trial:
    trial: str
    budgets: tuple[str, ...] = ()
    of: str | None = None
    status: str = "running"
    score: float | None = None
    reported: bool = False
    last: tuple[float, float] = (0.0, 0.0)  # epochs and score of its last report


class Checkpoints:
    """What a run's events say of its trials' checkpoints. extends: whether the run can be made longer at all."""

    def __init__(self, events: Iterable[Mapping[str, Any]] = (), *, extends: bool = True) -> None:
        self.trials: dict[str, _Trial] = {}
        self.extends = extends
        self.over = False  # nothing that a rung stopped will go on
        self.eta: float | None = None  # of so many finished trials of a budget one goes further; None: all
        for event in events:
            self.take(event)

    def take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind in ("begin", "resume"):
            length = event.get("length") or {}
            self.eta = length.get("eta") if length.get("rungs") else None
            self.over = False
        elif kind == "close":
            self.over = event.get("status") == "finished"
        elif kind == "trial":
            budgets = tuple(event.get("budgets") or [event.get("budget") or ""])
            self.trials[event["trial"]] = _Trial(event["trial"], budgets, event.get("of"))
        elif event.get("trial") in self.trials:
            trial = self.trials[event["trial"]]
            if kind == "report":
                trial.reported = True
                trial.last = (event.get("epochs") or 0.0, event.get("val_top1") or 0.0)
                trial.score = event.get("val_top1") if event.get("final") else trial.score
            elif kind == "end":
                trial.status = event["status"]
            elif kind == "again":
                trial.status = "running"

    def needed(self) -> set[str]:
        """Trials whose checkpoints a resume may go on from, in one of its forms."""
        going_on = ("running", "failed") if self.over else ("running", "failed", "stopped")
        kept = {one.trial for one in self.trials.values() if one.status in going_on}
        kept |= {one.of for one in self.trials.values() if one.of and one.status == "running" and not one.reported}
        gone_on = {one.of for one in self.trials.values() if one.of and one.reported}
        for ranked in self._ranked().values() if self.extends else ():
            room = len(ranked) if self.eta is None else max(1, int(len(ranked) / self.eta))
            kept |= set(ranked[:room]) - gone_on
        return kept

    def spare(self) -> list[str]:
        """Ended trials in the order in which their checkpoints may go: failed ones, finished ones, then those that a rung
        stopped, the poorest first. The best of each budget is not among them, nor what a running trial has yet to begin from."""
        place: dict[str, int] = {}
        for ranked in self._ranked().values():
            for number, trial in enumerate(ranked):
                place[trial] = min(number, place.get(trial, number))
        kept = {one.of for one in self.trials.values() if one.status == "running" and not one.reported}
        failed = [one.trial for one in self.trials.values() if one.status == "failed" and one.trial not in kept]
        poorest = sorted(place, key=lambda trial: (-place[trial], self.trials[trial].score or 0.0))
        finished = [one for one in poorest if one not in kept and (place[one] or not self.extends)]
        stopped = sorted((one for one in self.trials.values() if one.status == "stopped"), key=lambda one: one.last)
        return [*failed, *finished, *(one.trial for one in stopped)]

    def _ranked(self) -> dict[str, list[str]]:
        """Finished trials of each budget, the best first."""
        found: dict[str, list[_Trial]] = {}
        for one in self.trials.values():
            if one.status == "done":
                for budget in one.budgets:
                    found.setdefault(budget, []).append(one)
        return {
            budget: [one.trial for one in sorted(some, key=lambda one: -(one.score or 0.0))] for budget, some in found.items()
        }


@dataclass(frozen=True)
class Waste:
    """Something in a run folder that may go: its path, its size in bytes, and what it is, in words."""

    path: Path
    bytes: int
    what: str


def waste(folder: Path, *, everything: bool = False, kept: Checkpoints | None = None) -> list[Waste]:
    """What of a run that nobody writes may go. everything: also what a resume would go on from. kept: of the run's events,
    where they have been read already."""
    found = []
    for place in (folder, *(folder / part for part in PARTS)):
        if not (place / PLACE).is_dir() or not (place / FILE).is_file():
            continue
        if kept is None or place != folder:
            kept = Checkpoints(read_events(place / FILE))
        kept.extends = place == folder and not (folder / STUDY).exists()
        needed = set() if everything else kept.needed()
        for path in sorted((place / PLACE).iterdir()):
            if path.is_symlink() or not path.is_dir():
                continue
            for part in sorted(path.iterdir()):
                if part.name.startswith(".mark-"):
                    found.append(Waste(part, size_of(part), "half-written checkpoints"))
                elif part.name.startswith("mark-") and path.name not in needed:
                    found.append(Waste(part, size_of(part), _of(kept.trials.get(path.name))))
    if (folder / TUNE).is_dir():
        found.append(Waste(folder / TUNE, size_of(folder / TUNE), "Ray's own notes"))
    return found


def _of(trial: _Trial | None) -> str:
    status = trial.status if trial is not None else "stopped"
    return f"checkpoints of {'finished' if status == 'done' else 'unfinished' if status == 'running' else status} trials"


def clear(folder: Path, some: Iterable[Waste]) -> int:
    """Delete them, under the run's lock. Returns the bytes that were freed; raises AutokdError where a search writes the run."""
    freed = 0
    with FolderLock(folder):
        for one in some:
            freed += drop(one.path)
            if one.path.parent.parent.name == Path(PLACE).name:
                try:
                    one.path.parent.rmdir()
                except OSError:
                    pass  # a log is kept there
    return freed


@dataclass(frozen=True)
class Listed:
    """A run as `autokd runs` lists it. changed: seconds since 1970. best: the highest validation accuracy at full length."""

    folder: Path
    state: str  # a word of autokd.track.state.STATES
    trials: dict[str, int]  # by status
    bytes: int
    spare: int  # bytes that `prune` would free
    changed: float
    best: float | None


def listed(folder: Path) -> Listed:
    """Raises AutokdError where the run's ledger cannot be read."""
    kept = Checkpoints()
    session: list[dict[str, Any]] = []  # what its state follows from: the last begin, resume or close, and the last event
    for event in read_events(folder / FILE):
        kept.take(event)
        session = [event] if event["event"] in ("begin", "resume", "close") else [*session[:1], event]
    state = state_of(folder, session)
    trials = {"running": 0, "done": 0, "stopped": 0, "failed": 0}
    for one in kept.trials.values():
        trials[one.status] += 1
    scores = [one.score for one in kept.trials.values() if one.status == "done" and one.score is not None]
    spare = 0 if held(folder) else sum(one.bytes for one in waste(folder, kept=kept))
    changed = os.stat(folder / FILE).st_mtime
    return Listed(folder, state.word, trials, size_of(folder), spare, changed, max(scores, default=None))


def size_of(path: Path, *, without: Path | None = None) -> int:
    """Bytes of all files below a folder (0 where it is not there), but for those below `without`. Links are not followed."""
    total, todo = 0, [os.fspath(path)]
    aside = os.fspath(without) if without is not None else None
    while todo:
        try:
            with os.scandir(todo.pop()) as found:
                entries = list(found)
        except OSError:  # another process tidied up
            continue
        for one in entries:
            try:
                if not one.is_dir(follow_symlinks=False):
                    total += one.stat(follow_symlinks=False).st_size
                elif one.path != aside:
                    todo.append(one.path)
            except OSError:
                continue
    return total


def drop(path: Path) -> int:
    """Delete a checkpoint, or those in a trial's folder, whose log stays. Returns the bytes that were freed."""
    size = size_of(path)
    parts = [path] if path.name.startswith(("mark-", ".mark-")) or path.name == Path(TUNE).name else path.glob("mark-*")
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
    return size - size_of(path)
