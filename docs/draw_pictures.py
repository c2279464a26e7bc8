"""Draw the live table of a search as it stood after a number of seconds: `python docs/draw_pictures.py RUN [SECONDS]`.

The events are those of the run's ledger, the table is the one that `autokd search` shows on a terminal of 100 columns.
Writes docs/images/search.svg.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from autokd.cli.live import Board
from autokd.track.ledger import FILE, read_events

OUT = Path(__file__).parent / "images" / "search.svg"


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def main() -> None:
    run = Path(sys.argv[1])
    clock = _Clock()
    board = Board(clock)
    until = float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")
    for event in read_events(run / FILE):
        if event.get("elapsed", 0.0) > until:
            break
        clock.now = event.get("elapsed", clock.now)
        board.take(event)
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(board.render(100))
    OUT.parent.mkdir(exist_ok=True)
    drawn = console.export_svg(title="autokd search search_spaces/digits.yaml")
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # a picture that fetches nothing
    OUT.write_text(drawn.replace("Fira Code", "DejaVu Sans Mono"), encoding="utf-8")


if __name__ == "__main__":
    main()
