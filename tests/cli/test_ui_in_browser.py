"""What `autokd ui` opens, in a real browser, over MLflow's real server and a real search: good to look at without a click."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import autokd

pytestmark = pytest.mark.slow

SPACE: dict[str, Any] = {
    "name": "brief",
    "data": {"name": "digits"},
    "teachers": {"big": {"model": "resnet8x0.5", "train": {"epochs": 1}}},
    "students": ["resnet8x0.5", "resnet14x0.5"],
    "space": {
        "policy": "none",
        "method": {"choose": {"ce": {}, "kd": {"temperature": {"log": [1, 20]}}}},
        "recipe": {"lr": {"log": [0.01, 0.1]}},
    },
    "budgets": [{"name": "tiny", "params": 25_000}, {"name": "any"}],
    "search": {"trials": 6, "epochs": 0.2, "scheduler": "none"},
}
# the page opens its assistant beside the first thing a browser is ever shown, and never again
CLOSED = "if (window === window.top) localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> autokd.Run:
    from autokd.report.run_page import write_report

    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOKD_CACHE", str(tmp_path_factory.mktemp("cache")))
        return autokd.search(SPACE, runs=runs, engine="inline", at_end=write_report)


@pytest.fixture(scope="module")
def addresses(run, repository) -> Iterator[dict[str, str]]:
    """The pages that `autokd ui` tells of, by what it calls them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "autokd.cli.main", "ui", "--runs", str(run.folder.parent), "--port", port, "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        told: dict[str, str] = {}
        while "knobs" not in told and (line := server.stdout.readline()):
            assert not line.startswith("slow"), line
            told |= dict([line.strip().partition(": ")[::2]])
        yield told
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


@pytest.fixture
def page(browser) -> Iterator[Any]:
    """Wide enough for every column: the table draws those alone that are seen. Anything that fails, fails the test."""
    opened = browser.new_page(viewport={"width": 2600, "height": 1200})
    opened.set_default_timeout(60_000)
    opened.add_init_script(CLOSED)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("response", lambda answer: faults.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    yield opened
    opened.close()
    assert [one for one in faults if not one.endswith("/users/current")] == []  # MLflow without accounts knows no user


def test_the_trials_stand_under_their_budgets_the_best_first_with_their_knobs(run, addresses, page):
    page.goto(addresses["ready"])
    page.get_by_text("Group: the search").wait_for()
    rows = run.trials.to_pylist()
    for budget in ("tiny", "any"):
        assert page.get_by_text(f"Group: {budget}", exact=True).count() == 1
    assert page.get_by_text("7 matching runs").count() == 1  # six trials and the search
    heads = page.locator("[role=columnheader] [data-testid^='sort-header'], [role=columnheader]")
    place = {text.strip(): heads.nth(i).bounding_box()["x"] for i, text in enumerate(heads.all_inner_texts()) if text.strip()}
    wanted = ["Run Name", "val_top1", "autokd.status", "method.name", "student.name", "recipe.lr", "epochs", "signal_hits"]
    assert sorted(wanted, key=lambda name: place[name]) == wanted
    names = page.get_by_text("t0000", exact=False).all_inner_texts()
    ranked = {
        budget: sorted((row for row in rows if row["budget"] == budget), key=lambda row: -row["val_top1"])
        for budget in ("tiny", "any")
    }
    for some in ranked.values():
        listed = [name for name in names if name in {row["trial"] for row in some}]
        scores = {row["trial"]: row["val_top1"] for row in some}
        assert len(listed) == 3 and [scores[name] for name in listed] == [row["val_top1"] for row in some]
    assert page.get_by_text("done", exact=True).count() == 6 and page.get_by_text("running", exact=False).count() == 0


def test_the_charts_are_parallel_coordinates_of_the_knobs(addresses, page):
    page.goto(addresses["knobs"])
    page.get_by_text("Knobs of every trial, and how they end").wait_for()
    chart = page.locator("div.parcoords").first
    chart.wait_for()
    axes = chart.locator("text.label").all_text_contents()
    assert axes == ["method.name", "student.name", "recipe.lr", "val_top1"]
    assert chart.locator("canvas.foreground").evaluate(
        "one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some(value => value > 0)"
    )
    assert page.get_by_text("Knobs that some trials have: temperature").count() == 1
    assert page.get_by_text("Learning curves, by images processed").count() == 1


def test_the_search_itself_is_reached_by_clicks_and_holds_the_report(run, addresses, page):
    page.goto(addresses["ready"])
    page.get_by_role("link", name=run.folder.name, exact=True).last.click()
    page.get_by_text("A search of autokd:").wait_for()
    best = page.locator("table", has_text="best of").inner_text()
    assert run.best("any")["trial"] in best and run.best("tiny")["trial"] in best
    page.get_by_role("tab", name="Artifacts").click()
    for name in ("report", "report.html", "front.csv", "space.yaml", "trials.parquet", "environment.json"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.get_by_text("report.html", exact=True).first.click()
    inside = page.frame_locator("iframe").first
    inside.get_by_text("The student chosen for each budget").wait_for()
    inside.locator("#panel-front-macs svg.main-svg").first.wait_for()  # its script runs there, too


def test_the_menu_of_views_and_the_description_lead_to_the_same_places(run, addresses, page):
    page.goto(addresses["ready"].split("#")[0] + "#/experiments/1/runs?workflowType=machine_learning")
    for link, seen in (("trials by budget", "[title=tiny]"), ("knobs", "div.parcoords")):
        with page.expect_popup() as opened:
            page.get_by_role("link", name=link).first.click()
        opened.value.locator(seen).first.wait_for()
    page.get_by_test_id("saved-views-trigger").click()
    page.get_by_text(run.folder.name, exact=True).last.click()
    page.get_by_text("Group: tiny", exact=True).wait_for()
