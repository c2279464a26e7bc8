"""Photograph a run's report in a headless Chromium: `python docs/draw_report.py RUN` (needs playwright and a chromium).

Writes docs/images/report.png (1600 pixels wide, the upper part) and docs/images/report-phone.png (390 pixels wide, dark); of a
study's run docs/images/study.png, the verdicts and the first finding.
"""

from __future__ import annotations

import sys
from pathlib import Path

from browser import OUT, chromium, keep

from autokd.report.run_page import write_report

SIGHTS = (("report.png", 1600, 1900, "light"), ("report-phone.png", 390, 1200, "dark"))
STUDY = (("study.png", 1100, 1500, "light"),)


def main() -> None:
    study = Path(sys.argv[1], "study", "report.html")
    page = (study if study.exists() else write_report(sys.argv[1])).resolve().as_uri()
    with chromium() as browser:
        for name, width, height, theme in STUDY if study.exists() else SIGHTS:
            sight = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            sight.goto(page)
            sight.wait_for_selector(".main-svg" if study.exists() else "#panel-front-macs .main-svg")
            if width < 500:
                sight.evaluate("document.getElementById('front').scrollIntoView()")
            keep(sight.screenshot(), OUT / name)


if __name__ == "__main__":
    main()
