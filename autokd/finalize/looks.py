"""How often each budget's student was scored on the test split. A look is written down with its scores, before these are told.

A test split that was opened and gave no score (an image that cannot be read, a process that was killed) costs no look.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["looks", "note_look"]

FILE = "test_looks.jsonl"


def looks(final: Path, budget: str) -> list[dict[str, Any]]:
    """Every look at the test split for this budget so far, the earliest first."""
    path = final / FILE
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            look = json.loads(line)
        except ValueError:  # the last line of a process that was killed
            look = None
        if not isinstance(look, dict):
            look = {"budgets": [budget], "time": "torn"}
        if budget in look.get("budgets", ()):
            found.append(look)
    return found


def note_look(final: Path, budgets: list[str], **facts: Any) -> None:
    """Write down, in one line, that these budgets' student was scored, and its scores. Raises OSError, and leaves no half line
    behind, where the disk is full: the scores are then forgotten, and the look does not count."""
    final.mkdir(parents=True, exist_ok=True)
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "budgets": budgets, **facts}
    path = final / FILE
    with open(path, "ab", buffering=0) as file:
        size = path.stat().st_size
        torn = size > 0 and not path.read_bytes().endswith(b"\n")
        data = (("\n" if torn else "") + json.dumps(line, default=str) + "\n").encode()
        try:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except OSError as fault:
            file.truncate(size)
            raise OSError(fault.errno, fault.strerror, os.fspath(path)) from fault
