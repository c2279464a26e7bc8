"""Recorded learning curves: of a run's finished trials, or from a small Parquet table that was made of one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError

__all__ = ["Curve", "curves_of_run", "read_curves", "write_curves"]


@dataclass(frozen=True)
class Curve:
    """A trial that was trained to its end. points: (views processed, validation score), ascending, the last at full length."""

    trial: str
    budgets: tuple[str, ...]  # that admit its student
    macs: float
    points: tuple[tuple[float, float], ...]

    @property
    def length(self) -> float:
        return self.points[-1][0]

    @property
    def final(self) -> float:
        return self.points[-1][1]

    def score(self, share: float) -> float:
        """The score at a share of the full length, by a straight line between the two recorded points around it."""
        at = share * self.length
        before = (0.0, 0.0)
        for images, score in self.points:
            if images >= at:
                weight = (at - before[0]) / (images - before[0])
                return before[1] + weight * (score - before[1]) if before[0] else score
            before = (images, score)
        return self.final


def curves_of_run(events: Iterable[dict[str, Any]], macs: dict[str, float]) -> list[Curve]:
    """The curves of a ledger's finished trials. macs: of each trial's student."""
    budgets: dict[str, tuple[str, ...]] = {}
    points: dict[str, dict[float, float]] = {}
    done: set[str] = set()
    for event in events:
        if event["event"] == "trial":
            budgets[event["trial"]] = tuple(event.get("budgets") or (event["budget"],))
        elif event["event"] == "report" and event["val_top1"] is not None:
            points.setdefault(event["trial"], {})[event["images"]] = event["val_top1"]
        elif event["event"] == "end" and event["status"] == "done":
            done.add(event["trial"])
    return [
        Curve(trial, budgets[trial], float(macs.get(trial, 0.0)), tuple(sorted(points[trial].items())))
        for trial in budgets
        if trial in done and points.get(trial)
    ]


def write_curves(curves: Iterable[Curve], path: Path) -> None:
    """One row a point: trial, budgets (joined by spaces), macs, images, val_top1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from autokd.files import whole

    rows = [
        {"trial": c.trial, "budgets": " ".join(c.budgets), "macs": c.macs, "images": images, "val_top1": score}
        for c in curves
        for images, score in c.points
    ]
    with whole(path) as file:
        pq.write_table(pa.Table.from_pylist(rows), file)


def read_curves(path: str | os.PathLike[str]) -> list[Curve]:
    """What `write_curves` wrote. Raises AutokdError where the file is not such a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            found.setdefault(row["trial"], []).append(row)
        return [
            Curve(
                trial,
                tuple(some[0]["budgets"].split()),
                float(some[0]["macs"]),
                tuple(sorted((float(row["images"]), float(row["val_top1"])) for row in some)),
            )
            for trial, some in found.items()
        ]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as fault:
        raise AutokdError(
            f"no table of learning curves ({str(fault).splitlines()[0] if str(fault) else type(fault).__name__})",
            where=str(path),
            fix="autokd simulate RUN --keep FILE writes one",
        ) from fault
