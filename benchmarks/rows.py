"""One row of the table a benchmark ends with, and the words around it."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Row", "machine", "median_seconds", "table"]


@dataclass(frozen=True)
class Row:
    """`measured` and `target` as a person reads them; `reached` is None where nothing was promised."""

    what: str
    measured: str
    target: str = "-"
    reached: bool | None = None

    @classmethod
    def at_least(cls, what: str, measured: float, target: float, note: str = "") -> Row:
        return cls(what, f"{measured:.2f}{note}", f">= {target:g}", measured >= target)

    @classmethod
    def at_most(cls, what: str, measured: float, target: float, note: str = "") -> Row:
        return cls(what, f"{measured:.2f}{note}", f"<= {target:g}", measured <= target)


def table(rows: Iterable[Row]) -> str:
    lines = ["| what | measured | target | yes/no |", "|---|---|---|---|"]
    words = {True: "yes", False: "no", None: "-"}
    lines += [f"| {row.what} | {row.measured} | {row.target} | {words[row.reached]} |" for row in rows]
    return "\n".join(lines)


def machine() -> str:
    import torch

    return (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s), Python "
        f"{platform.python_version()}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
    )


def median_seconds(work: Callable[[], object], *, repeats: int = 5, warmup: int = 1) -> float:
    """The median wall time of `work` over `repeats` runs, after `warmup` runs that are not counted."""
    for _ in range(warmup):
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
