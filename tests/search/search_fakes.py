"""A search without training: a space of a few knobs, and students whose curves are a formula."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from autokd.config.sections import Budget, Resources, Rungs, SearchSettings, SignalSettings, Tracking
from autokd.config.trial import (
    DataConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TrialConfig,
)
from autokd.errors import TrialFailed
from autokd.search.feasible import feasible
from autokd.search.plan import Plan

IMAGES = 1000  # of the training split
COSTS = {
    "small": SimpleNamespace(params=100, macs=1000),
    "middle": SimpleNamespace(params=200, macs=2000),
    "large": SimpleNamespace(params=400, macs=4000),
}
QUALITY = {"small": 0.6, "middle": 0.7, "large": 0.8}
BUDGETS = (
    Budget(name="tiny", params=150.0),
    Budget(name="mid", macs=2500.0),
    Budget(name="free"),
)
PAIRS = [("teacher", "small"), ("teacher", "middle"), ("teacher", "large")]


class Space:
    """Students, two methods (one with a setting of its own), and a learning rate. `coarse` makes it finite."""

    name = "fake"
    budgets = BUDGETS
    data = DataConfig("digits")
    students = {name: StudentConfig(name) for name in COSTS}
    teachers = {"teacher": TeacherConfig("teacher", "large", checkpoint="large.safetensors")}
    resources = Resources(cpus=1)  # nothing to measure
    tracking = Tracking(mlflow=False)
    signals = SignalSettings()

    def __init__(self, coarse=False, epochs=9.0, mlflow=False, **search):
        self.coarse, self.epochs = coarse, epochs
        settings = {"trials": 12, "epochs": epochs, "rungs": Rungs(count=2, eta=3.0, grace=1 / 9), "seed": 3}
        self.search = SearchSettings(**{**settings, **search})
        self.tracking = Tracking(mlflow=mlflow)

    def to_yaml(self):
        return "name: fake\n"

    def sample(self, draw, pairs, seed):
        labels = [f"{teacher}>{student}" for teacher, student in pairs]
        teacher, student = (labels[0] if len(labels) == 1 else draw.choose("pair", labels)).split(">")
        method = draw.choose("method", ["kd", "ccd"])
        settings = {}
        if method == "ccd" and not self.coarse:
            settings["temperature"] = draw.log("method.ccd.temperature", 1.0, 20.0)
        lr = draw.choose("lr", [0.01, 0.1]) if self.coarse else draw.log("lr", 1e-3, 1.0)
        return TrialConfig(
            data=DataConfig("digits"),
            student=StudentConfig(student),
            teacher=TeacherConfig(teacher, "large"),
            policy=PolicyConfig("none"),
            ratio=0.0,
            method=MethodConfig(method, settings),
            recipe=RecipeConfig(lr=lr, batch=10),
            epochs=self.epochs,
            seed=seed,
        )

    def starts(self, pairs):
        return [{"method": "kd"}, {"method": "ccd"}]


def curve(config: TrialConfig, share: float) -> float:
    """Validation accuracy after a share of the training: a saturating curve whose height depends on the knobs."""
    import math

    height = QUALITY[config.student.name] - 0.05 * abs(math.log10(config.recipe.lr) + 1)
    height += 0.02 if config.method.name == "ccd" else 0.0
    return height * (1 - math.exp(-4 * share))


@dataclass
class FakeTrial:
    config: TrialConfig
    images: int = 0
    total_images: int = 0
    slow: float = 0.0  # seconds of each advance
    die: str = ""  # a file: where it is absent it is made, and the process ends

    def __post_init__(self):
        self.total_images = int(self.config.epochs * IMAGES)

    def advance(self, images):
        if self.slow:
            time.sleep(self.slow)
        if self.die and not Path(self.die).exists():
            Path(self.die).touch()
            os._exit(1)
        batch = self.config.recipe.batch
        self.images = min(self.total_images, -(-images // batch) * batch)
        if self.config.recipe.lr > 0.9:
            raise TrialFailed("the loss is not finite at step 7")
        top1 = curve(self.config, self.images / self.total_images)
        made = {"images": self.images, "epochs": self.images / IMAGES, "val_top1": top1, "val_loss": 1 - top1}
        made |= {"train_loss": 1.0, "lr": self.config.recipe.lr, "seconds": self.images / 1e6, "passes": 1.0}
        return SimpleNamespace(to_dict=lambda: {**made, "teacher_seconds": 0.0})

    def save(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "trial.json").write_text(json.dumps({"images": self.images}))

    def load(self, folder, epochs=None):
        self.images = json.loads((Path(folder) / "trial.json").read_text())["images"]


class Bench:
    """In the place of autokd.train.workshop.Workshop."""

    def __init__(self, device="cpu", threads=None, slow=0.0, die=""):
        self.slow, self.die = slow, die

    def trial(self, config):
        return FakeTrial(config, slow=self.slow, die=self.die)

    def verify(self, data, teacher):
        assert teacher.checkpoint == "large.safetensors"
        return SimpleNamespace(top1=0.9, loss=0.4, ece=0.05, images=1000, classes=10)


def divided(budgets=BUDGETS):
    return feasible(PAIRS, budgets, COSTS, {"teacher": SimpleNamespace(params=900, macs=9000)})


def plan(**changes):
    return Plan(**{"epochs": 9, "rungs": (1, 3), "eta": 3, "seed": 3, "trials": 20, **changes})


class BrokenBench(Bench):
    def trial(self, config):
        raise ValueError("no such thing")
