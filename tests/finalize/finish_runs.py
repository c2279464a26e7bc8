"""A run of two finished trials on the digits, one with a teacher, for the tests of what comes after the trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
from autokd.models.build import build
from autokd.models.checkpoint import save_weights
from autokd.track.recorder import Recorder

SPACE = """
name: two
data: {name: digits}
students: [resnet8x0.5, resnet8]
space: {policy: none, method: {choose: {ce: {}}}}
budgets:
  - {name: tiny, params: 25 k}
  - {name: any}
search: {trials: 2, epochs: 0.2}
finalize: {seeds: 2, epochs: 0.5}
"""
COSTS = {"resnet8x0.5": {"params": 19_802, "macs": 193_000}, "resnet8": {"params": 77_754, "macs": 764_000}}


def write_run(runs: Path) -> Path:
    run = runs / "two-1"
    run.mkdir(parents=True)
    (run / "space.yaml").write_text(SPACE, encoding="utf-8")
    save_weights(build("resnet8", classes=10, channels=1, size=8, seed=5), run / "teacher.safetensors")
    teacher = TeacherConfig("big", "resnet8", checkpoint=str(run / "teacher.safetensors"))
    recorder = Recorder(run)
    budgets = [{"name": "tiny", "params": 25_000, "macs": None}, {"name": "any", "params": None, "macs": None}]
    recorder.emit({"event": "begin", "run": str(run), "name": "two", "budgets": budgets, "seed": 0})
    for number, (student, score) in enumerate((("resnet8x0.5", 0.5), ("resnet8", 0.6))):
        distilled = student == "resnet8x0.5"
        config = TrialConfig(
            data=DataConfig("digits"),
            student=StudentConfig(student),
            teacher=teacher if distilled else None,
            policy=PolicyConfig("none"),
            ratio=0.0,
            method=MethodConfig("kd", {"temperature": 4.0}) if distilled else MethodConfig("ce"),
            loss=LossConfig(1.0, 0.1 if distilled else 0.0),
            recipe=RecipeConfig(batch=64),
            epochs=1.0,
            seed=0,
        )
        trial = f"t{number:05}"
        facts = {"budget": "tiny" if distilled else "any", "student": student, "method": config.method.name, "policy": "none",
                 "ratio": 0.0, "seed": 0}  # fmt: skip
        emit = recorder.emit
        fits = ["tiny", "any"] if distilled else ["any"]
        emit({"event": "trial", "trial": trial, "budgets": fits, **facts, **COSTS[student], "config": config.to_dict()})
        emit({"event": "report", "trial": trial, "rung": 0, "final": True, "images": 9, "epochs": 1, "val_top1": score})
        emit({"event": "end", "trial": trial, "status": "done"})
    recorder.emit({"event": "close", "status": "finished", "reason": "2 trials"})
    recorder.close()
    return run


def write_scans(place: Path, count: int = 60, classes: str = "0123456789") -> Path:
    """Noisy digits of scikit-learn as PNG files, a folder per class."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits, random = load_digits(), np.random.default_rng(0)
    for number in range(count):
        name = str(digits.target[number])
        if name in classes:
            grey = np.clip(digits.images[number] * 255 / 16 + random.normal(0, 30, (8, 8)), 0, 255).astype(np.uint8)
            (place / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey).save(place / name / f"{number:03}.png")
    return place
