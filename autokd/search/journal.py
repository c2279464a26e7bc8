"""Optuna's journal of a search, kept in memory and written beside it for others to read.

The ledger is the truth; this file is written anew from it whenever a run is resumed, so it is neither locked nor fsynced.
The lines are those of optuna's own JournalFileBackend, so that optuna-dashboard opens `study.journal`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

__all__ = ["Journal"]


class Journal(BaseJournalBackend):
    """`path` None keeps it in memory alone. Nothing is written before `open`, which writes all at once."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else None
        self.logs: list[dict[str, Any]] = []
        self._lines: list[str] = []  # not yet written
        self._live = False

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs.extend(logs)
        self._lines.extend(json.dumps(log, separators=(",", ":")) for log in logs)
        if self._live:
            self._write(self.path)

    def open(self) -> None:
        """Write what has gathered, in place of what lay there, and follow from now on."""
        if self._live:
            return
        if self.path is not None:
            aside = self.path.with_name(f".{self.path.name}")
            self._write(aside, "wb")
            os.replace(aside, self.path)
        self._live = True

    def _write(self, path: Path | None, mode: str = "ab") -> None:
        if path is not None:
            with open(path, mode) as file:
                file.write("".join(f"{line}\n" for line in self._lines).encode())
        self._lines = []
