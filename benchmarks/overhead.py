"""What a trial costs beyond its training: on Ray, in a search of a thousand trials, and the usual way.

    python -m benchmarks.overhead [--full]      about two minutes, or eight (the usual way takes 4 to 12 s a trial)

Trials here train nothing: a formula answers for them, so that all the time that passes is overhead. It is the wall time from
the first trial's end to the last one's, divided by the trials between: what starting Ray costs is told apart (`fixed`). The
usual way (benchmarks.baseline) gets a function trainable that imports torch, as any training would. Each side runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from autokd.config.trial import TrialConfig
from benchmarks._setting import alone, in_process
from benchmarks.rows import Form, Row

__all__ = ["Still", "measure"]

EPOCHS = 9.0
IMAGES = 1000  # of the pretended data set


def measure(form: Form) -> list[Row]:
    ours = in_process("benchmarks.overhead", "--side", "ray", "--trials", form.pick(4, 64, 64))
    many = in_process("benchmarks.overhead", "--side", "many", "--trials", form.pick(20, 1000, 1000))
    usual = in_process("benchmarks.overhead", "--side", "usual", "--trials", form.pick(2, 4, 16))
    fixed = f" s (command to first end {ours['fixed']:.1f} s; {ours['trials']} trials)"
    told = f"{usual['each']:.2f} s (start to first end {usual['fixed']:.1f} s; {usual['trials']} trials)"
    grown = f"{many['trials']:,} simulated trials: last hundred / first hundred"
    growth = f" (first hundred {1e3 * many['first']:.1f} ms a trial, last {1e3 * many['last']:.1f} ms)"
    return [
        Row.at_most(f"overhead a trial beyond its training, {ours['trials']} short trials, Ray", ours["each"], 0.1, fixed),
        Row("the same, usual way", told, "4 to 12 s were seen"),
        Row.at_most(grown, many["last"] / many["first"], 1.2, growth),
    ]


@dataclass
class Pretended:
    """In the place of a training: a saturating curve of the share that was trained."""

    config: TrialConfig
    images: int = 0

    @property
    def total_images(self) -> int:
        return round(self.config.epochs * IMAGES)

    def advance(self, images: int) -> Any:
        self.images = min(self.total_images, images)
        height = 0.8 - 0.05 * abs(math.log10(self.config.recipe.lr) + 1)
        top1 = height * (1 - math.exp(-4 * self.images / self.total_images))
        made = {"images": self.images, "epochs": self.images / IMAGES, "passes": 1.0, "val_top1": top1, "val_loss": 1 - top1}
        made |= {"train_loss": 1.0, "lr": self.config.recipe.lr, "seconds": 0.0, "teacher_seconds": 0.0}
        return SimpleNamespace(to_dict=lambda: made)

    def save(self, folder: Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "trial.json").write_text(json.dumps(self.images))

    def load(self, folder: Path) -> None:
        self.images = json.loads((Path(folder) / "trial.json").read_text())


class Still:
    """In the place of autokd.train.workshop.Workshop. It imports torch, as that one does."""

    def __init__(self, **_: Any) -> None:
        import torch

        torch.set_num_threads(1)

    def trial(self, config: TrialConfig) -> Pretended:
        return Pretended(config)


def space(trials: int) -> Any:
    from autokd.config.search_space import load_space

    return load_space(
        {
            "name": "overhead",
            "data": {"name": "digits"},
            "students": ["resnet8x0.5", "resnet8"],
            "space": {"method": {"choose": {"ce": {}}}, "recipe": {"lr": {"log": [0.001, 0.9]}}},
            "budgets": [{"name": "any"}],
            "search": {"trials": trials, "epochs": EPOCHS, "rungs": {"count": 2, "grace": 0.2}, "seed": 0},
            "tracking": {"mlflow": False},
        }
    )


def run(side: str, trials: int) -> dict[str, float]:
    """Seconds of a search without training. side: ray, or many (trials one after another in this process)."""
    from autokd.search.run import search

    bench = {"factory": "benchmarks.overhead:Still"}
    if side == "ray":
        from autokd.search.ray_engine import RayEngine

        engine: Any = RayEngine(bench)
    else:
        from autokd.search.inline_engine import InlineEngine

        engine = InlineEngine(bench)
    start = time.perf_counter()
    ends: dict[str, float] = {}  # of each trial the last: one that a rung stopped may go on

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == "end":
            ends[event["trial"]] = time.perf_counter() - start

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as runs:
        search(space(trials), runs=runs, engine=engine, on_event=hear)
    return told(sorted(ends.values()))


def told(ends: list[float]) -> dict[str, float]:
    gaps = [after - before for before, after in zip(ends, ends[1:])]
    some = max(1, min(100, len(gaps) // 2))
    return {
        "trials": len(ends),
        "fixed": ends[0],
        "each": statistics.mean(gaps),
        "first": statistics.mean(gaps[:some]),
        "last": statistics.mean(gaps[-some:]),
    }


def usual(trials: int) -> dict[str, float]:
    import ray
    from ray import tune

    from benchmarks.baseline import tune as search

    ends: list[float] = []
    start = time.perf_counter()

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter() - start)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        domains = {"lr": tune.loguniform(1e-3, 0.9)}
        search(_curve, domains, Path(folder), trials=trials, epochs=round(EPOCHS), callbacks=[Clock()])
        ray.shutdown()
    return told(sorted(ends))


def _curve(config: dict[str, Any]) -> None:
    import torch
    from ray import tune

    torch.set_num_threads(1)
    height = 0.8 - 0.05 * abs(math.log10(config["lr"]) + 1)
    for epoch in range(1, round(EPOCHS) + 1):
        tune.report({"top1": height * (1 - math.exp(-4 * epoch / EPOCHS))})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=["ray", "many", "usual"], required=True)
    parser.add_argument("--trials", type=int, default=64)
    options = parser.parse_args()
    made = usual(options.trials) if options.side == "usual" else run(options.side, options.trials)
    print(json.dumps(made))


if __name__ == "__main__":
    main() if "--side" in sys.argv else alone(measure, __doc__)
