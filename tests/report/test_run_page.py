from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from autokd.report.html import data_block
from autokd.report.run_page import write_report
from autokd.search.run import Run

SECTIONS = {"chosen", "front", "progress", "curves", "rungs", "settings", "importance", "pairs", "cost", "failed", "passed"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._within = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within != "style":
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.elements}

    def charts(self) -> dict:
        places = [number for number, one in enumerate(self.of("script")) if one.get("id") == "charts"]
        return json.loads(self.scripts[places[0]])


@pytest.fixture(scope="module")
def told(report_runs, tmp_path_factory) -> tuple[Path, Page]:
    """A run of a name that would be HTML, and its page."""
    run = report_runs.write(tmp_path_factory.mktemp("told") / "<img src=x onerror=alert(3)>", 40)
    return run, Page(write_report(run))


def test_every_figure_has_a_place_a_sentence_and_its_files(told):
    run, page = told
    assert page.ids() >= SECTIONS
    drawn = {one["data-chart"] for one in page.of("div") if one.get("class") == "plot"}
    assert drawn == set(page.charts()) and {"front-macs", "front-params", "curves", "pairs", "rungs", "cost"} < drawn
    links = {one["href"] for one in page.of("a")} - {f"#{key}" for key in page.ids()}
    assert links == {f"report/{key}.{end}" for key in drawn for end in ("png", "csv")}
    for key in drawn:
        with Image.open(run / "report" / f"{key}.png") as image:
            assert image.width == 1040 and image.convert("L").getextrema()[0] < 128  # something dark is on it
        rows = list(csv.reader(io.StringIO((run / "report" / f"{key}.csv").read_text(encoding="utf-8"))))
        assert len(rows) > 1 and len({len(row) for row in rows}) == 1
    assert len(re.findall(r"Validation accuracy against the", page.text)) == 4  # curves, ratio, temperature, policy


def test_names_are_told_and_run_nothing(told, report_runs):
    place, page = told
    assert report_runs.NASTY in page.text and place.name in page.text
    assert len(page.scripts) == 4 and page.of("img") == []  # two of data, plotly and our own
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    layout = json.dumps(page.charts())
    assert "<script" not in layout and "<img" not in layout and "&lt;script&gt;" in layout  # plotly reads HTML in texts


def test_the_browser_is_told_to_fetch_nothing_and_to_run_these_scripts_alone(told):
    _, page = told
    (policy,) = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("style-src")[0]
    run = [text for one, text in zip(page.of("script"), page.scripts) if one.get("type") != "application/json"]
    for text in run:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    for tag in ("script", "link", "img", "iframe"):
        assert not any("src" in one or "href" in one for one in page.of(tag))


def test_data_cannot_end_the_element_it_stands_in():
    value = {"name": "</script><script>alert(1)</script>", "sum": "a & b \u2028"}
    block = data_block("x", value)
    inner = block.removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert "<" not in inner and json.loads(inner) == value


@pytest.mark.parametrize(("trials", "failed"), [(0, False), (5, True), pytest.param(1, False, marks=pytest.mark.slow)])
def test_it_is_made_with_no_trial_one_trial_and_none_but_failed_ones(report_runs, tmp_path, trials, failed):
    run = report_runs.write(tmp_path / "run", trials, failed=failed, closed=False)
    page = Page(write_report(run))
    assert page.ids() >= SECTIONS and "Its process ended without closing the ledger" in page.text
    if failed:
        assert page.text.count(f"it broke {report_runs.NASTY}") == 5 + 2  # each trial, and each budget that stays empty
        assert "No trial has been trained to its end yet." in page.text
        assert "failed here" in json.dumps(page.charts()["curves"])
    elif trials:
        assert page.charts()["front-macs"]["data"]
    else:
        assert page.charts() == {} and "No trial has begun yet." in page.text


def test_a_run_that_has_only_begun_is_told_so(report_runs, tmp_path):
    recorder = report_runs.begin(tmp_path / "run")
    page = Page(write_report(tmp_path / "run"))  # while the search holds it
    recorder.close()
    assert page.charts() == {} and "tiny" in page.text


