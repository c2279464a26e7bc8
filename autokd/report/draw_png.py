"""A chart as a PNG, by matplotlib: no browser is needed."""

from __future__ import annotations

import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

from autokd.report.chart import GREY, INK, PALETTE, Axis, Chart, Series
from autokd.report.words import amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["png"]

_GREY, _INK = "#9a9a9a", "#222222"
_SYMBOLS = {"circle": "o", "circle-open": "o", "x": "x", "star": "*", "diamond": "D", "square": "s"}
_WIDE = 8.0  # inches, at _DOTS to the inch
_DOTS = 130


def png(chart: Chart) -> bytes:
    """The bytes of an image 1040 pixels wide, on white. The chart's sentence stands above it."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of building its list of fonts, which nobody asked
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(_WIDE, max(3.0, chart.height / 90)), dpi=_DOTS, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(_plain(chart.says), fontsize=8, loc="left", color="#555555", wrap=True)
    if chart.heat is not None:
        _heat(figure, axes, chart)
    else:
        _plot(axes, chart)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font has not is drawn as boxes
        canvas.draw()  # once; savefig would draw twice
    out = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(out, format="png")
    return out.getvalue()


def _plot(axes: Axes, chart: Chart) -> None:
    _axis(axes, "x", chart.x)
    _axis(axes, "y", chart.y)
    for one in chart.series:
        _series(axes, one)
    for line in chart.lines:
        draw = axes.axvline if line.axis == "x" else axes.axhline
        draw(line.at, color=_colour(line.colour), linestyle="--", linewidth=1, zorder=1)
        style: dict[str, Any] = {"fontsize": 8, "color": _colour(line.colour if line.colour >= 0 else INK)}
        if line.axis == "x":
            where = axes.get_xaxis_transform()
            axes.text(line.at, 0.99, _plain(line.text), rotation=90, va="top", ha="right", transform=where, **style)
        else:
            where = axes.get_yaxis_transform()
            axes.text(0.995, line.at, _plain(line.text), va="bottom", ha="right", transform=where, **style)
    axes.grid(color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(
            handles, labels, loc="outside lower center", ncols=min(4, len(handles)), fontsize=8, frameon=False
        )


def _series(axes: Axes, one: Series) -> None:
    colour, label = _colour(one.colour), _plain(one.name) if one.legend else None
    xs = [float("nan") if x is None else x for x in one.xs]
    ys = [float("nan") if y is None else y for y in one.ys]
    alpha = 0.6 if one.faint else 1.0
    if one.form == "bars":
        axes.barh(ys, xs, height=0.6, color=colour, label=label, alpha=alpha)
        if one.low:
            axes.errorbar(xs, ys, xerr=_ends(xs, one), fmt="none", ecolor=_INK, elinewidth=1, capsize=3)
        return
    marker = _SYMBOLS[one.symbol]
    style: dict[str, Any] = {"color": colour, "label": label, "alpha": alpha}
    if one.form == "points" or one.size:
        style |= {"marker": marker, "markersize": one.size * 0.8}
        style |= {"markerfacecolor": "none"} if one.symbol == "circle-open" else {}
    if one.form == "points":
        style["linestyle"] = "none"
    else:
        style |= {"linestyle": "--" if one.dash else "-", "linewidth": one.width * 0.8}
        style |= {"drawstyle": "steps-post"} if one.form == "steps" else {}
    axes.plot(xs, ys, **style)
    if one.low:
        ends: dict[str, Any] = {"xerr": _ends(xs, one)} if one.across else {"yerr": _ends(ys, one)}
        axes.errorbar(xs, ys, **ends, fmt="none", ecolor=colour, elinewidth=1, capsize=3, alpha=alpha)


def _ends(middle: list[float], one: Series) -> list[list[float]]:
    """Distances to both ends, as matplotlib takes them."""
    below = [max(0.0, a - b) for a, b in zip(middle, one.low, strict=True)]
    above = [max(0.0, b - a) for a, b in zip(middle, one.high, strict=True)]
    return [below, above]


def _axis(axes: Axes, which: str, axis: Axis) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    side = axes.xaxis if which == "x" else axes.yaxis
    if axis.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    if axis.ticks:
        side.set_major_locator(FixedLocator(list(axis.ticks)))
        side.set_minor_locator(FixedLocator([]))
    if axis.si or axis.log:
        side.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
        side.set_minor_formatter(NullFormatter())
    if axis.names:
        side.set_ticks(range(len(axis.names)), [_plain(_cut(name)) for name in axis.names])
    limits = axes.set_xlim if which == "x" else axes.set_ylim
    if axis.low is not None or axis.high is not None:
        limits(axis.low, axis.high)
    side.set_label_text(_plain(axis.title), fontsize=9)
    side.set_tick_params(labelsize=8)


def _heat(figure: Any, axes: Axes, chart: Chart) -> None:
    import numpy as np

    heat = chart.heat
    assert heat is not None
    values = np.array([[np.nan if v is None else v for v in row] for row in heat.values], dtype=float)
    drawn = axes.imshow(values, cmap="cividis", aspect="auto")
    middle = np.nanmean([np.nanmin(values), np.nanmax(values)]) if np.isfinite(values).any() else 0.0
    for i, row in enumerate(heat.texts):
        for j, text in enumerate(row):
            ink = "white" if values[i, j] < middle else "black"
            axes.text(j, i, _plain(text), ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(heat.columns)), [_plain(_cut(name)) for name in heat.columns], fontsize=8)
    axes.set_yticks(range(len(heat.rows)), [_plain(_cut(name)) for name in heat.rows], fontsize=8)
    axes.set_xlabel(_plain(chart.x.title), fontsize=9)
    axes.set_ylabel(_plain(chart.y.title), fontsize=9)
    figure.colorbar(drawn, ax=axes, label=heat.unit)


def _colour(number: int) -> str:
    if number in (GREY, INK):
        return _GREY if number == GREY else _INK
    return PALETTE["light"][number % len(PALETTE["light"])]


def _cut(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
