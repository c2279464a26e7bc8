"""How long a person waits: for `autokd --help`, for the first sign of life of a search, and for its first trial's first report.

    python -m benchmarks.startup [--full]      about one minute, or four

The search is search_spaces/digits.yaml as a person types it, in a process of its own. Its teachers are trained once before the
clock starts (a search keeps them beside its runs and finds them again); the row without a target says what the very first
search waits for them. The screen is a terminal (a pty) that notes when the first character arrives.
"""

from __future__ import annotations

import compileall
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks._setting import alone, scratch, spread
from benchmarks.rows import Form, Row

__all__ = ["first_report", "first_sign", "help_seconds", "measure"]

ROOT = Path(__file__).resolve().parents[1]
SPACE = ROOT / "search_spaces" / "digits.yaml"
COMMAND = [sys.executable, "-c", "from autokd.cli.main import main; main()"]


def measure(form: Form) -> list[Row]:
    rounds = form.pick(1, 3, 9)
    compiled = byte_compiled()
    more = form.pick(("--set", "teachers={wide: {model: resnet8, train: {epochs: 1}}}"), (), ())
    with scratch() as folder:
        helps = help_seconds(form.pick(1, 5, 15))
        cold = first_report(Path(folder), *more)
        reports = [first_report(Path(folder), *more) for _ in range(form.pick(1, 1, rounds))]
        signs = [first_sign(Path(folder)) for _ in range(rounds)]
    note = f" s ({spread(reports)}; {compiled})"
    return [
        Row.at_most("`autokd --help`, warm, seconds", statistics.median(helps), 0.3, f" ({spread(helps)})"),
        Row.at_most("something on the screen after the command, seconds", statistics.median(signs), 1.0, f" ({spread(signs)})"),
        Row.at_most("command to the first trial's first report, digits, warm disk", statistics.median(reports), 12, note),
        Row("the same where the two teachers are trained first", f"{cold:.1f} s"),
    ]


def help_seconds(rounds: int) -> list[float]:
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run([*COMMAND, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def byte_compiled() -> str:
    """Byte-compile autokd, and tell whether the environment is (Ray's workers import it anew)."""
    compileall.compile_dir(str(ROOT / "autokd"), quiet=2)
    spec = find_spec("ray")
    assert spec is not None and spec.origin is not None
    there = any((Path(spec.origin).parent / "__pycache__").glob("*.pyc"))
    return "byte-compiled" if there else "environment NOT byte-compiled: python -m compileall"


def first_report(folder: Path, *more: str) -> float:
    """Seconds from the command to the first {"event": "report"}; then the search is stopped."""
    words = ["search", str(SPACE), "--runs", str(folder / "runs"), "--jsonl", "--set", "tracking.mlflow=false", *more]
    start = time.perf_counter()
    with subprocess.Popen(
        [*COMMAND, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{") and json.loads(line).get("event") == "report":
                    return time.perf_counter() - start
        finally:
            end(process)
        assert process.stderr is not None
        raise RuntimeError(f"the search ended without a report:\n{process.stderr.read()[-2000:]}")


def first_sign(folder: Path) -> float:
    """Seconds from the command to the first character on a terminal."""
    import pty

    mine, theirs = pty.openpty()
    start = time.perf_counter()
    words = ["search", str(SPACE), "--runs", str(folder / "runs"), "--set", "tracking.mlflow=false"]
    with subprocess.Popen(
        [*COMMAND, *words], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        try:
            os.close(theirs)
            os.read(mine, 1)
            return time.perf_counter() - start
        finally:
            end(process)
            os.close(mine)


def end(process: subprocess.Popen) -> None:
    """Stop what was started here, at once and with all it started."""
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            break
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=6)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break


if __name__ == "__main__":
    alone(measure, __doc__)
