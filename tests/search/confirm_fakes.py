"""A search whose students are formulas with luck of the seed, and which tell the images they are right on."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from autokd.config.search_space import load_space
from autokd.errors import TrialFailed

IMAGES, TRAIN = 301, 1000  # of the validation split: no multiple of eight
QUALITY = {"resnet8x0.5": 0.4, "resnet8": 0.9, "resnet14": 1.2}


def space_of(folder, **sections):
    weights = Path(folder) / "teacher.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.touch()
    written = {
        "name": "fake",
        "data": {"name": "digits"},
        "teachers": {"big": {"model": "resnet20x2", "checkpoint": str(weights)}},
        "students": list(QUALITY),
        "space": {
            "policy": {"choose": {"rotation": {}, "none": {}}},
            "method": {"choose": {"kd": {"temperature": {"log": [1, 20], "prior": 4}}, "ce": {}}},
            "recipe": {"lr": {"log": [0.01, 1], "prior": 0.1}},
        },
        "budgets": [{"name": "tiny", "params": "25 k"}, {"name": "any"}],
        "search": {"trials": 12, "epochs": 9, "seed": 3, "scheduler": "none"},
        "tracking": {"mlflow": False},
    }
    for name, values in sections.items():
        written[name] = {**written.get(name, {}), **values}
    return load_space(written)


def right_of(config, share=1.0):
    """Which images a training is right on, a function of its configuration alone."""
    quality = QUALITY[config.student.name] - 0.3 * abs(math.log10(config.recipe.lr) + 1)
    quality += 0.3 if config.method.name == "kd" else 0.0
    quality += 0.3 if config.policy.name == "rotation" else 0.0
    luck = np.random.default_rng([config.seed, int(1e6 * config.recipe.lr)])
    ease = np.random.default_rng(0).normal(size=IMAGES)
    return quality + ease + luck.normal(0, 0.1) + luck.normal(0, 0.5, IMAGES) > 1.2 * (1 - share)


class Trial:
    total_images = 9 * TRAIN

    def __init__(self, config, slow=0.0, broken=""):
        self.config, self.slow, self.broken, self.images, self.right = config, slow, broken, 0, None

    def advance(self, images):
        if self.slow:
            time.sleep(self.slow)
        if self.broken and self.broken == f"{self.config.method.name} {self.config.seed}":
            raise TrialFailed("the loss is not finite at step 7")
        self.images = min(self.total_images, images)
        self.right = right_of(self.config, self.images / self.total_images)
        top1 = float(self.right.mean())
        made = {"images": self.images, "epochs": self.images / TRAIN, "val_top1": top1, "val_loss": 1 - top1}
        return SimpleNamespace(to_dict=lambda: {**made, "seconds": self.images / 1e4, "train_loss": 1.0})

    def save(self, folder):
        (Path(folder) / "trial.txt").write_text(str(self.images))

    def load(self, folder):
        self.images = int((Path(folder) / "trial.txt").read_text())


class Bench:
    def __init__(self, device="cpu", threads=None, slow=0.0, broken="", machine=""):
        self.slow, self.broken, self.machine = slow, broken, machine

    def trial(self, config, **_):
        if self.machine == f"{config.method.name} {config.seed}":
            raise OSError("the disk is full")
        return Trial(config, self.slow, self.broken)

    def verify(self, data, teacher):
        return SimpleNamespace(top1=0.97, loss=0.1, ece=0.02, images=1000, classes=10)
