"""A run as one HTML page that fetches nothing, with each figure beside it as PNG and CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autokd.files import in_shell, whole, write_text
from autokd.report import run_charts
from autokd.report.chart import PALETTE, Chart, csv_text
from autokd.report.compare import as_section, differences
from autokd.report.confirm_chart import confirmations
from autokd.report.courses import Told, read_run
from autokd.report.draw_page import plotly
from autokd.report.finals import FILES, TESTED, file_rows, score_rows
from autokd.report.html import data_block, document, escape, plotly_script, table
from autokd.report.summary import Section, Summary, confirmation, empty, headline, policy_of, sections, summarise
from autokd.report.words import amount, percent
from autokd.select.interval import share_interval

__all__ = ["FIGURES", "PAGE", "report_paths", "write_report"]

PAGE, FIGURES = "report.html", "report"
_GREYS = {
    "light": {"@grey": "#8b9097", "@ink": "#222222", "@line": "#e4e4e4", "@back": "#ffffff"},
    "dark": {"@grey": "#8b9097", "@ink": "#e6e6e6", "@line": "#353a42", "@back": "#16181c"},
}


def report_paths(folder: str | Path) -> tuple[Path, Path]:
    """Where a run's page and the folder of its figures lie."""
    return Path(folder) / PAGE, Path(folder) / FIGURES


def write_report(folder: str | Path, *, compare: str | Path | None = None) -> Path:
    """Write a run's page and figures from what its ledger holds now, also while a search writes them.

    compare: another run's folder, whose front is laid over this one's; the page is then `compare-<its name>.html`.
    Returns the page. Raises AutokdError where a folder is no run.
    """
    page, figures = report_paths(folder)
    told, summary = read_run(folder), summarise(folder)
    other = read_run(compare) if compare is not None else None
    if other is not None:
        name = "compare-" + re.sub(r"[^A-Za-z0-9._-]+", "-", other.run)
        page, figures = page.with_name(f"{name}.html"), figures / name
    parts = _parts(told, other, summary.select)
    raced = _Part("race", "Candidates and controls", tuple(confirmations(summary.confirmed, summary.stale)), "")
    charts = [chart for part in (raced, *parts) for chart in part.charts]
    for chart in charts:
        _write_figure(figures, chart)
    for pattern in ("importance-*", "confirmed-*"):  # of a budget that has none any more
        for stale in figures.glob(pattern):
            if stale.stem not in {chart.key for chart in charts}:
                stale.unlink()
    place = quote(figures.relative_to(page.parent).as_posix())
    write_text(page, _page(told, summary, other, raced, parts, place))
    return page


def _write_figure(folder: Path, chart: Chart) -> None:
    from autokd.report.draw_png import png

    with whole(folder / f"{chart.key}.png") as file:
        file.write(png(chart))
    write_text(folder / f"{chart.key}.csv", csv_text(chart.columns, chart.rows))


@dataclass(frozen=True)
class _Part:
    """One place on the page: figures that share it behind tabs, and what stands below them."""

    key: str
    title: str
    charts: tuple[Chart, ...]
    none: str
    below: str = ""


def _parts(told: Told, other: Told | None, select: str) -> list[_Part]:
    cost = _Part("cost", "Where the training time went", tuple(run_charts.cost(told)),
                 "No training has told of a teacher's answers.", _decisions(told))  # fmt: skip
    if select == "last":  # all others show scores
        return [cost]
    waiting = "No trial has been trained to its end yet." if told.courses else "No trial has begun yet."
    mattered, silent = run_charts.weights(told)
    return [
        _Part("front", "Front", tuple(run_charts.fronts(told, other)), waiting),
        _Part("progress", "Progress of the search", tuple(run_charts.progress(told)), waiting),
        _Part("curves", "Learning curves", tuple(run_charts.curves(told)), "No trial has reported yet."),
        _Part("rungs", "What a rung says of the end", tuple(run_charts.rungs(told)),
              "No trial that reached a rung has been trained to its end yet.", _agreement_table(told)),
        _Part("settings", "Accuracy against a setting", tuple(run_charts.knobs(told)), "No trial has reported yet."),
        _Part("importance", "Which knobs mattered", tuple(mattered), "", _silent(silent)),
        _Part("pairs", "Teacher and student", tuple(run_charts.matrix(told)), waiting),
        cost,
    ]  # fmt: skip


