"""What several benchmarks share: the images, the pair of networks, one core, and how a benchmark runs alone."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TrialConfig,
)
from benchmarks.rows import Form, Row, machine, table

if TYPE_CHECKING:
    from autokd.train.pace import Pace
    from autokd.train.trial import Trial

__all__ = [
    "BATCH",
    "EXAMPLE",
    "PAIRS",
    "SMALL",
    "Pair",
    "alone",
    "cifar100",
    "in_process",
    "margin",
    "one_core",
    "scratch",
    "shared",
    "spread",
    "teacher_file",
    "timed_steps",
    "trial_config",
]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "public_teachers.py"
BATCH = 128  # views a step: 64 plain and 64 augmented


@dataclass(frozen=True)
class Pair:
    teacher: str
    student: str

    def __str__(self) -> str:
        return f"{self.teacher} -> {self.student}"


PAIRS = (Pair("wrn_40_2", "wrn_16_2"), Pair("resnet32x4", "resnet8x4"))
SMALL = Pair("resnet14", "resnet8")  # of the shortest form


def shared() -> Path | None:
    """The folder of real data: AUTOKD_SHARED_DATA, or ../shared/data beside the repository."""
    named = os.environ.get("AUTOKD_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if (folder / "cifar100" / "train.parquet").exists() else None


def cifar100(folder: Path, fraction: float, classes: int = 100) -> DataConfig:
    """A share of CIFAR-100; where it is not at hand, as many made-up images of its kind in `folder` (for speed alone)."""
    root = shared()
    if root is not None:
        return DataConfig("cifar100", root=str(root), fraction=fraction)
    file = folder / "cifar100" / "train.parquet"
    if not file.exists():
        _make_up(file, round(50_000 * fraction), classes)
    return DataConfig("cifar100", root=str(folder))


def _make_up(file: Path, count: int, classes: int) -> None:
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    generator = np.random.default_rng(0)
    coded = []
    for coarse in generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(buffer, "PNG")
        coded.append({"bytes": buffer.getvalue(), "path": None})
    file.parent.mkdir(parents=True, exist_ok=True)
    labels = [number % classes for number in range(count)]
    pq.write_table(pa.table({"img": coded, "fine_label": labels}), file)


def teacher_file(model: str, folder: Path, classes: int = 100) -> Path:
    """Weights of that architecture as initialised: a speed does not depend on what they say."""
    from autokd.models.build import build
    from autokd.models.checkpoint import save_weights

    path = folder / f"{model}.safetensors"
    if not path.exists():
        save_weights(build(model, classes=classes, seed=0), path)
    return path


def trial_config(pair: Pair, data: DataConfig, folder: Path, *, epochs: float = 1.0, seed: int = 0) -> TrialConfig:
    """CCD on views of the CIFAR-100 policy at the published setting: 64 images, each plain and augmented."""
    return TrialConfig(
        data=data,
        student=StudentConfig(pair.student),
        teacher=TeacherConfig(pair.teacher, pair.teacher, checkpoint=str(teacher_file(pair.teacher, folder))),
        policy=PolicyConfig("jda_cifar100"),
        ratio=0.5,
        method=MethodConfig("ccd"),
        loss=LossConfig(ce_weight=1.0, kd_weight=1.0),
        recipe=RecipeConfig(lr=0.05, batch=BATCH),
        epochs=epochs,
        seed=seed,
    )


def one_core() -> str:
    """Hold this process and those it starts on one core with one thread, and say so: both sides get the same machine."""
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        return "one core"
    return f"one thread of {platform.system()}"


def timed_steps(trial: Trial, steps: int) -> float:
    """Seconds of `steps` training steps, without scoring."""
    trial.student.train()
    start = time.perf_counter()
    for _ in range(steps):
        trial._train_step()
    return time.perf_counter() - start


def at_pace(trial: Trial, pace: Pace) -> Trial:
    """The trial, done at another pace than the one that was chosen for it."""
    trial.pace = pace
    pace.prepare(trial.student, trial.device)
    trial.parallel = trial._parallel()
    return trial


def margin(values: list[float]) -> float:
    """Half the width of the 95 % interval of the mean over seeds, by Student's t."""
    from autokd.select.verdict import estimate

    return estimate(values).margin


def spread(values: list[float]) -> str:
    """The middle and the extremes, to three digits."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g}, {len(values)} rounds)"


def alone(measure: Callable[[Form], list[Row]], words: str | None) -> None:
    """`python -m benchmarks.<name> [--full|--shortest]`."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    Form.add_to(parser)
    rows = measure(parser.parse_args().form)
    print(f"\n{machine()}\n\n{table(rows)}")


def in_process(module: str, *words: object, timeout: float = 3600.0) -> dict[str, Any]:
    """Run `python -m module words...` from the repository's root and read the JSON of its last line.

    What one side of a comparison sets up (Ray, environment variables, warm imports) is not there for the other.
    """
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", module, *map(str, words)]
    made = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=timeout
    )
    if made.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {made.returncode}:\n{made.stderr[-3000:]}")
    return json.loads(made.stdout.strip().splitlines()[-1])


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="autokd-bench-", ignore_cleanup_errors=True)
