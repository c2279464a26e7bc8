"""Tables for a person, as wide as the terminal: columns are left out by their priority, and what must be read is never cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from autokd.cli.console import console, echo, wrapped
from autokd.cli.terminal import shown
from autokd.report.columns import Column, fit

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["drawn", "print_table"]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A table without boxes, as wide as it needs to be and the terminal allows.

    Long prose is folded; then columns are left out by their priority (autokd.report.columns), which one line tells. Where even
    the others do not fit, each row is printed as lines of their own.
    """
    rows = [list(row) for row in rows]
    screen = console()
    table, dropped = drawn(columns, rows, screen.width, title=title)
    if table is None:
        _blocks(columns, rows, screen.width, title)
        return
    if screen.is_terminal:
        screen.print(table)
    else:
        with screen.capture() as text:
            screen.print(table)
        echo("\n".join(line.rstrip() for line in text.get().rstrip("\n").split("\n")))
    if dropped:
        wrapped(f"no room for {', '.join(dropped)}: use a wider terminal, or --json")


def drawn(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    room: int,
    *,
    title: str = "",
    styles: Sequence[str] = (),
) -> tuple[Table | None, tuple[str, ...]]:
    """The table, without columns that are empty, and the headings of what was left out; None where it does not fit.

    styles: one a row.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    said = [number for number in range(len(columns)) if not rows or any(row[number] not in ("", None) for row in rows)]
    columns, rows = [columns[number] for number in said], [[row[number] for number in said] for row in rows]
    cells = [[_cell(value) for value in row] for row in rows]
    heads = [shown(column) for column in columns]
    told = [[head, *(row[number] for row in cells)] for number, head in enumerate(heads)]
    lengths = [[cell_len(cell) for cell in some] for some in told]
    words = [max((cell_len(word) for cell in some for word in cell.split()), default=0) for some in told]
    found = fit(columns, lengths, words, room)
    if not found.whole:
        return None, found.dropped
    table = Table(title=shown(title) or None, box=None, title_justify="left", title_style="bold", pad_edge=False)
    for number, width in zip(found.shown, found.widths):
        column = columns[number]
        values = [row[number] for row in rows if row[number] != ""]
        numeric = bool(values) and all(isinstance(value, (int, float)) for value in values)
        cut = isinstance(column, Column) and column.narrow == "cut"
        side: Any = "right" if numeric else "left"
        overflow: Any = "ellipsis" if cut else "fold"
        table.add_column(heads[number], justify=side, header_style="bold", width=width, no_wrap=cut, overflow=overflow)
    for row, style in zip(cells, styles or [""] * len(cells)):
        table.add_row(*(Text(row[number]) for number in found.shown), style=style)
    return table, found.dropped


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[Any]], room: int, title: str) -> None:
    """Each row as lines 'heading  cell', for a terminal in which not even what must be read fits side by side."""
    from textwrap import wrap

    if title:
        echo(shown(title))
    wide = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            echo()
        for column, value in zip(columns, row):
            indent = " " * (wide + 2)
            lines = wrap(_cell(value), max(room, wide + 20), initial_indent=f"{shown(column):<{wide}}  ",
                         subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)  # fmt: skip
            echo("\n".join(lines))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return shown(str(value))
