"""The report in a real browser: it draws, its tabs and its theme switch work, and nothing is fetched, logged or run besides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autokd.report.run_page import write_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(report_runs, tmp_path_factory) -> Path:
    return write_report(report_runs.write(tmp_path_factory.mktemp("runs") / "<img src=x onerror=alert(3)>", 40))


@pytest.fixture(params=[390, 1600], ids=["phone", "wide"])
def page(request, browser, report) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": request.param, "height": 900}, color_scheme="light")
    opened.said, opened.fetched, opened.asked = [], [], []
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.on("request", lambda request: opened.fetched.append(request.url))
    opened.on("dialog", lambda dialog: (opened.asked.append(dialog.message), dialog.dismiss()))
    opened.goto(report.as_uri())
    yield opened
    assert opened.said == [] and opened.asked == [] and opened.fetched == [report.as_uri()]
    opened.close()


def test_every_figure_is_drawn_where_it_is_shown(page):
    places = page.locator(".plot:visible")
    assert places.count() == 8  # a figure a section; the others wait behind their tabs
    for number in range(places.count()):
        place = places.nth(number)
        assert place.locator("svg.main-svg").count() >= 1
        assert place.locator(".point, .heatmaplayer image, .js-line").count() > 0
        assert 300 < place.bounding_box()["width"] <= page.viewport_size["width"]


def test_the_page_is_no_wider_than_the_window(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_every_tab_shows_its_own_figure_and_hides_the_others(page):
    tabs = page.locator("[role=tab]")
    assert tabs.count() >= 8
    for number in range(tabs.count()):
        tab = tabs.nth(number)
        tab.click()
        panel = page.locator(f"[id='{tab.get_attribute('aria-controls')}']")
        assert panel.is_visible() and panel.locator("svg.main-svg").count() >= 1
        assert tab.get_attribute("aria-selected") == "true"
        beside = tab.locator("xpath=..").locator("[aria-selected=true]")
        assert beside.count() == 1
    first = tabs.nth(0)
    first.focus()
    page.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true" and page.locator("#panel-front-params").is_visible()


def test_the_theme_is_that_of_the_reader_and_can_be_switched(page):
    def back() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def ink(figure: str = "front-macs") -> str:
        return page.locator(f"#panel-{figure} .xtick text").first.evaluate("one => one.style.fill")

    assert (back(), ink()) == ("rgb(255, 255, 255)", "rgb(34, 34, 34)")
    page.click("#theme")
    assert (back(), ink()) == ("rgb(22, 24, 28)", "rgb(230, 230, 230)")
    page.locator("#tab-front-params").click()  # drawn for the first time, in the dark
    assert ink("front-params") == "rgb(230, 230, 230)"
    page.click("#theme")
    assert (back(), ink("front-params")) == ("rgb(255, 255, 255)", "rgb(34, 34, 34)")
    page.locator("#tab-front-macs").click()  # drawn in the dark, and seen in the light
    assert ink() == "rgb(34, 34, 34)"


def test_names_that_would_be_html_are_read_as_they_are(page, report_runs):
    assert report_runs.NASTY in page.locator("#chosen").inner_text()
    legend = page.locator("#panel-accuracy-ratio .legendtext").all_text_contents()
    assert {report_runs.NASTY, "kd"} <= set(legend)
    ticks = page.locator("#panel-pairs .ytick text").all_text_contents()
    assert any(report_runs.NASTY.startswith(tick.rstrip("…")) for tick in ticks)
    assert page.locator("img").count() == 0


def test_links_to_sections_and_files_lead_somewhere(page, report):
    for link in page.locator("a").all():
        target = link.get_attribute("href")
        assert page.locator(target).count() == 1 if target.startswith("#") else (report.parent / target).is_file()
