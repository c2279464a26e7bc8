"""What MLflow's own page shows of a search without a click: saved views of its runs, as tags of the experiment.

A view is the state of the page as the page itself saves it: which runs, in which order and groups, which columns, which
charts. It stands in the menu "Views" by the name of the run, and opens from an address.
Source: read from the page of MLflow 3.17 (its menus "Group by", "Columns" and "Views"); a page that knows no saved views
shows its usual table.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from autokd.track.markdown import in_markdown

__all__ = [
    "LATEST_TAG", "NOTE_TAG", "Knobs", "address", "latest", "note", "parameter", "saved_view", "saved_views", "search_note",
]  # fmt: skip

LATEST_TAG = "autokd.latest"  # of an experiment: "<when its newest search began, ms> <the search>"
NOTE_TAG = "mlflow.note.content"  # an experiment's description
_LONGEST = 5000  # characters of an experiment's tag
_LISTED = 10  # searches in the description
_FIRST = "The newest search of autokd here"  # by which a description of ours is known
_SAVED = "mlflow.sharedViewState."  # and the view's name: the tags that the page reads its views from
_LEAD = ("method.name", "ratio", "policy.name", "teacher.name", "student.name")  # axes and columns that come first
_AXES = 10  # of one chart; more cannot be read
_SOME = 4  # charts of knobs that only some trials have
_WIDTHS = {"attributes.`Run Name`": 200, "metrics.`val_top1`": 190, "tags.`autokd.status`": 110}
_HIGH = 400  # pixels of a chart
_METRICS = ("val_top1", "epochs", "macs", "params", "seconds", "signal_hits", "signal_misses")


class Knobs:
    """The parameters that a search varies, by MLflow's names for them, gathered trial by trial."""

    def __init__(self) -> None:
        self._drawn: dict[str, None] = {}  # the knobs' parameters, in the order in which they were met
        self._values: dict[str, set[str]] = {}  # of each parameter, two at most
        self._trials: dict[str, tuple[int, int]] = {}  # that have it: how many, and their hashes as one
        self._seen: set[str] = set()
        self._all = (0, 0)

    def see(self, trial: str, values: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
        """Add a trial. values: what was drawn, as the space names it. Returns whether the charts are others now."""
        if trial in self._seen:
            return False
        before = self.charts()
        self._seen.add(trial)
        self._all = _with(self._all, trial)
        for name in ["student", *values]:
            if (found := parameter(name, params)) is not None:
                self._drawn.setdefault(found)
        for name, value in params.items():
            known = self._values.setdefault(name, set())
            if len(known) < 2:
                known.add(str(value))
            self._trials[name] = _with(self._trials.get(name, (0, 0)), trial)
        return self.charts() != before

    def charts(self) -> list[list[str]]:
        """The axes of each chart: what all trials have, then what the same part of them has (a chart drops other trials).

        Of what was drawn: the parameters that have two values or more, or that only some trials have.
        """
        groups: dict[tuple[int, int], list[str]] = {}
        for name in sorted(self._drawn, key=lambda name: _LEAD.index(name) if name in _LEAD else len(_LEAD)):
            if len(self._values[name]) > 1 or self._trials[name] != self._all:
                groups.setdefault(self._trials[name], []).append(name)
        everyone = groups.pop(self._all, [])
        some = sorted(groups.items(), key=lambda one: -one[0][0])
        return [everyone[:_AXES], *(names[:_AXES] for (count, _), names in some if count > 1)][: 1 + _SOME]


def _with(trials: tuple[int, int], trial: str) -> tuple[int, int]:
    return trials[0] + 1, trials[1] ^ hash(trial)


def parameter(knob: str, params: Mapping[str, Any]) -> str | None:
    """MLflow's name of what the space calls `knob`: "method.kd.temperature" -> "method.settings.temperature"."""
    first, _, rest = knob.partition(".")
    settings = f"{first}.settings.{rest.partition('.')[2]}"
    return next((name for name in (knob, f"{knob}.name", settings) if name in params), None)


def saved_view(
    run: str, charts: Sequence[Sequence[str]], *, columns: Sequence[str] = (), began: int = 0, parent: str = ""
) -> tuple[str, str] | None:
    """The experiment's tag (its name and value) that saves the view of one search; None where MLflow takes none so long.

    charts: the axes of each chart of parallel coordinates (Knobs.charts). columns: of the table, beside the usual ones, by
    MLflow's names ("params.`ratio`"). began: ms since 1970. parent: MLflow's id of the search's own run, for the note.
    """
    for kept in range(len(charts), -1, -1):
        text = json.dumps(_state(run, charts[:kept], columns), separators=(",", ":"))
        packed = "deflate;" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        value = json.dumps({"name": run, "createdAt": began, "updatedAt": began, "state": packed, "parent": parent})
        if len(value) <= _LONGEST:
            return _SAVED + run, value
    return None


def saved_views(tags: Mapping[str, str]) -> dict[str, str]:
    """MLflow's id of each search that has a view among an experiment's tags, by its name, the newest first.

    Confirmations, which are parts of searches, come last.
    """
    found = []
    for name, value in tags.items():
        if name.startswith(_SAVED):
            try:
                view = json.loads(value)
                found.append((view["createdAt"], view["name"], view["parent"]))
            except (ValueError, KeyError, TypeError):  # a person's own, or of another version of the page
                continue
    whole = [one for one in found if "/" not in one[1]]  # the others are parts of them: a confirmation is run/confirm
    return {name: parent for some in (whole, found) for _, name, parent in sorted(some, reverse=True)}


def latest(experiments: Sequence[Mapping[str, Any]], run: str | None = None) -> tuple[str, str] | None:
    """The id of the experiment and the name of the newest search (or of `run`), from what MLflow's API tells of experiments."""
    found = []
    for one in experiments:
        tags = {tag["key"]: tag["value"] for tag in one.get("tags", [])}
        if run is None:
            began, _, name = tags.get(LATEST_TAG, "").partition(" ")
            found += [(int(began), one["experiment_id"], name)] if began.isdigit() and _SAVED + name in tags else []
        elif _SAVED + run in tags:
            found.append((0, one["experiment_id"], run))
    return max(found)[1:] if found else None


def address(experiment: str, run: str, *, charts: bool = False) -> str:
    """Where the view lies below the server's own address."""
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={quote(run, safe='')}{mode}"


def note(experiment: str, searches: Mapping[str, str], written: str | None = None) -> str | None:
    """The experiment's description, in Markdown: where each search is looked at. searches: as `saved_views` gives them.

    written: what stands there; None is returned where that is a person's own, or says all of this.
    """
    told = [f"**{run}**: {_places(experiment, run, parent)}" for run, parent in list(searches.items())[:_LISTED]]
    if not told or written == (text := "\n".join([f"{_FIRST} is {told[0]}\n", *(f"- {one}" for one in told[1:])])):
        return None
    return text if not written or written.startswith(_FIRST) else None


def search_note(
    experiment: str,
    run: str,
    parent: str,
    *,
    what: str = "search",
    front: Sequence[Mapping[str, str]] = (),
    trials: Mapping[str, str] | None = None,
) -> str:
    """The description of a search's own run. front: the lines of front.csv. trials: MLflow's ids by trial, to link them."""
    lines = [f"A {what} of autokd: {_places(experiment, run, parent)}"]
    best = sorted((name, row) for row in front for name in row["best_of"].split())
    if best:
        names = ("student", "teacher", "method", "policy", "ratio")
        lines += ["", f"| best of | trial | val top-1 | {' | '.join(names)} |", "|" + "---|" * (3 + len(names))]
    for name, row in best:
        known = (trials or {}).get(row["trial"])
        trial = f"[{row['trial']}](#/experiments/{experiment}/runs/{known})" if known else row["trial"]
        told = " | ".join(in_markdown(row[key]) for key in names)
        lines.append(f"| {in_markdown(name)} | {trial} | {float(row['val_top1']):.2%} | {told} |")
    return "\n".join(lines)


def _places(experiment: str, run: str, parent: str) -> str:
    """Links to what is seen of a search, in Markdown."""
    places = {"trials by budget": address(experiment, run)[1:], "knobs": address(experiment, run, charts=True)[1:]}
    files = "files" if "/" in run else "report, front and table"
    places |= {files: f"#/experiments/{experiment}/runs/{parent}/artifacts"} if parent else {}
    return " · ".join(f"[{name}]({place})" for name, place in places.items())


def _state(run: str, charts: Sequence[Sequence[str]], columns: Sequence[str]) -> dict[str, Any]:
    """The page's state: a table grouped by budget, the best first, and charts that are not grouped."""
    knobs = [f"params.`{name}`" for name in dict.fromkeys(name for axes in charts for name in axes)]
    shown = ["metrics.`val_top1`", "tags.`autokd.status`", *columns, *knobs,
             *(f"metrics.`{name}`" for name in _METRICS[1:])]  # fmt: skip
    shown = list(dict.fromkeys(shown))
    cards, sections = _cards(charts)
    return {
        "searchFilter": f"tags.`autokd.run` = '{run}'",
        "orderByKey": "metrics.`val_top1`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": shown,
        "columnOrder": ["attributes.`Run Name`", *shown],
        "columnWidths": _WIDTHS,
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": {"aggregateFunction": "max", "groupByKeys": [{"mode": "tag", "groupByData": "budget"}]},
        "useGroupedValuesInCharts": False,  # the page draws no words of groups
        "compareRunCharts": cards,
        "compareRunSections": sections,
        "isAccordionReordered": True,  # keeps the order
    }


def _cards(charts: Sequence[Sequence[str]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Charts and the sections they stand in: knobs of every trial, knobs of some, learning curves; then the page's own."""
    cards: list[dict[str, Any]] = []
    sections: list[dict[str, Any]] = []

    def section(name: str, *made: dict[str, Any], shown: bool = True) -> None:
        place = f"autokd-{len(sections)}"
        sections.append({"uuid": place, "name": name, "display": shown, "isReordered": True, "deleted": False,
                         "isGenerated": not made, **({"columns": len(made), "cardHeight": _HIGH} if made else {})})  # fmt: skip
        cards.extend({"uuid": f"{place}-{number}", "metricSectionId": place, "deleted": False, "isGenerated": False,
                      "runsCountToCompare": 1000, **one} for number, one in enumerate(made))  # fmt: skip

    for number, axes in enumerate(charts):
        if axes:
            only = f"Knobs that some trials have: {', '.join(name.rpartition('.')[2] for name in axes)}"
            parallel = {"type": "PARALLEL", "selectedParams": list(axes), "selectedMetrics": ["val_top1"], "showAllRuns": True}
            section(only if number else "Knobs of every trial, and how they end", parallel)
    section("Learning curves, by images processed", *(_curve(name) for name in ("val_top1", "train_loss")))
    section("Model metrics", shown=False)  # what the page draws of itself: a chart a metric
    section("System metrics", shown=False)
    return cards, sections


def _curve(metric: str) -> dict[str, Any]:
    return {"type": "LINE", "metricKey": metric, "selectedMetricKeys": [metric], "xAxisKey": "step", "scaleType": "linear",
            "xAxisScaleType": "linear", "lineSmoothness": 0, "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True,
            "yAxisKey": "metric", "yAxisExpressions": [], "range": {}, "ignoreOutliers": False}  # fmt: skip
