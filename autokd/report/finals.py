"""What `autokd finalize` measured of a run's students, read back from RUN/final/*/metrics.json for the report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autokd.report.columns import STUDENT, Column, folded
from autokd.report.words import percent

__all__ = ["FILES", "MEASURED", "TESTED", "file_rows", "read_finals", "span", "score_rows"]

_TOLD = (
    *("budget", "student", "teacher", "method", "policy", "trial", "params", "macs", "epochs", "train_on", "val", "test"),
    *("seeds", "exported_seed", "calibration", "threshold", "teacher_agreement", "exports", "test_looks"),
)
TESTED = (
    *("budget", STUDENT, "test top-1", Column("± std", 1), "95 % interval", Column("seeds", 2)),
    *(Column("ECE", 3), Column("kept", 5), Column("right", 5), Column("looks", 4)),
)
MEASURED = "Files of the exported seed, each measured from the disk; ms of one image, one thread"
FILES = (folded("budget"), folded("file"), "size", "test top-1", "change", Column("logits by", 2), Column("ms (p90)", 1))


def read_finals(folder: str | os.PathLike[str], budgets: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """One mapping a finished student, in the order of the budgets; a file that cannot be read is passed over."""
    found = []
    for path in sorted((Path(folder) / "final").glob("*/metrics.json")):
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(metrics, dict) and isinstance(metrics.get("test"), dict):
            found.append({key: metrics.get(key) for key in _TOLD})
    order = {name: place for place, name in enumerate(budgets)}
    return tuple(sorted(found, key=lambda one: order.get(str(one["budget"]), len(order))))


def score_rows(finals: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The cells of `TESTED`."""
    return [
        (str(one["budget"]), str(one["student"]), percent(one["test"].get("mean")), f"{100 * (one['test'].get('std') or 0):.2f}",
         span(one["test"]), str(len(one["seeds"] or ())), percent((one["calibration"] or {}).get("ece")), *_kept(one),
         "-" if one["test_looks"] is None else str(one["test_looks"]))
        for one in finals
    ]  # fmt: skip


def file_rows(finals: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The cells of `FILES`. Budgets that share a student share its rows."""
    alone: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for one in finals:
        alone.setdefault(str(one["trial"]), ([], one))[0].append(str(one["budget"]))
    return [
        (", ".join(names), *_file(form, file))
        for names, one in alone.values()
        for form, file in (one["exports"] or {}).items()
    ]  # fmt: skip


def _file(form: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    if "file" not in one:
        return (form, "not written", "", "", "", "")
    took = one.get("latency") or {}
    told = f"{took['median_ms']:.3g} ({took['p90_ms']:.3g})" if took else "-"
    change = f"{-100 * one['test_top1_lost']:+z.2f}"
    return (one["file"], f"{one['bytes'] / 1e3:,.0f} kB", percent(one["test_top1"]), change,
            f"{one['largest_difference']:.1e}", told)  # fmt: skip


def span(test: Mapping[str, Any]) -> str:
    low, high = test.get("low"), test.get("high")
    return "-" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


def _kept(one: Mapping[str, Any]) -> tuple[str, str]:
    """The share of test images whose confidence reaches the threshold, and the share of these that is right."""
    test = (one["threshold"] or {}).get("test") or {}
    return percent(test.get("coverage")), percent(test.get("accuracy"))
