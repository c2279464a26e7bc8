"""`python -m benchmarks [name ...]`: run the short form of every benchmark (or of those named) and end with one table."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rows import Form, Row, machine, table


@contextmanager
def every_core() -> Iterator[None]:
    """What is done to this process's cores in between is undone."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        yield
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def main() -> None:
    known = sorted(path for path in Path(__file__).parent.glob("[a-z]*.py"))
    measurable = [path.stem for path in known if "\ndef measure(" in path.read_text(encoding="utf-8")]  # none is imported
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*measurable, []], help=f"of {', '.join(measurable)}")
    Form.add_to(parser)
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.names or measurable:
        print(f"== {name}", flush=True)
        with every_core():  # also after one that held itself on one
            for row in importlib.import_module(f"benchmarks.{name}").measure(options.form):
                print(f"   {row.what}: {row.measured} (target {row.target})", flush=True)
                rows.append(row)
    print(f"\n{machine()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
