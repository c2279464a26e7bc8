"""Photograph a run's report in a headless Chromium: `python docs/draw_report.py RUN` (needs playwright and a chromium).

Writes docs/images/report.png (1600 pixels wide, the upper part) and docs/images/report-phone.png (390 pixels wide, dark); of a
study's run docs/images/study.png, the verdicts and the first finding.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from autokd.report.run_page import write_report

OUT = Path(__file__).parent / "images"
SIGHTS = (("report.png", 1600, 1900, "light"), ("report-phone.png", 390, 1200, "dark"))
STUDY = (("study.png", 1100, 1500, "light"),)


def main() -> None:
    study = Path(sys.argv[1], "study", "report.html")
    page = (study if study.exists() else write_report(sys.argv[1])).resolve().as_uri()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, width, height, theme in STUDY if study.exists() else SIGHTS:
            sight = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            sight.goto(page)
            sight.wait_for_selector(".main-svg" if study.exists() else "#panel-front-macs .main-svg")
            if width < 500:
                sight.evaluate("document.getElementById('front').scrollIntoView()")
            _keep(sight.screenshot(), OUT / name)
        browser.close()


def _keep(drawn: bytes, path: Path) -> None:
    """A hundred and twenty-eight colours do for lines and letters, in a third of the bytes."""
    Image.open(io.BytesIO(drawn)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
