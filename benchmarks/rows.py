"""One row of the table a benchmark ends with, and the words around it."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

__all__ = ["Form", "Row", "machine", "median_seconds", "table"]

T = TypeVar("T")


class Form(Enum):
    """How much is measured. The shortest says only that a benchmark runs: its numbers are worth nothing."""

    SHORTEST = "shortest"
    SHORT = "short"
    FULL = "full"

    def pick(self, shortest: T, short: T, full: T) -> T:
        return {Form.SHORTEST: shortest, Form.SHORT: short, Form.FULL: full}[self]

    @staticmethod
    def add_to(parser: argparse.ArgumentParser) -> None:
        """`--full` and `--shortest`, as `form` of what is parsed."""
        forms = parser.add_mutually_exclusive_group()
        parser.set_defaults(form=Form.SHORT)
        told = "the full form: more repeats, larger data, longer trainings"
        forms.add_argument("--full", "--long", dest="form", action="store_const", const=Form.FULL, help=told)
        told = "only see that it runs, in seconds; the numbers are worth nothing"
        forms.add_argument("--shortest", dest="form", action="store_const", const=Form.SHORTEST, help=told)


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
