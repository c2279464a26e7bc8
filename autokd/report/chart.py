"""A figure as plain values. The page (plotly) and the PNG (matplotlib) are both drawn from it, and the CSV holds its data."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["GREY", "INK", "PALETTE", "Axis", "Chart", "Heat", "Line", "Series", "csv_text"]

# told apart by colour-blind readers too; on white, and on a dark page
PALETTE = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9"),
    "dark": ("#4fb3f0", "#ff8c42", "#2fc79a", "#e79ac8", "#e9b73c", "#8fd0f7"),
}
GREY, INK = -1, -2  # colours of a series beside the numbers of the palette


@dataclass(frozen=True)
class Axis:
    """log: a logarithmic axis. si: ticks as 200 k, 1.5 M. names: words instead of numbers, at 0, 1, 2, …

    low, high: the ends, in the axis's own unit; of the data where None.
    """

    title: str
    log: bool = False
    si: bool = False
    names: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One legend entry. form: points, line, steps (a value holds until the next) or bars (horizontal, `ys` are places).

    low, high: ends of an interval for each point (along y; along x for bars and where `across`), both or none. notes: what a
    pointer over a point is told. A None in `ys` breaks a line.
    """

    name: str
    xs: tuple[float | None, ...]
    ys: tuple[float | None, ...]
    form: Literal["points", "line", "steps", "bars"] = "points"
    colour: int = 0
    symbol: Literal["circle", "circle-open", "x", "star", "diamond", "square"] = "circle"
    size: float = 7
    width: float = 2
    dash: bool = False
    faint: bool = False
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    legend: bool = True
    across: bool = False


@dataclass(frozen=True)
class Line:
    """A dashed line across the figure at a value of one axis, with a word beside it."""

    axis: Literal["x", "y"]
    at: float
    text: str
    colour: int = GREY


@dataclass(frozen=True)
class Heat:
    """values[row][column], None where nothing is known; texts are written into the cells."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    unit: str


@dataclass(frozen=True)
class Chart:
    """key: the name of its files. tab: its name among the figures it shares a place with. says: what it shows, a sentence.

    columns, rows: the data behind it, as the CSV has them.
    """

    key: str
    tab: str
    says: str
    x: Axis
    y: Axis
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    series: tuple[Series, ...] = ()
    lines: tuple[Line, ...] = ()
    heat: Heat | None = None
    height: int = 400  # pixels on the page


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """RFC 4180 with line feeds; None is an empty cell. A word that a spreadsheet would take for a formula is quoted with a '."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