def _page(
    told: Told,
    summary: Summary,
    other: Told | None,
    raced: _Part,
    parts: Sequence[_Part],
    place: str,
) -> str:
    title = told.run if other is None else f"{told.run} against {other.run}"
    tables = [_chosen(summary, told.images), *(_plain("empty", one) for one in empty(summary))]
    confirmed = confirmation(summary)
    told_of = [_plain("confirmed" + f"-{number}" * bool(number), one, "" if number else _CONFIRMED, folded=number > 2)
               for number, one in enumerate(confirmed)]  # fmt: skip
    told_of[2:2] = [f'<div class="figures">{_figures(raced, place)}</div>' for _ in raced.charts[:1]]
    tables += told_of
    if summary.finals:
        tables.append(_tested(summary.finals, told))
        if files_made := tuple(file_rows(summary.finals)):
            tables.append(_plain("files", Section("Files of the finished students", FILES, files_made), _FILES))
    if other is not None:
        tables.append(_compared(told, other))
    rest = [_plain(key, one) for key, one in _rest(summary)]
    first = "Chosen students" if summary.select == "validation" else "Finished trainings"
    links = [("chosen", "Best of the search" if summary.confirmed else first)]
    links += [("confirmed", "Confirmed") for _ in confirmed[:1]] + [("tested", "Tested") for _ in summary.finals[:1]]
    links += [("against", "Comparison") for _ in [other] if other] + [(part.key, part.title) for part in parts]
    links += [(key, one.title.split(":")[0].split(",")[0]) for key, one in _rest(summary) if "-" not in key]
    body = [
        f'<header><h1>{escape(title)}</h1><button id="theme" type="button">Dark page</button></header>',
        f"<p>{escape(_state(summary))}</p>",
        f'<p class="soft">{escape(_how(told, summary))}</p>',
        "<nav>" + "".join(f'<a href="#{key}">{escape(name)}</a>' for key, name in links) + "</nav>",
        *tables,
        '<div class="figures">' + "".join(_figures(part, place) for part in parts) + "</div>",
        *rest,
        f"<footer>{escape(_made(summary))}</footer>",
        data_block("charts", {chart.key: plotly(chart) for part in (raced, *parts) for chart in part.charts}),
        data_block("palettes", {name: {f"@{i}": c for i, c in enumerate(PALETTE[name])} | _GREYS[name] for name in PALETTE}),
    ]
    here = files("autokd.report")
    scripts = (plotly_script(), here.joinpath("run_page.js").read_text(encoding="utf-8"))
    style = here.joinpath("run_page.css").read_text(encoding="utf-8")
    return document(title, "\n".join(body), style=style, scripts=scripts, attributes=' data-theme="light"')


def _state(summary: Summary) -> str:
    first, *rest = headline(summary).removeprefix(f"{summary.run}: ").split("\n")
    return f"{first[:1].upper()}{first[1:]}: {'; '.join(rest)}."


def _how(told: Told, summary: Summary) -> str:
    """How the numbers are to be read."""
    if summary.select == "last":
        return (
            "No image is held out for validation (search.select: last), so that nothing here ranks the trainings: each was "
            "trained to its end. autokd finalize alone opens the test images, and tests the last epoch of each."
        )
    words = "Scores are top-1 accuracy on the validation split"
    if told.images:
        words += f" ({told.images} images: one is {100 / told.images:.2g} points)"
    words += (
        "; brackets are 95 % intervals of such a share (Wilson, wider near 100 %), and do not count that the best of many trials "
        "is chosen partly by luck. The test images are opened by autokd finalize alone."
    )
    if summary.state == "running":
        words += " The search has not ended: this is what was known when the page was made."
    elif summary.state == "cut off":
        words += " Its process ended without closing the ledger: all that had been recorded stands here."
    return words


