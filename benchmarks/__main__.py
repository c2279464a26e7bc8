"""`python -m benchmarks [name ...]`: run the short form of every benchmark (or of those named) and end with one table."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.rows import Row, machine, table


def main() -> None:
    known = sorted(path for path in Path(__file__).parent.glob("[a-z]*.py"))
    measurable = [path.stem for path in known if "\ndef measure(" in path.read_text(encoding="utf-8")]  # none is imported
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*measurable, []], help=f"of {', '.join(measurable)}")
    told = "the full form: more repeats, larger data, longer trainings"
    parser.add_argument("--full", "--long", dest="full", action="store_true", help=told)
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.names or measurable:
        print(f"== {name}", flush=True)
        for row in importlib.import_module(f"benchmarks.{name}").measure(short=not options.full):
            print(f"   {row.what}: {row.measured} (target {row.target})", flush=True)
            rows.append(row)
    print(f"\n{machine()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
