"""What every command prints with: words for a person."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from autokd.cli.terminal import shown
from autokd.errors import readable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "echo", "wrapped"]

_PIPE = 100  # columns a pipe is given where COLUMNS does not say; a terminal has its own


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    narrow: Any = None if shown("…") == "…" else _Narrow(stream)
    return Console(stderr=stderr, file=narrow, highlight=False, width=None if stream.isatty() else _columns())


def _columns() -> int:
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdecimal() and int(said) else _PIPE


class _Narrow:
    """A stream whose encoding lacks the ellipsis that rich cuts a cell with: it is one place wide, and stays so."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return int(self.stream.write(text.replace("…", ".")))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def echo(text: str = "", *, err: bool = False) -> None:
    """One line for a person, at once."""
    print(readable(text), file=sys.stderr if err else sys.stdout, flush=True)


def wrapped(text: str, indent: str = "") -> None:
    """A paragraph for a person, as wide as the terminal, a hundred columns at the most, where its words allow that."""
    from textwrap import wrap

    further = indent + "  "
    width = min(console().width, 99)
    lines = wrap(text, width, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False, break_long_words=False)
    echo("\n".join(lines))
