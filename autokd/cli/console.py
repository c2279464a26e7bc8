"""What every command prints with: tables for a person, JSON for a program, nothing where nothing was asked for."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.cli.terminal import shown
from autokd.errors import readable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "echo", "plain", "print_json", "print_table", "wrapped"]

_WHOLE = 50  # columns that the names in a table's first column may take before they are folded too
_NARROWEST = 100  # columns a pipe is given; a terminal has its own


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    narrow: Any = None if shown("…") == "…" else _Narrow(stream)
    return Console(stderr=stderr, file=narrow, highlight=False, width=None if stream.isatty() else _NARROWEST)


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
    """A paragraph for a person, of a hundred columns at the most where its words allow that."""
    from textwrap import wrap

    further = indent + "  "
    lines = wrap(text, 99, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False, break_long_words=False)
    echo("\n".join(lines))


def print_json(value: Any) -> None:
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    if shown(text) != text:  # an encoding that lacks some of it
        text = json.dumps(plain(value), indent=2, allow_nan=False)
    print(text, flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A table without boxes, as wide as it needs to be, with long cells folded (those of the first column last)."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=shown(title) or None, box=None, title_justify="left", title_style="bold", pad_edge=False)
    rows = [list(row) for row in rows]
    longest = max((len(_cell(row[0])) for row in rows), default=0)
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], (int, float)) or row[number] == "" for row in rows)
        side: Any = "right" if numeric else "left"
        whole = number == 0 and longest <= _WHOLE
        table.add_column(shown(column), justify=side, header_style="bold", overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    screen = console()
    if screen.is_terminal:
        screen.print(table)
        return
    with screen.capture() as drawn:
        screen.print(table)
    echo("\n".join(line.rstrip() for line in drawn.get().rstrip("\n").split("\n")))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return shown(str(value))


def plain(value: Any) -> Any:
    """The value with nothing in it that JSON does not have: NaN becomes null, paths and odd things become words."""
    if isinstance(value, dict):
        return {readable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, Path)):
        return readable(str(value))
    return plain(value.item()) if hasattr(value, "item") else str(value)
