"""What `autokd finalize` prints at its end: the students, their files, and what images from elsewhere say of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.cli.console import echo, wrapped
from autokd.cli.tables import print_table
from autokd.files import in_shell
from autokd.report.columns import MACS, PARAMS, STUDENT, Column
from autokd.report.finals import FILES, MEASURED, file_rows, span
from autokd.report.words import amount, percent

if TYPE_CHECKING:
    from autokd.finalize.finish import Final

__all__ = ["print_finals"]


def print_finals(finals: Mapping[str, Final], page: Path | None = None) -> None:
    """page: the report that was written, if one was."""
    metrics = {name: final.metrics for name, final in finals.items()}
    alone: dict[str, dict[str, Any]] = {}  # budgets that share a student share its rows
    for told in metrics.values():
        names = [name for name, other in metrics.items() if other["trial"] == told["trial"]]
        alone.setdefault(", ".join(names), told)
    _students(metrics)
    echo()
    print_table(FILES, file_rows(list(metrics.values())), title=MEASURED)
    _outside(alone)
    echo()
    for final in finals.values():
        echo(f"{final.folder}")
    if page is not None:
        echo(f"{page}")
    echo(f"\nuse it   autokd predict {in_shell(next(iter(finals.values())).folder / 'student.safetensors')} IMAGES…")
    if len(metrics) > 1 and all(told["search_val_top1"] is None for told in metrics.values()):
        text = (
            "No validation ranked these students: whoever takes the one with the best test score has chosen by the test, and its "
            "score says too much."
        )
        echo()
        wrapped(text)
    for several, told in alone.items():
        if told.get("diverged"):
            echo()
            seeds = ", ".join(told["diverged"])
            largest = max(told["diverged"].values())
            wrapped(
                f"{several}: the training diverged (seed {seeds}: logits of {largest:.2g}). Its score is as measured, and its "
                "probabilities tell nothing: train it with a lower learning rate."
            )
    if any(told["test_looks"] > 1 for told in metrics.values()):
        echo()
        wrapped("A student was scored on the test split more than once: choose nothing by these numbers any more.")


def _students(metrics: Mapping[str, dict[str, Any]]) -> None:
    rows = []
    for name, told in metrics.items():
        test = told["test"]
        rows.append((name, told["student"], percent(test["mean"]), f"{100 * test['std']:.2f}", span(test),
                     percent(told["calibration"]["ece"]), str(told["test_looks"]), amount(told["params"]),
                     amount(told["macs"])))  # fmt: skip
    columns = ("budget", STUDENT, "test top-1", Column("± std", 1), "95 % interval", Column("ECE", 3), Column("looks", 4),
               PARAMS, MACS)
    print_table(columns, rows, title="Final students")


def _outside(alone: Mapping[str, dict[str, Any]]) -> None:
    rows = [
        (names, name, percent(there["mean"]), f"{100 * there['low']:.2f} to {100 * there['high']:.2f}", there["images"],
         percent(there["calibration"]["ece"]), f"{100 * (there['mean'] - told['test']['mean']):+z.2f}")
        for names, told in alone.items() for name, there in told.get("external", {}).items()
    ]  # fmt: skip
    if not rows:
        return
    echo()
    columns = ("budget", "set", "top-1", "95 % interval", Column("images", 1), Column("ECE", 3), Column("points from test", 2))
    print_table(columns, rows, title="Images from elsewhere")
    for there in next(iter(alone.values()))["external"].values():
        wrapped(there["ranking"]["text"])
