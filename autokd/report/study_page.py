"""A study as one HTML page that needs nothing else: figures, tables with intervals, and a verdict for each finding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from autokd.report.html import escape, plotly_script, raw_table
from autokd.report.study import (
    SCREEN_TEXT,
    SCREEN_TITLE,
    Judged,
    Part,
    Row,
    Screen,
    StudyReport,
    headline,
    screen_rows,
    screen_verdict,
    tables,
)
from autokd.select.verdict import NOT_SHOWN, OPPOSITE, SHOWN, Estimate

__all__ = ["page"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by colour-blind readers too
_KINDS = {SHOWN: "shown", OPPOSITE: "opposite", NOT_SHOWN: "open"}
_INK = "#222"

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-top: 1px solid #ddd; padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p.how { color: #555; margin: .4rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .3rem 0 .8rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top; border-bottom: 1px solid #eee; }
th { font-weight: 600; border-bottom: 1px solid #bbb; }
.word { display: inline-block; white-space: nowrap; border-radius: .3rem; padding: 0 .5rem; font-weight: 600; font-size: .9rem; }
.shown { background: #d6efe4; color: #00573f; } .opposite { background: #fadfd0; color: #8a3500; }
.open { background: #ececec; color: #444; }
ul.notes { color: #555; font-size: .92rem; padding-left: 1.2rem; }
"""


def page(report: StudyReport) -> str:
    """The whole page as text. It holds plotly's own script (about 4.5 MB), and opens without a network."""
    title = f"Study of {report.study.name}"
    parts = [f"<h1>{escape(title)}</h1>", *(f'<p class="how">{escape(told)}</p>' for told in headline(report))]
    parts += ["<h2>Verdicts</h2>", _summary(report)]
    for part in report.parts:
        parts.append(f"<h2>({escape(part.finding.letter)}) {escape(part.finding.title)}</h2>")
        if part.finding.skipped:
            parts.append(f"<p>Not run: {escape(part.finding.skipped)}.</p>")
            continue
        parts += [_claim(claim) for claim in part.claims]
        if any(row.estimate is not None for row in part.rows):
            parts.append(_figure(part))
        for name, columns, rows in tables(part):
            parts += [f"<h3>{escape(name)}</h3>", _table(columns, rows)]
        parts.append(_notes(part.finding.notes))
    if report.screen is not None:
        parts += [
            f"<h2>{SCREEN_TITLE}</h2>",
            f'<p class="how">{escape(SCREEN_TEXT)}</p>',
            _claim(screen_verdict(report.screen)),
        ]
        parts.append(_screen_figure(report.screen))
        parts.append(_table(("arm", "deviation", "students' val top-1, %"), screen_rows(report.screen)))
        parts.append(_notes([report.screen.how]))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><script>{plotly_script()}</script></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _summary(report: StudyReport) -> str:
    rows = []
    for part in report.parts:
        letter = f"({escape(part.finding.letter)})"
        if part.finding.skipped:
            rows.append((letter, escape(part.finding.title), '<span class="word open">not run</span>'))
        rows += [(letter, escape(claim.text), _word(claim.word)) for claim in part.claims]
    if report.screen is not None:
        claim = screen_verdict(report.screen)
        rows.append(("", escape(claim.text), _word(claim.word)))
    return raw_table(("", "claim", "verdict"), rows)


def _claim(claim: Judged) -> str:
    return f"<p>{_word(claim.word)} {escape(claim.text)}.<br><span>{escape(claim.why)}.</span></p>"


def _word(word: str) -> str:
    return f'<span class="word {_KINDS[word]}">{escape(word)}</span>'


def _notes(notes: Iterable[str]) -> str:
    return '<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return raw_table(columns, [[_word(cell) if cell in _KINDS else escape(cell) for cell in row] for row in rows])


# --- figures


def _figure(part: Part) -> str:
    if part.teachers:
        return _teachers_figure(part)
    return _curve(part) if part.finding.axis else _dots(part)


def _dots(part: Part) -> str:
    """One line an arm, from the top: its mean, its interval, and each seed as a ring."""
    import plotly.graph_objects as go

    figure = go.Figure()
    rows = [row for row in part.rows if row.estimate is not None]
    names = list(dict.fromkeys(row.series for row in rows))
    order = list(dict.fromkeys(row.label for row in rows))
    for number, name in enumerate(names):
        mine = [row for row in rows if row.series == name]
        places = [order.index(row.label) + _beside(number, len(names), 0.24) for row in mine]
        rings = [(score, y) for row, y in zip(mine, places, strict=True) for score in row.scores.values()]
        figure.add_trace(_seeds(rings, number))
        figure.add_trace(
            go.Scatter(
                x=[row.estimate.mean for row in mine if row.estimate],
                y=places,
                error_x=_error([row.estimate for row in mine]),
                mode="markers",
                marker={"size": 9, "color": _colour(number)},
                name=escape(name or "mean and interval"),
                showlegend=bool(name),
            )
        )
    ticks = {"tickvals": list(range(len(order))), "ticktext": list(map(escape, order))}
    figure.update_yaxes(**ticks, range=[len(order) - 0.5, -0.5], automargin=True, ticklabelstandoff=8, zeroline=False)
    figure.update_xaxes(title="val top-1, %", range=_range(rows))
    return _html(figure, 90 + (42 if len(names) == 1 else 58) * len(order))


def _beside(number: int, count: int, step: float) -> float:
    """Where the series `number` of `count` stands beside the place that all of them share."""
    return step * (number - (count - 1) / 2)


