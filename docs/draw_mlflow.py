"""Photograph what `autokd ui RUN` opens: `python docs/draw_mlflow.py RUN` (needs playwright and a chromium).

Writes docs/images/mlflow-runs.png (the trials by budget) and docs/images/mlflow-parallel.png (the charts of the knobs).
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import OUT, chromium, keep

# the page opens its assistant beside the first thing a browser is ever shown, and never again
CLOSED = "if (window === window.top) localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def main() -> None:
    with served(Path(sys.argv[1])) as (runs, charts), chromium() as browser:
        sight = browser.new_page(viewport={"width": 1600, "height": 1000})
        sight.add_init_script(CLOSED)
        _photograph(sight, runs, "text=/^Group: the/", "mlflow-runs.png")
        _photograph(sight, charts, "div.parcoords canvas", "mlflow-parallel.png")


@contextmanager
def served(run: Path) -> Iterator[tuple[str, str]]:
    """`autokd ui` over a run: the addresses of its trials and of its charts, as the command prints them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "autokd.cli.main", "ui", str(run), "--port", port, "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        told: dict[str, str] = {}
        while "knobs" not in told and (line := server.stdout.readline()):
            told |= dict([line.strip().partition(": ")[::2]])
            if line.startswith("slow"):
                break
        yield told["ready"], told["knobs"]
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def _photograph(sight: Any, address: str, when: str, name: str) -> None:
    sight.goto("about:blank")  # a page that is changed by its fragment alone does not load again
    sight.goto(address)
    sight.wait_for_selector(when, timeout=60_000)
    sight.wait_for_timeout(2000)  # charts are drawn one after the other
    keep(sight.screenshot(), OUT / name, colours=256)


if __name__ == "__main__":
    main()
