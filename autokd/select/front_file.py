"""front.csv: the trials worth having, one a line, for a spreadsheet and for MLflow."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from autokd.files import write_text
from autokd.select.best import admitted_of, best, front, limited, limits_of_run
from autokd.track.ledger import FILE, all_events
from autokd.track.recorder import rows_of

__all__ = ["write_front"]

_COLUMNS = ("trial", "val_top1", "val_loss", "student", "teacher", "method", "policy", "ratio", "seed", "epochs", "images",
            "params", "macs", "file_size", "memory", "latency_ms", "config")  # fmt: skip


def write_front(folder: str | os.PathLike[str]) -> Path:
    """Write RUN/front.csv: the trials that none equals at no more of each limited cost, the cheapest first.

    `best_of` names the budgets whose best trial it is (as searched, not as confirmed), separated by spaces.
    """
    events = all_events(Path(folder) / FILE)
    rows = rows_of(folder, events)
    budgets = limits_of_run(folder, events)
    firsts = {name: some[0]["trial"] for name, some in best(rows, budgets, admitted_of(events)).items() if some}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["best_of", *_COLUMNS])
    for row in front(rows, limited(budgets)):
        names = " ".join(name for name, trial in firsts.items() if trial == row["trial"])
        writer.writerow([names, *(row[name] for name in _COLUMNS)])
    path = Path(folder) / "front.csv"
    write_text(path, text.getvalue())
    return path