def _curve(part: Part) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    rows = [row for row in part.rows if row.estimate is not None]
    names = list(dict.fromkeys(row.series for row in rows if row.x is not None))
    places = sorted({row.x for row in rows if row.x is not None})
    few = part.finding.letter == "d"  # shares of the data lie far apart
    for number, name in enumerate(names):
        mine = [row for row in rows if row.series == name and row.x is not None]
        aside = 1 + _beside(number, len(names), 0.03)  # so that intervals do not cover one another
        figure.add_trace(_seeds([((row.x or 0) * aside, s) for row in mine for s in row.scores.values()], number))
        figure.add_trace(
            go.Scatter(
                x=[(row.x or 0) * aside for row in mine],
                y=[row.estimate.mean for row in mine if row.estimate],
                error_y=_error([row.estimate for row in mine]),
                mode="lines+markers",
                marker={"size": 8},
                line={"color": _colour(number), "width": 2},
                name=escape(name),
                showlegend=bool(name),
            )
        )
    for row in rows:
        if row.x is None and row.estimate is not None:  # the control has no place on the axis
            told = escape(f"{row.series or row.label}: {row.estimate.mean:.2f}")
            dashes = {"color": "#777", "dash": "dash"}
            figure.add_hline(y=row.estimate.mean, line=dashes, annotation_text=told, annotation_position="top left")
    form = {"tickvals": places, "ticktext": [f"{x:g}" for x in places]}
    if few:
        form |= {"type": "log", "ticktext": [f"{x:.0%}" for x in places]}
    figure.update_xaxes(title=part.finding.axis, **form)
    figure.update_yaxes(title="val top-1, %", range=_range(rows))
    return _html(figure, 380)


def _teachers_figure(part: Part) -> str:
    """Teacher accuracy against student accuracy: an arrow up and to the right would mean better teacher, better student."""
    import plotly.graph_objects as go

    figure = go.Figure()
    teachers = dict(part.teachers)
    for number, name in enumerate(dict.fromkeys(row.series for row in part.rows)):
        mine = [row for row in part.rows if row.series == name and row.estimate and teachers[row.arm].estimate]
        xs = [found.mean for row in mine if (found := teachers[row.arm].estimate)]
        figure.add_trace(
            go.Scatter(
                x=xs,
                y=[row.estimate.mean for row in mine if row.estimate],
                error_y=_error([row.estimate for row in mine]),
                error_x=_error([teachers[row.arm].estimate for row in mine]),
                text=[escape(row.label) for row in mine],
                textposition="top right",
                mode="lines+markers+text",
                line={"color": _colour(number), "dash": "dot", "width": 1.5},
                marker={"size": 9},
                name=escape(name),
                showlegend=True,
            )
        )
    figure.update_xaxes(title="the teacher's val top-1, %", automargin=True)
    figure.update_yaxes(title="the student's val top-1, %", range=_range(part.rows))
    _room(figure, [found.mean for one in teachers.values() if (found := one.estimate)])
    return _html(figure, 380)


def _screen_figure(screen: Screen) -> str:
    import plotly.graph_objects as go

    xs, ys = [value for _, value, _ in screen.entries], [mean for *_, mean in screen.entries]
    names = [escape(arm.removeprefix("kd · ")) for arm, *_ in screen.entries]
    marks = {"size": 9, "color": _COLOURS[0]}
    figure = go.Figure(go.Scatter(x=xs, y=ys, text=names, textposition="top center", mode="markers+text", marker=marks))
    figure.update_xaxes(title="deviation of the teacher's mean probabilities (lower is said to be better)")
    figure.update_yaxes(title="students' val top-1, %")
    _room(figure, xs)
    low, high = min(ys), max(ys)
    figure.update_yaxes(range=[low - 0.1 * (high - low or 1), high + 0.2 * (high - low or 1)])
    return _html(figure, 360)


def _room(figure: Any, xs: Sequence[float]) -> None:
    """Names beside the outermost points need a margin."""
    if xs:
        wide = max(xs) - min(xs) or abs(xs[0]) * 0.02 or 1
        figure.update_xaxes(range=[min(xs) - 0.25 * wide, max(xs) + 0.5 * wide])


def _seeds(places: Sequence[tuple[float, float]], number: int) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        marker={"size": 7, "symbol": "circle-open", "color": _colour(number)},
        opacity=0.55,
        name="one seed",
        showlegend=False,
    )


def _range(rows: Iterable[Row]) -> list[float]:
    """Of the accuracy axis: all seeds, and intervals as far as they do not squeeze the seeds into a line."""
    rows = list(rows)
    scores = [score for row in rows for score in row.scores.values()]
    low, high = min(scores), max(scores)
    wide = max(high - low, 0.5)
    ends = [end for row in rows if row.estimate for end in (row.estimate.low, row.estimate.high) if not math.isnan(end)]
    least, most = min([low, *ends]), max([high, *ends])
    return [
        max(0.0, max(least, low - 1.5 * wide) - 0.08 * wide),
        min(100.5, min(most, high + 1.5 * wide) + 0.08 * wide),
    ]


def _error(found: Sequence[Estimate | None]) -> dict[str, Any]:
    wide = [one if one is not None and one.count > 1 else None for one in found]
    above, below = [one.high - one.mean if one else 0.0 for one in wide], [one.mean - one.low if one else 0.0 for one in wide]
    ends = {"array": above, "arrayminus": below, "symmetric": False}
    return {"type": "data", **ends, "thickness": 1.5, "width": 5, "visible": any(above) or any(below)}


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _html(figure: Any, height: float) -> str:
    figure.update_layout(
        template="plotly_white",
        height=round(height),
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    config = {"displaylogo": False, "displayModeBar": False, "responsive": True}
    return figure.to_html(full_html=False, include_plotlyjs=False, config=config)
