"""search.max_disk_gb: a run's folder is kept below a size while a search writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError
from autokd.files import in_shell
from autokd.search.kept import PLACE, STUDY, Checkpoints, drop, size_of
from autokd.track.ledger import FILE, read_events

__all__ = ["DiskLimit", "Limiter"]

_PATIENCE = 50  # of the search's time at most one part in so many goes into looking at its folder


class DiskLimit(AutokdError):
    """The search has paused: its folder is larger than `search.max_disk_gb`, and nothing in it may go."""

    exit_code = 5


class Limiter:
    """A listener that keeps a run's folder below `limit` bytes while a search writes it, or lets it pause.

    folder: where the search writes its ledger and checkpoints. root: the run that is measured, which `folder` may be a part of.
    say: told once when checkpoints begin to go. Events of earlier sessions are only taken note of, until `begin`.
    """

    replays = True

    def __init__(self, folder: Path, root: Path, limit: float, *, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder, self.root, self.limit, self.say = folder, root, limit, say
        inner = folder != root
        self.parts = [(folder, Checkpoints(extends=not inner and not (folder / STUDY).exists()))]
        if inner:
            self.parts.append((root, Checkpoints(read_events(root / FILE))))
        self.pause: Callable[[str], None] | None = None
        self.why = ""  # it had to pause, for this
        self._sizes: dict[str, int] = {}  # of this search's checkpoints, by trial
        self._gone: set[str] = set()  # trials of the root whose checkpoints have been deleted
        self._rest, self._due = 0, 0.0  # bytes of all else, and when to look again
        self._said = False

    def begin(self, pause: Callable[[str], None]) -> None:
        """From now on the limit holds. pause: called with the reason where nothing more may go."""
        self.pause = pause
        place = self.folder / PLACE
        for path in place.iterdir() if place.is_dir() else ():
            self._sizes[path.name] = size_of(path)
        self._hold()

    def on_event(self, event: dict[str, Any]) -> None:
        self.parts[0][1].take(event)
        if self.pause is not None and event["event"] in ("report", "end"):
            self._sizes[event["trial"]] = size_of(self.folder / PLACE / event["trial"])
            self._hold()

    def fault(self) -> DiskLimit:
        """What the search ends with after it had to pause."""
        self._due = 0.0
        gigabytes = _round_up(1.25 * self._bytes() / 1e9)
        run = in_shell(self.root)
        fix = (
            f"nothing that had ended is lost; allow more: autokd resume {run} --set search.max_disk_gb={gigabytes:g}\n"
            f"  or let unfinished trials begin anew: autokd runs prune {run} --all, then autokd resume {run}"
        )
        return DiskLimit(f"the search has paused: {self.why}", where=str(self.root), fix=fix)

    def _bytes(self) -> int:
        now = time.monotonic()
        if now >= self._due:
            self._rest = size_of(self.root, without=self.folder / PLACE)
            self._due = now + _PATIENCE * (time.monotonic() - now)
        return self._rest + sum(self._sizes.values())

    def _hold(self) -> None:
        total = self._bytes()
        if total <= self.limit:
            return
        for folder, kept in self.parts:
            for trial in kept.spare():
                if not self._sizes.get(trial) if folder == self.folder else trial in self._gone:
                    continue
                freed = drop(folder / PLACE / trial)
                if folder == self.folder:
                    self._sizes[trial] = self._sizes.get(trial, freed) - freed
                else:
                    self._gone.add(trial)
                    self._rest -= freed
                total -= freed
                if freed and not self._said:
                    self._said = True
                    self.say(
                        f"the run has reached search.max_disk_gb ({self.limit / 1e9:g}): "
                        "checkpoints of ended trials go, the least useful first"
                    )
                if total <= self.limit:
                    return
        if not self.why and self.pause is not None:
            self.why = (
                f"the run's folder takes {_told(total)}, more than search.max_disk_gb ({self.limit / 1e9:g}), "
                "and nothing in it may go"
            )
            self.pause(self.why)


def _told(size: float) -> str:
    """1234567 -> '1.2 MB'."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"


def _round_up(gigabytes: float) -> float:
    """To two digits, never below."""
    step = 10.0 ** (floor(log10(max(gigabytes, 1e-9))) - 1)
    return ceil(gigabytes / step) * step
