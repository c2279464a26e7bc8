"""A chart as the values that plotly.js draws from. Colours are words the page's theme knows: @0 … @5, @grey, @ink, @line."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from autokd.report.chart import GREY, INK, PALETTE, Axis, Chart, Line, Series
from autokd.report.words import amount

__all__ = ["plotly"]


def plotly(chart: Chart) -> dict[str, Any]:
    """{"data": traces, "layout": layout}. Plotly reads some HTML in its texts, so every name is escaped."""
    layout: dict[str, Any] = {"height": chart.height}
    if chart.heat is not None:
        return {"data": [_heat(chart)], "layout": layout | _heat_axes(chart)}
    layout |= {"xaxis": _axis(chart.x), "yaxis": _axis(chart.y)}
    layout["shapes"] = [_shape(line) for line in chart.lines]
    layout["annotations"] = [_word(line, chart) for line in chart.lines]
    layout["showlegend"] = any(one.legend for one in chart.series)
    return {"data": [_trace(one) for one in chart.series], "layout": layout}


def _trace(one: Series) -> dict[str, Any]:
    colour = _colour(one.colour)
    found: dict[str, Any] = {"x": list(one.xs), "y": list(one.ys), "name": _text(one.name), "showlegend": one.legend}
    if one.notes:
        found |= {"text": [_text(note).replace("\n", "<br>") for note in one.notes], "hoverinfo": "text"}
    if one.faint:
        found["opacity"] = 0.7
    if one.form == "bars":
        found |= {"type": "bar", "orientation": "h", "marker": {"color": colour}, "width": 0.6}
        return found | ({"error_x": _ends(one.xs, one, "@ink")} if one.low else {})
    marks = one.form == "points" or one.size > 0
    found |= {"type": "scatter", "mode": "markers" if one.form == "points" else "lines+markers" if marks else "lines"}
    if marks:
        found["marker"] = {"size": one.size, "symbol": one.symbol, "color": colour}
    if one.form != "points":
        line = {"color": colour, "width": one.width, "dash": "dash" if one.dash else "solid"}
        found["line"] = line | ({"shape": "hv"} if one.form == "steps" else {})
    if not one.low:
        return found
    return found | ({"error_x": _ends(one.xs, one, colour)} if one.across else {"error_y": _ends(one.ys, one, colour)})


def _ends(middle: tuple[float | None, ...], one: Series, colour: str) -> dict[str, Any]:
    above = [max(0.0, high - (at or 0.0)) for at, high in zip(middle, one.high, strict=True)]
    below = [max(0.0, (at or 0.0) - low) for at, low in zip(middle, one.low, strict=True)]
    style = {"thickness": 1.2, "width": 4, "color": colour}
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, **style}


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {"title": {"text": _text(axis.title)}, "automargin": True, "zeroline": False}
    if axis.log:
        found |= {"type": "log"}
    if axis.si:
        found |= {"tickformat": "~s"}
    if axis.ticks:
        text = [amount(tick) if axis.si or axis.log else f"{tick:g}" for tick in axis.ticks]
        found |= {"tickvals": list(axis.ticks), "ticktext": text}
    if axis.names:
        found |= {"tickvals": list(range(len(axis.names))), "ticktext": [_text(_cut(name)) for name in axis.names]}
    if axis.low is not None and axis.high is not None:
        found["range"] = [math.log10(axis.low), math.log10(axis.high)] if axis.log else [axis.low, axis.high]
    return found


def _shape(line: Line) -> dict[str, Any]:
    style = {"type": "line", "layer": "above", "line": {"color": _colour(line.colour), "width": 1.2, "dash": "dash"}}
    if line.axis == "x":
        return {**style, "x0": line.at, "x1": line.at, "yref": "paper", "y0": 0, "y1": 1}
    return {**style, "y0": line.at, "y1": line.at, "xref": "paper", "x0": 0, "x1": 1}


def _word(line: Line, chart: Chart) -> dict[str, Any]:
    font = {"size": 11, "color": _colour(line.colour, "@ink")}
    style = {"text": _text(line.text), "showarrow": False, "font": font, "bgcolor": "@back", "opacity": 0.85}
    if line.axis == "x":  # annotations of a logarithmic axis stand at the logarithm, shapes at the value
        at = math.log10(line.at) if chart.x.log else line.at
        return {**style, "x": at, "yref": "paper", "y": 1, "textangle": -90, "xanchor": "right", "yanchor": "top"}
    at = math.log10(line.at) if chart.y.log else line.at
    return {**style, "y": at, "xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom"}


def _heat(chart: Chart) -> dict[str, Any]:
    heat = chart.heat
    assert heat is not None
    return {
        "type": "heatmap",
        "z": [list(row) for row in heat.values],
        "x": list(range(len(heat.columns))),
        "y": list(range(len(heat.rows))),
        "text": [[_text(text).replace("\n", "<br>") for text in row] for row in heat.texts],
        "texttemplate": "%{text}",
        "hoverinfo": "skip",
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": _text(heat.unit), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "xgap": 2,
        "ygap": 2,
    }


def _heat_axes(chart: Chart) -> dict[str, Any]:
    heat = chart.heat
    assert heat is not None
    across = _axis(Axis(chart.x.title, names=heat.columns)) | {"showgrid": False}
    down = _axis(Axis(chart.y.title, names=heat.rows)) | {"showgrid": False, "autorange": "reversed"}
    return {"xaxis": across, "yaxis": down}


def _colour(number: int, grey: str = "@grey") -> str:
    if number in (GREY, INK):
        return grey if number == GREY else "@ink"
    return f"@{number % len(PALETTE['light'])}"


def _text(name: str) -> str:
    """As plotly reads it: it knows the signs that would be a tag, leaves quotes as they are, and takes dollars for TeX."""
    return escape(name, quote=False).replace("$", "&#36;")


def _cut(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
