"""What a command prints to: a terminal or pipe of any encoding, which may go away before the command does.

Whatever has to be printed can be: what an encoding lacks is written in ASCII. A terminal that was closed no longer takes
anything, and that alone does not end the command: a search still pauses.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autokd.errors import readable

__all__ = ["PLAIN", "Lasting", "hang_up", "shown", "terminal"]

PLAIN = "autokd-plain"  # error handler of the streams: what an encoding lacks is written in ASCII
_SIGNS = {"…": "...", "±": "+-", "·": "-", "µ": "u", "≤": "<=", "≥": ">=", "×": "x", "–": "-", "—": "-", "→": "->"}
_hung_up = threading.Event()


def _plain(fault: UnicodeError) -> tuple[str, int]:
    """For codecs: ASCII for what cannot be encoded. A byte of a file's name that was no text is written as \\xe9."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    return "".join(_in_ascii(one) for one in fault.object[fault.start : fault.end]), fault.end


def _in_ascii(character: str) -> str:
    return _SIGNS.get(character) or readable(character).encode("ascii", "backslashreplace").decode()


codecs.register_error(PLAIN, _plain)


def shown(text: str, stream: Any = None) -> str:
    """The text as a stream (standard output) will show it, so that its width is known."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, PLAIN).decode(encoding)


class Lasting(io.FileIO):
    """Takes what is written also after its terminal was closed, or the reader of a pipe was closed together with it."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.terminal = self.isatty()

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as fault:
            gone = fault.errno == errno.EIO and self.terminal
            if gone or (fault.errno == errno.EPIPE and _hung_up.is_set()):
                return memoryview(data).nbytes
            raise


def hang_up() -> None:
    """The terminal was closed: pipes that lead to what it showed end with it."""
    _hung_up.set()


@contextmanager
def terminal() -> Iterator[None]:
    """Standard output and errors that take everything, and SIGHUP and SIGTERM as a Ctrl-C; for one command.

    A signal that is ignored, as nohup has it, stays so.
    """
    before: dict[Any, Any] = {}
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}

    def ended(number: int, frame: Any) -> None:
        if number == getattr(signal, "SIGHUP", None):
            hang_up()
            signal.signal(number, signal.SIG_IGN)  # a shell sends it once more to each of its jobs
        raise KeyboardInterrupt

    for name, stream in streams.items():
        setattr(sys, name, _lasting(stream))
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, ended)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lasting(stream: Any) -> Any:
    """A stream of the process itself is replaced for good; one that somebody put in its place keeps its own."""
    if stream is None:  # closed by whoever started the process
        return open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors=PLAIN)
    if stream not in (sys.__stdout__, sys.__stderr__) or sys.platform == "win32":
        return stream
    raw = io.BufferedWriter(Lasting(stream.fileno()))
    return io.TextIOWrapper(raw, stream.encoding, PLAIN, None, stream.line_buffering, stream.write_through)
