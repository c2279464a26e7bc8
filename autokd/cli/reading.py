"""What reading a data set found, for a person: a bar while it is read, the report afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import indent
from typing import TYPE_CHECKING

from autokd.cli.console import console, echo, wrapped

if TYPE_CHECKING:
    from autokd.data.check import DataReport
    from autokd.data.reading import PassedOver

__all__ = ["bar", "over", "print_data"]


@contextmanager
def bar(shown: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yields what `check_data` tells its progress to: a bar on the standard error where that is a terminal, else nothing."""
    screen = console(stderr=True)
    if not shown or not screen.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as drawn:
        tasks = {}

        def tell(part: str, done: int, count: int) -> None:
            if part not in tasks:
                tasks[part] = drawn.add_task(f"reading the {part} part", total=count)
            drawn.update(tasks[part], completed=done)

        yield tell


def print_data(report: DataReport) -> None:
    """The report in a few lines, and every warning."""
    for line in [*report.lines()[:1], *(f"data: {note}" for note in report.notes)]:
        wrapped(line)
    for name, part in (("training", report.training), ("test", report.test)):
        if part is None:
            continue
        if part.kinds and name == "training":
            wrapped("files: " + ", ".join(f"{kind} {count:,}" for kind, count in part.kinds), "  ")
        for line in over(part.passed_over):
            wrapped(f"passed over: {line}", "  ")
        if part.faulty and report.faulty == "skip":
            from autokd.data.reading import listed

            echo(f"  skipped in the {name} part, as they cannot be read: {len(part.faulty):,}")
            echo(indent(listed(part.faulty), "  "))
    for finding in report.warnings:
        where = f"{finding.where}: " if finding.where else ""
        wrapped(f"look at the data: {where}{finding.what}" + (f"; {finding.fix}" if finding.fix else ""), "  ")


def over(passed: tuple[PassedOver, ...]) -> list[str]:
    """A line for each reason why files were passed over: how many, and which."""
    lines = []
    for one in passed:
        which = ", ".join(f"{suffix} {count:,}" for suffix, count in one.suffixes[:8]) or ", ".join(one.examples)
        more = ", …" if (len(one.suffixes) > 8 if one.suffixes else one.count > len(one.examples)) else ""
        lines.append(f"{one.count:,} {one.why} ({which}{more})")
    return lines
