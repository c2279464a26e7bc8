"""A whole search to a target accuracy, wall time: the usual way over autokd's, from the command to the report that reaches it.

    python -m benchmarks.search [--full]                digits, one seed, some minutes; with --full five seeds, and CIFAR-100
    python -m benchmarks.search --calibrate digits [--draws 40] [--usual]
                                                        what random configurations reach: where a target comes from

Both sides have the same teacher (trained before the clock starts), student, ranges, trial length, rungs, number of trials at once
and validation split. The images lie decoded (how a file codes them is not the question here); else both begin with empty
caches. The clock runs from the start of the process: imports, Ray, first
trials, everything. The usual way is benchmarks.baseline: OptunaSearch, ASHA, PIL views in DataLoader workers, live teacher.
Neither side is limited in its trials. One that does not get there within the time limit counts as the limit, and the row says
so. A target is what about one random configuration in ten reaches at full length, so that it has to be searched for; digits are
trained as long as in the shipped space. CIFAR-100 is a part of it, with a published teacher.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTraining,
    TrialConfig,
)
from autokd.data.training import open_training
from autokd.machine import cpus
from benchmarks._setting import EXAMPLE, alone, cifar100, scratch, shared
from benchmarks.rows import Form, Row

__all__ = ["TASKS", "Task", "measure", "seconds_of"]

ROOT = Path(__file__).resolve().parents[1]
FASTER = 5.0
DECODED = "decoded"
ENDLESS = 5000  # trials, of which the first tens matter
TRIALS = 24  # where no luck is wanted: both sides go through as many


@dataclass(frozen=True)
class Task:
    """What is searched for. `target`: validation top-1 of a report. Lengths in epochs of views; `limit` in seconds."""

    name: str
    student: str
    teacher: str
    train: int  # epochs of the teacher, which learns from all images; 0: it has published weights
    target: float
    epochs: int
    strength: float
    limit: float
    probabilities: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)  # of the policy's ops, to choose from
    fraction: float = 1.0  # of the training images
    validation: float = 0.2  # of all
    options: dict[str, Any] = field(default_factory=dict)  # of the teacher's architecture


PUBLIC = f"{EXAMPLE}:resnet_wide_stem"
TASKS = {
    "digits": Task("digits", "resnet8x0.5", "wrn_16_2", 12, 0.986, 20, 0.5, 600.0),
    "cifar100": Task(
        "cifar100", "resnet8", PUBLIC, 0, 0.07, 8, 1.0, 300.0, (0.1, 0.3), 0.03, 0.02, {"depth": 32}
    ),
}


def measure(form: Form) -> list[Row]:
    if form is Form.SHORTEST:
        return [compare(replace(TASKS["digits"], train=1, epochs=1), seeds=1, trials=2)]
    if form is Form.SHORT:
        return [compare(TASKS["digits"], seeds=1)]
    rows = [compare(TASKS["digits"], seeds=5), compare(TASKS["digits"], seeds=3, trials=TRIALS)]
    if shared() is None:
        told = "not measured: needs the real images and a published teacher"
        return [*rows, Row("whole search, cifar100", told, f">= {FASTER:g}")]
    return [*rows, compare(TASKS["cifar100"], seeds=5), compare(TASKS["cifar100"], seeds=1, trials=TRIALS)]


def compare(task: Task, *, seeds: int, trials: int | None = None) -> Row:
    """Both sides in turn, seed by seed: to the target, or through so many trials."""
    with scratch() as folder, patch.dict(os.environ, {"AUTOKD_CACHE": str(Path(folder) / DECODED)}):
        checkpoint = _teacher(task, Path(folder))
        open_training(**_opened(_data(task, Path(folder))))
        ours, usual = [], []
        for seed in range(seeds):
            for side, times in (("ours", ours), ("usual", usual)):
                seconds = seconds_of(task, side, seed, checkpoint, Path(folder), trials)
                times.append(task.limit if seconds is None else seconds)
                told = f"{seconds:.0f} s" if seconds is not None else "not reached"
                print(f"   {task.name}, seed {seed}, {side}: {told}", flush=True)
    ratios = [other / one for one, other in zip(ours, usual, strict=True)]
    missed = 0 if trials else sum(one >= task.limit for one in (*ours, *usual))
    note = f" (per seed {min(ratios):.1f} to {max(ratios):.1f}, {seeds} seeds; medians {statistics.median(usual):.0f} s"
    note += f" / {statistics.median(ours):.0f} s" + (f"; {missed} searches at the limit" if missed else "") + ")"
    if trials:
        what = f"whole search of {trials} trials, {task.name}, wall time, usual way / ours"
        return Row(what, f"{statistics.median(ratios):.2f}{note}")
    what = f"whole search to {task.target:.1%} top-1, {task.name}, wall time, usual way / ours"
    return Row.at_least(what, statistics.median(ratios), FASTER, note)


def seconds_of(task: Task, side: str, seed: int, checkpoint: Path, folder: Path, trials: int | None = None) -> float | None:
    """Wall seconds from the command to the first report at or above the target, None where it did not come in time; with
    `trials`, to the end of a search of so many."""
    from benchmarks.startup import end

    words = ["--side", side, "--task", task.name, "--seed", str(seed), "--teacher", str(checkpoint)]
    words += ["--data", str(folder), "--trials", str(trials or ENDLESS), "--epochs", str(task.epochs)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
        [sys.executable, "-m", "benchmarks.search", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    ) as process:
        found = None
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if trials or not line.startswith('{"top1"'):
                    continue
                if time.perf_counter() - start > task.limit:
                    break
                if json.loads(line)["top1"] >= task.target:
                    found = time.perf_counter() - start
                    break
            else:
                if process.wait():
                    errors.seek(0)
                    raise RuntimeError(f"the side {side} failed:\n{errors.read()[-3000:]}")
                found = time.perf_counter() - start if trials else None
        finally:
            end(process)
    return found


def _opened(data: DataConfig) -> dict[str, Any]:
    return {"name": data.name, "root": data.root, "validation": data.validation, "fraction": data.fraction}


def _own_cache(folder: Path) -> Path:
    """A cache in which nothing is known but the decoded images."""
    made = Path(tempfile.mkdtemp(dir=folder))
    (folder / DECODED / "data").mkdir(parents=True, exist_ok=True)
    (made / "data").symlink_to(folder / DECODED / "data", target_is_directory=True)
    os.environ["AUTOKD_CACHE"] = str(made)
    return made


def _data(task: Task, folder: Path) -> DataConfig:
    data = DataConfig("digits") if task.name == "digits" else cifar100(folder, task.fraction)
    return replace(data, validation=task.validation)


def _teacher(task: Task, folder: Path) -> Path:
    from autokd.train.teachers import train_teacher
    from autokd.train.workshop import Workshop

    if not task.train:
        root = shared()
        assert root is not None
        return root / "teachers_cifar100" / f"resnet{task.options['depth']}_cifar100.pt"
    recipe = RecipeConfig(lr=0.05, schedule="cosine", warmup=0.1)
    teacher = TeacherConfig(task.teacher, task.teacher, training=TeacherTraining(epochs=task.train, recipe=recipe))
    return train_teacher(_data(task, folder), teacher, folder, workshop=Workshop(threads=cpus()))


def _ours(task: Task, seed: int, checkpoint: Path, folder: Path, trials: int) -> None:
    own = _own_cache(folder)
    from autokd.search.run import search

    data = _data(task, folder)
    values = {
        "name": "bench",
        "data": _opened(data),
        "teachers": {"teacher": {"model": task.teacher, "options": task.options, "checkpoint": str(checkpoint)}},
        "students": [task.student],
        "space": {
            "policy": {"jda_cifar100": {"probability": {"choose": list(task.probabilities)}, "strength": task.strength}},
            "method": {"ccd": {"temperature": {"log": [1, 10]}}},
            "recipe": {
                "lr": {"log": [0.002, 0.4]},
                "weight_decay": {"choose": [0.0, 0.0001, 0.0005]},
                "batch": 64,
                "schedule": "cosine",
            },
        },
        "budgets": [{"name": "any"}],
        "search": {"trials": trials, "epochs": task.epochs, "rungs": {"count": 2, "eta": 3, "grace": 0.25}, "seed": seed},
        "resources": {"cpus": 1},
    }

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == "report":
            print(json.dumps({"top1": event["val_top1"]}), flush=True)

    search(values, runs=own / "runs", on_event=hear)


def _usual(task: Task, seed: int, checkpoint: Path, folder: Path, trials: int) -> None:
    own = _own_cache(folder)
    from ray import tune

    from benchmarks.baseline import tune as run

    class Tell(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            print(json.dumps({"top1": result["top1"]}), flush=True)

    domains = {
        "lr": tune.loguniform(0.002, 0.4),
        "weight_decay": tune.choice([0.0, 0.0001, 0.0005]),
        "temperature": tune.loguniform(1, 10),
        "probability": tune.choice(list(task.probabilities)),
        "task": task.name,
        "epochs": task.epochs,
        "teacher": str(checkpoint),
        "folder": str(folder),
    }
    grace = max(1, round(task.epochs * 0.25))
    run(_trial, domains, own, trials=trials, epochs=task.epochs, seed=seed, grace=grace, callbacks=[Tell()])


def _trial(config: dict[str, Any]) -> None:
    """The function trainable."""
    from ray import tune

    from benchmarks.baseline import train

    task = replace(TASKS[config["task"]], epochs=config["epochs"])
    for _, top1 in train(_config(task, config, Path(config["folder"]))):
        tune.report({"top1": top1})


def _config(task: Task, drawn: dict[str, Any], folder: Path) -> TrialConfig:
    """A trial from what was drawn for it. drawn: lr, weight_decay, temperature, probability, and where the `teacher` lies."""
    return TrialConfig(
        data=_data(task, folder),
        student=StudentConfig(task.student),
        teacher=TeacherConfig("teacher", task.teacher, task.options, checkpoint=drawn["teacher"]),
        policy=PolicyConfig("jda_cifar100", {"probability": drawn["probability"], "strength": task.strength}),
        method=MethodConfig("ccd", {"temperature": drawn["temperature"]}),
        loss=LossConfig(1.0, 1.0),
        recipe=RecipeConfig(lr=drawn["lr"], weight_decay=drawn["weight_decay"], batch=64, schedule="cosine"),
        epochs=task.epochs,
        seed=drawn.get("seed", 0),
    )


def calibrate(task: Task, draws: int, *, usual: bool = False) -> list[float]:
    """Validation top-1 at full length of random configurations from the searched ranges, trained by one of the sides."""
    import math
    import random

    from autokd.train.workshop import Workshop
    from benchmarks.baseline import train

    found, choose = [], random.Random(0)
    with scratch() as folder:
        checkpoint = str(_teacher(task, Path(folder)))
        bench = Workshop(threads=1, cache_dir=Path(folder) / "signals", signals="cached")
        for seed in range(draws):
            drawn = {
                "lr": math.exp(choose.uniform(math.log(0.002), math.log(0.4))),
                "weight_decay": choose.choice([0.0, 0.0001, 0.0005]),
                "temperature": math.exp(choose.uniform(0, math.log(10))),
                "probability": choose.choice(task.probabilities),
                "teacher": checkpoint,
                "seed": seed,
            }
            config = _config(task, drawn, Path(folder))
            if usual:
                *_, (_, top1) = train(config)
            else:
                trial = bench.trial(config)
                top1 = trial.advance(trial.total_images).val_top1
            found.append(top1)
            print(f"   {top1:.4f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=["ours", "usual"], required=True)
    parser.add_argument("--task", choices=list(TASKS), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=ENDLESS)
    parser.add_argument("--epochs", type=int, required=True)
    options = parser.parse_args()
    side = _ours if options.side == "ours" else _usual
    side(replace(TASKS[options.task], epochs=options.epochs), options.seed, options.teacher, options.data, options.trials)


if __name__ == "__main__":
    if "--calibrate" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--calibrate", choices=list(TASKS), required=True)
        parser.add_argument("--draws", type=int, default=40)
        parser.add_argument("--usual", action="store_true")
        asked = parser.parse_args()
        scores = sorted(calibrate(TASKS[asked.calibrate], asked.draws, usual=asked.usual), reverse=True)
        told = f"one in ten reaches {scores[(len(scores) - 1) // 10]:.4f}, half {scores[len(scores) // 2]:.4f}"
        print(f"best {scores[0]:.4f}, {told}, mean {statistics.fmean(scores):.4f}")
    else:
        main() if "--side" in sys.argv else alone(measure, __doc__)
