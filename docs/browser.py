"""What the scripts that photograph pages share: a headless Chromium, and pictures in few colours."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

OUT = Path(__file__).parent / "images"


@contextmanager
def chromium() -> Iterator[Any]:
    """The Chromium or Chrome of this machine (a playwright browser)."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def keep(drawn: bytes, path: Path, colours: int = 128) -> None:
    """So many colours do for lines and letters, in a third of the bytes."""
    Image.open(io.BytesIO(drawn)).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