def _made(summary: Summary) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    again = f"autokd report {in_shell(summary.run)} --format html"
    return f"Made {now} from the ledger of {summary.run}; made anew with: {again}"


def _figures(part: _Part, place: str) -> str:
    """The figures of a part, one at a time behind tabs where there are several."""
    inner = [f"<h2>{escape(part.title)}</h2>"]
    if not part.charts and part.none:
        inner.append(f'<p class="soft">{escape(part.none)}</p>')
    several = len(part.charts) > 1
    if several:
        tabs = "".join(
            f'<button type="button" role="tab" id="tab-{chart.key}" aria-controls="panel-{chart.key}" '
            f'aria-selected="{str(not number).lower()}" tabindex="{-1 if number else 0}">{escape(chart.tab)}</button>'
            for number, chart in enumerate(part.charts)
        )
        inner.append(f'<div role="tablist" aria-label="{escape(part.title)}">{tabs}</div>')
    for number, chart in enumerate(part.charts):
        role = f' role="tabpanel" aria-labelledby="tab-{chart.key}"' if several else ""
        hidden = " hidden" if number else ""
        files_here = " · ".join(f'<a href="{place}/{chart.key}.{end}">{end.upper()}</a>' for end in ("png", "csv"))
        inner.append(
            f'<div id="panel-{chart.key}"{role}{hidden}><p class="soft">{escape(chart.says)}</p>'
            f'<div class="plot" data-chart="{chart.key}" style="min-height:{chart.height}px"></div>'
            f'<p class="files">{files_here}</p></div>'
        )
    return f'<section id="{part.key}">{"".join(inner)}{part.below}</section>'


# --- tables

_CONFIRMED = (
    "The best few of each budget, trained again with fresh seeds by autokd confirm: of those that are behind the best mean by "
    "no more than a standard error the cheapest is chosen (or the best, with --prefer accurate). Controls have its student, "
    "length and seeds. Optimism is what the search said above what fresh seeds say, in points."
)

_FILES = (
    "Of the exported seed, each measured from the disk; ms are of one image in memory, one thread, median and 90th percentile. "
    "Change is that of test top-1 against the trained module, logits by the largest difference of a logit from the module's."
)


def _chosen(summary: Summary, images: int | None) -> str:
    if summary.select == "last":
        return _plain("chosen", sections(summary, short=True)[0])
    limits = {row[0]: row[1] for row in sections(summary, short=True)[0].rows}
    rows = []
    for name in summary.best:
        pick = summary.best[name] or summary.leading.get(name)
        if pick is None:
            rows.append((name, limits[name], "none", *["-"] * 7))
            continue
        ends = share_interval(pick.val_top1, images) if images and math.isfinite(pick.val_top1) and summary.best[name] else None
        score = percent(pick.val_top1) + (f" [{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]" if ends else "")
        score += "" if summary.best[name] else " so far"
        rows.append((name, limits[name], score, pick.student, amount(pick.params), amount(pick.macs), pick.teacher or "-",
                     pick.method, policy_of(pick), f"{pick.trial}: {pick.settings}"))  # fmt: skip
    columns = ("budget", "limits", "val top-1", "student", "params", "MACs", "teacher", "method", "policy", "trial and settings")
    title = "The search's best student of each budget" if summary.confirmed else "The student chosen for each budget"
    return _plain("chosen", Section(title, columns, tuple(rows), "No budgets."))


def _optimism(one: dict[str, Any], told: Told) -> float | None:
    """The search's score minus that of fresh seeds, in points; None where those were trained for another length."""
    trial = told.courses.get(str(one.get("trial")))
    if trial is None or trial.score is None or not one.get("val"):
        return None
    searched, again = trial.points[-1].epochs, one.get("epochs") or 0.0
    return 100 * (trial.score - one["val"]["mean"]) if math.isclose(searched, again, rel_tol=0.02) else None