def test_what_was_tested_stands_with_its_interval_and_the_optimism_of_the_search(made_run):
    final = made_run / "final" / "tiny"
    final.mkdir(parents=True)
    facts = {"budget": "tiny", "student": "resnet8x0.5", "trial": "t00000", "val": {"mean": 0.68, "std": 0.01}, "epochs": 2}
    test = {"images": 359, "mean": 0.665, "std": 0.0125, "low": 0.61, "high": 0.72}
    metrics = {**facts, "test": test, "seeds": [{}, {}], "test_looks": 1, "train_on": "train"}
    (final / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (made_run / "final" / "small").mkdir()
    (made_run / "final" / "small" / "metrics.json").write_text("{", encoding="utf-8")  # being written
    text = Page(write_report(made_run)).text
    # mean, std in points, interval, seeds, images, optimism; what an earlier autokd did not measure; looks
    assert "66.50 %1.2561.00 to 72.002359+2.00-----1" in text
    (final / "metrics.json").write_text(json.dumps({**metrics, "epochs": 40}), encoding="utf-8")
    assert "2359-" in Page(write_report(made_run)).text  # twenty times as long: no word on the search's optimism


def test_another_run_lies_over_the_front_on_a_page_of_its_own(report_runs, tmp_path):
    one, two = report_runs.write(tmp_path / "one", 8), report_runs.write(tmp_path / "two", 8, lift=-0.1)
    made = Run(one).report(compare=two)
    assert made == one / "compare-two.html" and not (one / "report.html").exists()
    page = Page(made)
    names = [trace["name"] for trace in page.charts()["front-macs"]["data"]]
    assert names == ["finished trial", "front of one", "best of a budget", "finished trial of two", "front of two"]
    assert "against" in page.ids() and page.text.count("+10.00") == 2  # both budgets
    assert (one / "report" / "compare-two" / "front-macs.png").exists()
    assert any(one["href"] == "report/compare-two/front-macs.csv" for one in page.of("a"))


def test_a_confirmation_has_its_figure_beside_its_tables_and_its_race_folded(report_runs, tmp_path):
    run = report_runs.write(tmp_path / "run", 6)
    one = {"student": "resnet8", "seeds": [1, 2], "scores": [0.6, 0.62], "mean": 0.61, "low": 0.55, "high": 0.66, "params": 1}
    first = {**one, "trial": "t00000", "macs": 1, "search": 0.64, "dropped": None, "behind": None, "within": True}
    gain = {"mean": 0.01, "low": -0.01, "high": 0.03, "se": 0.01}
    names = dict.fromkeys(("chosen", "best", "search_best"), "t00000")
    budget = {"candidates": [first], "controls": {"ce": {**one, "same": False, "gain": gain}}, **names, "optimism": 0.03,
              "verdict": "inconclusive", "why": "", "knobs": {"trials": 2, "told": []}}  # fmt: skip
    (run / "confirm.json").write_text(json.dumps({"budgets": {"tiny": budget}}), encoding="utf-8")
    text = write_report(run).read_text(encoding="utf-8")
    places = [text.index(f'<section id="{key}">') for key in ("confirmed", "confirmed-1", "race", "confirmed-2", "confirmed-3")]
    assert places == sorted(places) and text.index("<summary>Show 1<") > places[-1]
    assert 'data-chart="confirmed-0"' in text and "The search's best student" in text.replace("&#x27;", "'")
    assert (run / "report" / "confirmed-0.png").exists() and (run / "report" / "confirmed-0.csv").exists()
    (run / "confirm.json").unlink()
    assert 'id="race"' not in write_report(run).read_text(encoding="utf-8")
    assert not list((run / "report").glob("confirmed-*"))


def test_a_page_without_a_validation_split_lists_what_finished_and_draws_no_scores(make_run, tmp_path):
    page = Page(write_report(make_run(tmp_path / "run", scored=False)))
    assert "nothing here ranks the trainings" in page.text and "any-t00002" in page.text
    assert "validation split" not in page.text and "nan" not in page.text
    assert SECTIONS & page.ids() == {"chosen", "cost", "failed"} and "teachers" in page.ids()
    assert all(key.startswith("cost") for key in page.charts())
    assert {link["href"] for link in page.of("a") if (link["href"] or "").startswith("#")} <= {f"#{one}" for one in page.ids()}
