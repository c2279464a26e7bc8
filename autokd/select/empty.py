"""Why a budget has no student: what became of the trials whose student its limits admit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autokd.errors import SearchFailed
from autokd.files import in_shell
from autokd.select.best import admits, admitted_of, last_rows, limits_of_run
from autokd.track.ledger import FILE, all_events
from autokd.track.recorder import rows_of
from autokd.track.state import state_of

__all__ = ["nothing_finished", "why_empty", "why_of_run"]

_LONGEST = 200  # characters of a trial's reason


def why_empty(
    rows: Iterable[dict[str, Any]],
    budgets: Iterable[Mapping[str, Any]],
    admitted: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """For each budget by name, why none of its trials has come to its end; nothing for a budget where one has.

    rows: of the result table. admitted: trial -> names of the budgets that admit its student (autokd.select.best.admitted_of).
    """
    last = last_rows(rows)
    found = {}
    for budget in budgets:
        some = [row for row in last if admits(budget, row, admitted or {})]
        if not any(row["status"] == "done" for row in some):
            found[budget["name"]] = _why(some)
    return found


def why_of_run(folder: str | os.PathLike[str]) -> dict[str, str]:
    """`why_empty` of a run folder."""
    events = all_events(Path(folder) / FILE)
    return why_empty(rows_of(folder, events), limits_of_run(folder, events), admitted_of(events))


def nothing_finished(folder: str | os.PathLike[str], names: Collection[str] = ()) -> SearchFailed:
    """What confirm and finalize say of a run that has no finished trial for these budgets (all of them where none is named)."""
    told = {name: why for name, why in why_of_run(folder).items() if not names or name in names}
    words = "; ".join(f"{name}: {why}" for name, why in told.items())
    run, state = in_shell(folder), state_of(folder)
    more = f"go on with the search: autokd resume {run}" + ("" if state.unfinished else " --add-trials N, or --retry-failed")
    what = f"no trial has finished for {', '.join(told)} ({words})"
    return SearchFailed(what, where=str(folder), fix="wait for its end: autokd status" if state.word == "running" else more)


def _commonest(reasons: Sequence[str]) -> str:
    """': REASON' where all have the same one, else '; 3 of them: REASON' with the commonest."""
    if not reasons:
        return ""
    reason, count = Counter(_line(one) for one in reasons).most_common(1)[0]
    return f": {reason}" if count == len(reasons) else f"; {count} of them: {reason}"


def _why(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "no trial was tried for it"
    failed = [row for row in rows if row["status"] == "failed"]
    told = _commonest([row["reason"] or "" for row in failed])
    if len(failed) == len(rows):
        return {1: "its only trial", 2: "both trials"}.get(len(rows), f"all {len(rows)} trials") + f" failed{told}"
    stopped = [row for row in rows if row["status"] == "stopped"]
    parts = {f"{len(failed)} failed{told}": failed, f"{len(stopped)} stopped before full length{_furthest(stopped)}": stopped}
    rest = len(rows) - len(failed) - len(stopped)
    words = [*(text for text, some in parts.items() if some), *([f"{rest} not ended"] if rest else [])]
    return f"of {len(rows)} trial{'s' * (len(rows) > 1)} " + ", ".join(words)


def _furthest(stopped: Sequence[Mapping[str, Any]]) -> str:
    epochs = max((row["epochs"] or 0.0 for row in stopped), default=0.0)
    return f" (at {epochs:.3g} epochs at most)" if epochs else " (none reached a rung)"


def _line(reason: str) -> str:
    """The first line of a reason."""
    return (reason.strip().splitlines() or ["not told"])[0][:_LONGEST]
