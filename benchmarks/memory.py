"""What a second trial on a node costs in memory, where it shares the data and the teacher's answers with the first.

    python -m benchmarks.memory [--full]      Linux; about five minutes

Each trial trains in a process of its own, as on Ray. Counted is the proportional share of resident memory (PSS: a page that n
processes share counts 1/n in each), summed over the trials: with two of them less with one, that is what the second costs. Its
needs are measured as well: a process that only imports torch, and one that trains the same student on one resident batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._setting import BATCH, SMALL, Pair, alone, cifar100, scratch, trial_config
from benchmarks.rows import Form, Row

__all__ = ["measure"]

PAIR = Pair("resnet32x4", "resnet8x4")


def measure(form: Form) -> list[Row]:
    if not Path("/proc/self/smaps_rollup").exists():
        return [Row("memory of a second trial", "not measured: needs Linux's /proc", "<= 1.3 x needs + import")]
    return compare(form.pick(SMALL, PAIR, PAIR), fraction=form.pick(0.02, 0.1, 1.0), steps=form.pick(1, 10, 10))


def compare(pair: Pair, *, fraction: float, steps: int) -> list[Row]:
    with scratch() as folder:
        config = trial_config(pair, cifar100(Path(folder), fraction), Path(folder), epochs=0.05 if fraction >= 1 else 0.5)
        file = Path(folder) / "trial.json"
        file.write_text(config.to_json())
        common = ["--cache", str(Path(folder) / "signals"), "--config", str(file), "--steps", str(steps)]
        _held([["--do", "trial", *common]])  # fills the cache
        idle = _second(["--do", "import"])
        needs = _second(["--do", "alone", *common]) - idle
        extra = _second(["--do", "trial", *common])
    limit = 1.3 * needs + idle
    told = f"{extra:.0f} MB" if extra < 10_000 else f"{extra / 1000:.1f} GB"
    what = f"memory of a second trial on a node, {pair.student}, batch {BATCH}, {fraction:.0%} of CIFAR-100"
    target = f"<= 1.3 x {needs:.0f} MB + {idle:.0f} MB of torch = {limit:.0f} MB"
    return [Row(what, told, target, extra <= limit)]


def _second(words: list[str]) -> float:
    """MB that a second process of this kind adds to the first."""
    one, two = _held([words, words])
    return two - one


def _held(jobs: list[list[str]]) -> list[float]:
    """Start one process a job, one after another; after each has reached its fullest, the sum of all their PSS in MB."""
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    made: list[subprocess.Popen[str]] = []
    held = []
    try:
        for job in jobs:
            command = [sys.executable, "-m", "benchmarks.memory", *job]
            made.append(subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": path}, **pipes))
            assert made[-1].stdout is not None
            if made[-1].stdout.readline().strip() != "ready":
                raise RuntimeError(f"a trial ended early: {job}")
            held.append(sum(_pss(process.pid) for process in made))
        return held
    finally:
        for process in made:
            process.communicate("\n")


def _pss(process: int) -> float:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("smaps_rollup has no Pss")


def _trial(config: str, cache: str, steps: int) -> object:
    from autokd.config.trial import TrialConfig
    from autokd.train.workshop import Workshop

    bench = Workshop(threads=1, cache_dir=cache, signals="cached")
    trial = bench.trial(TrialConfig.from_dict(json.loads(Path(config).read_text())))
    trial.student.train()
    for _ in range(steps):
        trial._train_step()
    return trial


def _alone(config: str, steps: int) -> object:
    """The student with its optimiser, on one batch."""
    from benchmarks.epoch import _floor

    step = _floor(json.loads(Path(config).read_text())["student"]["name"])
    for _ in range(steps):
        step()
    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--do", choices=["import", "alone", "trial"])
    parser.add_argument("--config")
    parser.add_argument("--cache")
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if options.do == "import":
        held: object = torch.zeros(1)
    elif options.do == "alone":
        held = _alone(options.config, options.steps)
    else:
        held = _trial(options.config, options.cache, options.steps)
    time.sleep(0.2)
    print("ready", flush=True)
    sys.stdin.readline()
    del held


if __name__ == "__main__":
    main() if "--do" in sys.argv else alone(measure, __doc__)
