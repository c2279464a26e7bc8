"""Pause, stop or cancel a search from another process: a word in a small file of the run folder, which its driver watches."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from autokd.errors import AutokdError
from autokd.files import in_shell, write_text
from autokd.track.ledger import held

__all__ = ["WORDS", "Watch", "ask"]

FILE = "control"
WORDS = {
    "pause": "no new trials; running ones go on to their next checkpoint",
    "stop": "no new trials; running ones go on to their end",
    "cancel": "running trials are stopped now; each keeps its last checkpoint",
}
_EVERY = 0.5  # seconds between two looks


def ask(folder: str | os.PathLike[str], word: str) -> None:
    """Tell the driver of a run what is wanted (a key of WORDS). Raises AutokdError where nothing runs there."""
    folder = Path(folder)
    if word not in WORDS:
        raise AutokdError(f"no request {word!r}", fix=f"one of {', '.join(WORDS)}")
    if not held(folder):
        told = f"nothing to {word}: no process is working on this run"
        raise AutokdError(told, where=str(folder), fix=f"go on with it: autokd resume {in_shell(folder)}")
    write_text(folder / FILE, word + "\n")


class Watch:
    """Looks into the folders from a thread of its own until it is left, and says each word once. What lay there before is
    of an earlier session and is deleted."""

    def __init__(self, folders: list[Path], heard: Callable[[str], None], every: float = _EVERY) -> None:
        self.paths = [folder / FILE for folder in folders]
        self.heard, self.every = heard, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="control", daemon=True)

    def __enter__(self) -> Watch:
        for path in self.paths:
            path.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(self.every):
            for path in self.paths:
                try:
                    word = path.read_text(encoding="utf-8").strip()
                    path.unlink()
                except OSError:
                    continue
                if word in WORDS:
                    self.heard(word)
