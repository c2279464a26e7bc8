"""Feature methods in a trial on the embedded digits: exact resume, live features beside a cache, a student without extras."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

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
from autokd.methods._resolution import lowered
from autokd.models.build import build
from autokd.rooms import catalogue
from autokd.signals.cache import CachedSignals
from autokd.signals.live import LiveSignals
from autokd.train.teachers import train_teacher
from autokd.train.trial import Trial
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2)
RECIPE = RecipeConfig(lr=0.05, batch=64, clip=5.0, ema=0.9)
TEACHER = TeacherConfig("big", "resnet14", training=TeacherTraining(epochs=1, recipe=RecipeConfig(lr=0.1, batch=64)))
SETTINGS = {
    "crd": {"negatives": 64, "width": 32},
    "purf": {"base": "crd"},
    "sskd": {"head_epochs": 0.5},
    "hsakd": {"head_epochs": 0.5},
}
TURNED = ("sskd", "hsakd")
METHODS = [name for name, entry in catalogue("methods").items() if "student_features" in entry.reads]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(threads=1, cache_dir=tmp_path_factory.mktemp("signals"), signals="auto")


@pytest.fixture(scope="module")
def teacher(workshop, tmp_path_factory):
    path = train_teacher(DIGITS, TEACHER, tmp_path_factory.mktemp("teachers"), workshop=workshop)
    return replace(TEACHER, training=None, checkpoint=str(path))


def trial_config(teacher, method, **changes):
    published = catalogue("methods")[method].facts["WEIGHTS"]
    config = TrialConfig(
        data=DIGITS,
        student=StudentConfig("resnet8"),
        teacher=teacher,
        policy=PolicyConfig("jda_cifar10"),
        method=MethodConfig(method, SETTINGS.get(method, {})),
        loss=LossConfig(**published),
        recipe=RECIPE,
        epochs=0.3,
        seed=7,
    )
    return replace(config, **changes)


def numbers(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_trial_ends_exactly_like_an_uninterrupted_one(workshop, teacher, method, tmp_path):
    config = trial_config(teacher, method)
    whole = Trial(workshop, config)
    assert isinstance(whole.signals, LiveSignals)  # maps are asked for live, cache or not; so is little of a view
    report = whole.advance(whole.total_images)
    assert report.train_loss > 0
    first = Trial(workshop, config)
    first.advance(first.total_images // 2)
    first.save(tmp_path)
    again = Trial(workshop, config)
    again.load(tmp_path)
    again.advance(again.total_images)
    assert torch.equal(numbers(whole.scored), numbers(again.scored))
    if whole.extra is not None and whole.extra.state_dict():
        assert torch.equal(numbers(whole.extra), numbers(again.extra))


@pytest.mark.parametrize("method", ["crd", "res_rkd"])
def test_pooled_vectors_are_kept_and_a_training_on_them_agrees_with_a_live_one(teacher, method, tmp_path):
    config = trial_config(teacher, method, epochs=0.1, recipe=replace(RECIPE, lr=0.01, ema=None))
    live = Trial(Workshop(threads=1, signals="live"), config)
    kept = Trial(Workshop(threads=1, cache_dir=tmp_path, signals="cached"), config)
    start = numbers(live.student)
    assert isinstance(kept.signals, CachedSignals)
    for trial in (live, kept):
        trial.advance(trial.total_images)
    assert len(list(tmp_path.glob("*.arrow"))) == 2  # the first plain view and the first augmented one
    moved = (numbers(live.student) - start).norm()
    assert (numbers(live.student) - numbers(kept.student)).norm() < 0.02 * moved


@pytest.mark.parametrize("method", METHODS)
def test_the_scored_student_is_the_plain_network(workshop, teacher, method):
    trial = Trial(workshop, trial_config(teacher, method))
    plain = build("resnet8", classes=10, channels=1, size=8)
    assert {k: v.shape for k, v in trial.scored.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }


@pytest.mark.parametrize("method", ["fitnet", "crd", "reviewkd"])
def test_learnable_parts_train_beside_the_student(workshop, teacher, method):
    trial = Trial(workshop, trial_config(teacher, method, recipe=replace(RECIPE, ema=None)))
    before = [p.detach().clone() for p in trial.extra.parameters()]
    trial._train_step()
    assert before and all(not torch.equal(a, b) for a, b in zip(before, trial.extra.parameters(), strict=True))


def test_a_loss_placed_on_augmented_rows_reads_the_features_of_those_rows_only(workshop, teacher):
    both = trial_config(teacher, "spkd")
    placed = replace(both, loss=replace(both.loss, ce_weight=0.0, kd_on_plain=False))
    trial = Trial(workshop, placed)
    seen = []
    trial.method._call = lambda **signals: seen.append(signals) or signals["student_features"].pooled.sum()
    trial.loss(0)
    assert len(seen[0]["student_features"].pooled) == len(seen[0]["teacher_features"].pooled) == 32


@pytest.mark.parametrize("method", ["res_rkd", "multilevel"])
def test_a_student_of_low_resolution_is_shown_low_resolution_in_training_and_in_scoring(workshop, teacher, method):
    config = trial_config(teacher, method, recipe=replace(RECIPE, ema=None))
    trial = Trial(workshop, replace(config, method=MethodConfig(method, {"factor": 4})))
    shown, asked = [], []
    trial.student.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].detach()))
    hook = trial.workshop.teacher(DIGITS, teacher).model.register_forward_pre_hook(lambda _, x: asked.append(x[0]))
    trial.loss(0)
    hook.remove()
    assert torch.equal(shown[0], lowered(torch.cat(asked), 4).contiguous(memory_format=torch.channels_last))
    assert not torch.allclose(shown[0], torch.cat(asked), atol=0.1)
    report = trial.advance(64)
    pixels = (trial.loaded.val_pixels.float() / 255 - trial.loaded.mean[0]) / trial.loaded.std[0]
    trial.student.eval()
    with torch.no_grad():
        found = trial.student(lowered(pixels, 4)).argmax(1)
    assert report.val_top1 == pytest.approx((found == trial.loaded.val_labels).double().mean().item(), abs=1e-9)