def _tested(finals: Sequence[dict[str, Any]], told: Told) -> str:
    rows = []
    for one, cells in zip(finals, score_rows(finals), strict=True):
        optimism = _optimism(one, told)
        calibration = one["calibration"] or {}
        rows.append((
            *cells[:6], str(one["test"].get("images")), "-" if optimism is None else f"{optimism:+z.2f}",
            *(_number(calibration.get(word)) for word in ("nll", "brier")), *cells[6:],
            f"{one['epochs'] or 0:g}", str(one["train_on"]),
        ))  # fmt: skip
    columns = (*TESTED[:6], "test images", "optimism", "NLL", "Brier", *TESTED[6:], "epochs", "trained on")
    said = (
        "Trained with several seeds by autokd finalize, and tested; intervals are over test images and seeds, ± std over seeds, "
        "in points. Optimism is what the search saw above the validation accuracy of these seeds, in points, where both were "
        "trained for as long. ECE (15 bins), NLL (nats), Brier score (0 to 2) and the threshold are of the "
        "exported seed: kept is the share of test images whose confidence reaches it, right of these."
    )
    return _plain("tested", Section("Tested", columns, tuple(rows)), said)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _compared(told: Told, other: Told) -> str:
    said = (
        "The difference is the first run's best minus the second's. Its interval takes the two validation splits for different "
        "images (Newcombe); where they are the same ones the truth is narrower."
    )
    return _plain("against", as_section(told, other, differences(told, other)), said)


_REST = {"What they cost": "costs", "Latency": "latency", "Failed": "failed", "Passed over": "passed", "Teachers": "teachers"}


def _rest(summary: Summary) -> list[tuple[str, Section]]:
    """The tables below the figures, each with its key; a latency table for each deployment."""
    found: list[tuple[str, Section]] = []
    for start, key in _REST.items():
        some = [one for one in sections(summary) if one.title.startswith(start)]
        found += [(f"{key}-{number}" if number else key, one) for number, one in enumerate(some)]
    return found


def _plain(key: str, one: Section, said: str = "", *, folded: bool = False) -> str:
    """folded: the rows are shown when asked for."""
    none = f"{one.none[:1].upper()}{one.none[1:].rstrip('.')}."
    inner = table(one.columns, one.rows, stack=True) if one.rows else f'<p class="soft">{escape(none)}</p>'
    if folded and one.rows:
        inner = f"<details><summary>Show {len(one.rows)}</summary>{inner}</details>"
    said = f'<p class="soft">{escape(said)}</p>' if said else ""
    return f'<section id="{key}"><h2>{escape(one.title)}</h2>{said}{inner}</section>'


def _agreement_table(told: Told) -> str:
    rows = [
        (
            f"rung {one.rung} ({one.epochs:.3g} epochs)",
            one.budget or "all trials",
            str(one.pairs),
            "-" if math.isnan(one.rho) else f"{one.rho:+z.2f}",
            "-" if math.isnan(one.low) else f"{one.low:+z.2f} to {one.high:+z.2f}",
            "-" if math.isnan(one.p) else f"{one.p:.2g}",
        )
        for one in run_charts.agreements(told)
    ]
    columns = ("rung", "within", "trials", "rank correlation", "95 % interval", "p")
    said = "<p>Rank correlation (Spearman) of the score at a rung with that at the end:</p>"
    return said + table(columns, rows) if rows else ""


def _silent(told: Sequence[tuple[str, str]]) -> str:
    return "".join(f'<p class="soft">{escape(name)}: {escape(text)}</p>' for name, text in told)


def _decisions(told: Told) -> str:
    if not told.decisions:
        return ""
    rows = [(trial, text) for trial, text in told.decisions[:20]]
    return "<p>Chosen by measurement while training:</p>" + table(("first told by", "decision"), rows)
