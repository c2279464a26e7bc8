"""The state of a run, from its ledger and its lock: the one answer of status, runs, report, the page, confirm and finalize.

trials.parquet and MLflow are views of the ledger and may lag behind it after a kill; nothing about a run's state is read there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autokd.files import in_shell
from autokd.track.ledger import FILE, all_events, held, writer

__all__ = ["CONFIRM", "STATES", "RunState", "state_of", "state_message"]

CONFIRM = "confirm"  # in the run folder: a confirmation, with a ledger and a lock of its own
STATES = {
    "running": "a process works on it",
    "finished": "a limit was reached, or every configuration was tried",
    "paused": "it waits for autokd resume",
    "stopped": "ended by autokd stop, after the trials that had begun",
    "cancelled": "ended at once, by autokd cancel, a second Ctrl-C or a fault",
    "failed": "nothing came out, or too many trials failed",
    "cut off": "the process ended without closing the ledger: killed, or its machine was lost",
}


@dataclass(frozen=True)
class RunState:
    """word: one of STATES. reason: what the ledger says of it, or what is known; may be empty."""

    word: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word} ({self.reason})" if self.reason else self.word

    @property
    def unfinished(self) -> bool:
        """Whether `autokd resume` has something to go on with."""
        return self.word in ("paused", "stopped", "cancelled", "cut off")


def state_of(folder: str | os.PathLike[str], events: Iterable[Mapping[str, Any]] | None = None) -> RunState:
    """The state of the run in `folder`. events: its ledger's, where they have been read already."""
    folder = Path(folder)
    told: Mapping[str, Any] | None = None
    heard = 0.0
    for event in all_events(folder / FILE) if events is None else events:
        heard = max(heard, float(event.get("time") or 0.0))
        if event["event"] in ("begin", "resume", "close"):
            told = event
    working = held(folder)
    if told is not None and told["event"] == "close":
        if working and writer(folder) != os.getpid():  # this process has closed the ledger, and makes its report
            return RunState("running", "its confirmation" if held(folder / CONFIRM) else "a command is working on it")
        return RunState(str(told["status"]), str(told.get("reason") or ""))
    if working:
        return RunState("running")
    last = time.strftime("%Y-%m-%d %H:%M", time.localtime(heard)) if heard else ""
    return RunState("cut off", f"last event {last}" if last else "")


def state_message(folder: str | os.PathLike[str]) -> str:
    """What confirm and finalize say first of a run whose search has not finished; '' where it has."""
    state = state_of(folder)
    if state.word == "finished":
        return ""
    more = f"; go on with the search: autokd resume {in_shell(folder)}" if state.unfinished else ""
    verb = {"running": "is still", "failed": "has"}.get(state.word, "was")
    return f"the search {verb} {state}: only trials that have finished are considered{more}"
