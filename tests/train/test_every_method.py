"""Every method of the catalogue trains a small student on the embedded digits; a new one is visited without an edit here."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from autokd.config.tree import needs_teacher
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
from autokd.rooms import catalogue
from autokd.train.teachers import train_teacher
from autokd.train.trial import Trial
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2)
TEACHER = TeacherConfig("big", "resnet8", training=TeacherTraining(epochs=1, recipe=RecipeConfig(lr=0.1, batch=64)))
BRIEFLY = {"head_epochs": 0.2, "negatives": 64, "warmup": 0.0}  # where a method has the setting: no long preparation
STEPS, BATCH = 20, 64
WRAPPED = [
    (name, {"base": base})
    for name in ("logit_standardise", "high_energy")
    for base in catalogue("methods")[name].setting("base").words[1:]
]


@pytest.fixture(scope="module")
def workshop():
    return Workshop(threads=1, signals="live")


@pytest.fixture(scope="module")
def teacher(workshop, tmp_path_factory):
    path = train_teacher(DIGITS, TEACHER, tmp_path_factory.mktemp("teachers"), workshop=workshop)
    return replace(TEACHER, training=None, checkpoint=str(path))


@pytest.mark.parametrize(("method", "settings"), [*((name, {}) for name in catalogue("methods")), *WRAPPED])
def test_its_loss_stays_finite_and_falls(workshop, teacher, method, settings):
    """The loss of the first four steps, then that of the last four: each step draws its own images of the same kind."""
    entry = catalogue("methods")[method]
    brief = {key: value for key, value in BRIEFLY.items() if entry.setting(key) and "base" not in settings}
    config = TrialConfig(
        data=DIGITS,
        student=StudentConfig("resnet8x0.5"),
        teacher=teacher,
        policy=PolicyConfig("jda_cifar10", {"probability": 0.1}),
        method=MethodConfig(method, brief | settings),
        loss=LossConfig(**entry.facts.get("BASE_WEIGHTS", {}).get(settings.get("base"), entry.facts["WEIGHTS"])),
        recipe=RecipeConfig(lr=0.02, batch=BATCH, clip=5.0, schedule="constant"),
        epochs=STEPS * BATCH / 1437,
        seed=3,
    )
    trial = Trial(workshop, config)
    first = trial.advance(4 * BATCH).train_loss
    trial.advance((STEPS - 4) * BATCH)
    last = trial.advance(STEPS * BATCH).train_loss
    assert math.isfinite(first) and math.isfinite(last)
    assert last < first


@pytest.mark.slow
@pytest.mark.parametrize("method", catalogue("methods"))
def test_a_cifar_student_learns_from_a_public_teacher_that_is_no_network_of_the_zoo(shared_data, method):
    """1,800 images, two epochs, 500 images of validation: above the chance of 0.1, and above where it began."""
    entry, root = catalogue("methods")[method], Path(__file__).parents[2]
    config = TrialConfig(
        data=DataConfig(
            "cifar10", options={"train_file": str(shared_data / "cifar10" / "train_5k.parquet")}, fraction=0.4
        ),
        student=StudentConfig("resnet8"),
        teacher=TeacherConfig(
            "public",
            f"{root / 'examples' / 'public_teachers.py'}:resnet_option_a",
            options={"depth": 20},
            checkpoint=str(shared_data / "teachers_cifar10" / "resnet20-12fca82f.th"),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )
        if needs_teacher(method)
        else None,
        ratio=0.0,
        method=MethodConfig(method, {key: value for key, value in BRIEFLY.items() if entry.setting(key)}),
        loss=LossConfig(**entry.facts["WEIGHTS"]),
        recipe=RecipeConfig(lr=0.05, batch=64, clip=5.0),
        epochs=2,
        seed=1,
    )
    trial = Trial(Workshop(threads=1), config)
    before = trial.workshop.score(trial.scored, trial.loaded, trial.method.student_images)
    report = trial.advance(trial.total_images)
    assert report.val_top1 > 0.15 and report.val_top1 > before.top1
