"""Every event of a search goes through here: the ledger first, then the views of it.

Events and what they carry (all have `event`, `time` in seconds since 1970 and `elapsed`, seconds of search so far):

    begin    run, name, budgets, seed         once, first; `what` where it is no search, but a part of a confirmation;
                                              seeds: how seeds are derived (autokd.seeds), none in runs of earlier versions;
                                              latencies: what was timed, where, and what is marginal;
                                              select: "last" where no image is held out, and nothing ranks the trials
    resume   changes, added                   a later session goes on; added: the (teacher, student) pairs of new budgets.
                                              As `begin`, with length: `epochs` of a whole trial and where the rungs lie
    teacher  teacher, checkpoint, val_top1, val_loss, seconds, trained, saw_validation
    trial    trial, number, budget, budgets, teacher, student, method, policy, ratio, seed, source, config,
             macs, params, file_size, memory, latency_ms, latencies (ms by conditions),
             of (the shorter trial that it takes further)
    repeat   budget, of                       a proposal that had been made before; nothing is trained
    report   trial, mark, rung, final, images, epochs, val_top1, …, checkpoint, decision, behind (images and seconds that
             were the shorter trial's)
    requeue  trial, reason, peak, share       out of memory: once more, with `share` of what others get; peak: bytes
    end      trial, status (done | stopped | failed), reason
    close    status (finished | paused | cancelled | failed), reason
    confirm  status, trainings, images, seconds, choices    what a confirmation took, in a ledger of its own, so far
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autokd.config.limits import COSTS
from autokd.files import uncollected
from autokd.track.ledger import FILE, Ledger, all_events
from autokd.track.table import COLUMNS, Table, read_table, rows_to_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Listener", "Recorder", "Rows", "rows_of", "table_of"]


class Listener(Protocol):
    """Told of every event after the ledger has it. Where it has `replays = True` it is told those of earlier sessions too."""

    def on_event(self, event: dict[str, Any]) -> None: ...


class Recorder:
    """Appends to the ledger of a run folder and tells everyone else. `past`: the events of earlier sessions."""

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        past: Iterable[dict[str, Any]] = (),
        listeners: Iterable[Listener] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = Path(run)
        self.table = Table(self.run)
        self.ledger = Ledger(self.run / FILE)
        self.rows = Rows()
        self.listeners = list(listeners)
        self.clock = clock
        self._start = clock()
        past = list(past)
        self._before = max((event.get("elapsed", 0.0) for event in past), default=0.0)
        if past:
            self.table.clear()  # a kill may have come between the ledger and its view
            every, self.table.every = self.table.every, float("inf")
            with uncollected():
                for event in past:
                    self.rows.take(event)
                self.table.append(*self.rows.all())
            self.table.every = every
            self.table.flush()
            for event in past:
                for listener in self.listeners:
                    if getattr(listener, "replays", False):
                        listener.on_event(event)

    @property
    def elapsed(self) -> float:
        """Seconds of search over all sessions, by a clock that nobody sets."""
        return self._before + self.clock() - self._start

    def emit(self, event: dict[str, Any]) -> dict[str, Any]:
        """Record an event; it is on the disk when this returns."""
        stamped = {"event": event["event"], "time": round(time.time(), 3), "elapsed": round(self.elapsed, 3), **event}
        stamped = self.ledger.append(stamped)
        self.table.append(*self.rows.take(stamped))
        self.tell(stamped)
        return stamped

    def tell(self, event: dict[str, Any]) -> None:
        """Let the listeners know of something that is not part of the record."""
        for listener in self.listeners:
            listener.on_event(event)

    def tick(self) -> None:
        """To be called now and then, so that rows do not wait in memory for the next event."""
        if time.monotonic() - self.table._flushed >= self.table.every:
            self.table.flush()

    def close(self) -> None:
        try:
            self.table.compact()
        finally:
            self.ledger.close()


class Rows:
    """Events in, rows of the result table out: those that the event adds or changes."""

    def __init__(self) -> None:
        self._trials: dict[str, dict[int, dict[str, Any]]] = {}

    def take(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        kind = event["event"]
        if kind == "trial":
            row = {name: event.get(name) for name in _OF_TRIAL}
            row |= {"rung": 0, "status": "running", "images": 0, "epochs": 0.0, "final": False}
            if row["latencies"] is not None:
                row["latencies"] = json.dumps(row["latencies"], sort_keys=True)
            row["config"] = json.dumps(event.get("config"), sort_keys=True)
            self._trials[event["trial"]] = {0: row}
            return [row]
        if event.get("trial") not in self._trials:
            return []
        rows = self._trials[event["trial"]]
        if kind == "report" and event.get("rung") is not None:
            row = {**rows[0], **{name: event.get(name) for name in _OF_REPORT}, "status": "running", "reason": None}
            rows[event["rung"]] = row
            return [row]
        if kind == "end":
            for row in rows.values():
                row |= {"status": event["status"], "reason": event.get("reason")}
            return list(rows.values())
        if kind == "again":
            for row in rows.values():
                row |= {"status": "running", "reason": None}
            return list(rows.values())
        return []

    def all(self) -> list[dict[str, Any]]:
        return [row for rows in self._trials.values() for row in rows.values()]


def rows_of(run: str | os.PathLike[str], events: Iterable[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The result table of a run folder as its ledger has it, one row a (trial, rung), in the order of the trials.

    trials.parquet has the same rows, but lags behind while a search runs and after a kill; it is read only where there is no
    ledger. events: the ledger's, where they have been read already.
    """
    path = Path(run) / FILE
    if not path.exists():
        return read_table(run).to_pylist()
    rows = Rows()
    with uncollected():
        for event in all_events(path) if events is None else events:
            rows.take(event)
        made = sorted(rows.all(), key=lambda row: (row["trial"], row["rung"]))
        return [{name: _typed(row.get(name), kind) for name, kind in COLUMNS.items()} for row in made]


def table_of(run: str | os.PathLike[str]) -> pa.Table:
    """`rows_of` as an Arrow table, with the columns of trials.parquet."""
    return rows_to_table(rows_of(run))


def _typed(value: Any, kind: str) -> Any:
    return float(value) if kind == "float64" and value is not None else value


_OF_TRIAL = (
    "trial", "budget", "teacher", "student", "method", "policy", "ratio", "seed", *COSTS, "latencies",
)  # fmt: skip
_OF_REPORT = (
    "rung", "images", "epochs", "val_top1", "val_loss", "train_loss", "seconds", "teacher_seconds",
    "signal_hits", "signal_misses", "precision", "final", "checkpoint",
)  # fmt: skip
