"""Write Ray's own messages to a file in the run folder instead of the terminal.

Ray prints errors of its nodes ("A worker died …") from a background thread and logs the rest. The search reports failures through
its own events; Ray's messages are in ray/messages.log.
"""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path
from typing import Any

__all__ = ["FILE", "RayLog"]

FILE = "ray/messages.log"  # in the run folder
_KEPT = 1000  # lines kept until the run folder is known


class RayLog(logging.Handler):
    """Replaces the handlers of the "ray" logger and Ray's printing between `begin` and `end`."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.waiting: deque[str] = deque(maxlen=_KEPT)
        self.path: Path | None = None
        self._before: tuple[list[logging.Handler], int, bool] | None = None
        self._printing: Any = None

    def begin(self) -> None:
        """Call it after `ray.init`, which sets Ray's handlers."""
        if self._before is not None:
            return
        logger = logging.getLogger("ray")
        self._before = list(logger.handlers), logger.level, logger.propagate
        logger.handlers[:] = [self]
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        worker = _worker()
        self._printing = getattr(worker, "print_to_stdstream", None)
        if self._printing is not None:  # Ray 2.60; a later version that prints in another way is not redirected
            worker.print_to_stdstream = self._printed

    def into(self, run: Path) -> None:
        """Set the run folder. Earlier messages are written there, too."""
        self.path = run / FILE
        waiting, self.waiting = list(self.waiting), deque(maxlen=_KEPT)
        self._write(waiting)

    def end(self) -> None:
        if self._before is None:
            return
        logger = logging.getLogger("ray")
        logger.handlers[:], logger.level, logger.propagate = self._before
        self._before = None
        if self._printing is not None:
            _worker().print_to_stdstream = self._printing

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write([self.format(record)])
        except Exception:  # a logging handler must not raise
            self.handleError(record)

    def _printed(self, data: dict[str, Any], *_: Any, **__: Any) -> None:
        self._write([f"({data.get('pid')}) {line}" for line in data.get("lines", ())])

    def _write(self, lines: list[str]) -> None:
        if self.path is None:
            self.waiting.extend(lines)
        elif lines:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with open(self.path, "a", encoding="utf-8", errors="replace") as file:
                    file.write("\n".join(lines) + "\n")
            except OSError:
                pass


def _worker() -> Any:
    import ray._private.worker

    return ray._private.worker
