"""How many of the teacher's answers were kept already, counted by hand: a batch has 64 views, and each is asked for once."""

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
    TrialConfig,
)
from autokd.models.build import build
from autokd.models.checkpoint import save_weights
from autokd.train.trial import Trial
from autokd.train.workshop import Workshop

STEPS = 4  # of 64 views
ALL = 4 * 64


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(build("resnet8x0.5", classes=10, channels=1, size=8, seed=1), path)
    return TrialConfig(
        data=DataConfig("digits", validation=0.2),
        student=StudentConfig("resnet8x0.5"),
        teacher=TeacherConfig("big", "resnet8x0.5", checkpoint=str(path)),
        policy=PolicyConfig("jda_cifar10"),
        method=MethodConfig("kd"),
        recipe=RecipeConfig(lr=0.005, batch=64),
        epochs=1,  # the two halves of a batch read half of the first view
        seed=7,
    )


def bench(folder, signals="cached"):
    return Workshop(threads=1, signals=signals, cache_dir=folder)


def counts(trial, steps=STEPS):
    told = trial.advance(steps * 64)
    return told.signal_hits, told.signal_misses


def test_of_two_trials_with_one_policy_the_first_computes_every_answer_and_the_second_none(config, tmp_path):
    workshop = bench(tmp_path)
    other = replace(config, seed=8, student=StudentConfig("resnet14x0.5"), method=MethodConfig("ccd"))
    first, second = Trial(workshop, config), Trial(workshop, other)
    assert counts(first) == (0, ALL)
    assert counts(second) == (ALL, 0)
    assert counts(first, 6) == (0, 6 * 64)  # its own view, though another has read of it meanwhile
    assert counts(Trial(bench(tmp_path), other)) == (ALL, 0)  # in another process, too


def test_another_policy_shares_the_plain_half_of_the_answers(config, tmp_path):
    counts(Trial(bench(tmp_path), config))
    assert counts(Trial(bench(tmp_path), replace(config, policy=PolicyConfig("trivialaugment")))) == (4 * 32, 4 * 32)


def test_answers_that_no_loss_reads_are_not_counted(config, tmp_path):
    only = replace(config, ratio=0.75, loss=LossConfig(kd_on_plain=False))
    assert counts(Trial(bench(tmp_path), only)) == (0, 4 * 48)


@pytest.mark.parametrize(("method", "misses"), [("kd", ALL), ("fitnet", ALL), ("ce", 0)])
def test_a_teacher_that_is_asked_at_every_batch_has_no_hits_and_a_trial_without_one_no_answers(config, method, misses):
    assert counts(Trial(bench(None, "live"), replace(config, method=MethodConfig(method)))) == (0, misses)


def test_a_resumed_trial_goes_on_counting(config, tmp_path):
    trial = Trial(bench(tmp_path / "cache"), config)
    assert counts(trial, 3) == (0, 3 * 64)
    trial.save(tmp_path)
    again = Trial(bench(tmp_path / "cache"), config)
    again.load(tmp_path)
    assert counts(again, 5) == (2 * 64, 3 * 64)  # what its first life kept is kept
    state = torch.load(tmp_path / "trial.pt", weights_only=True)
    torch.save({name: value for name, value in state.items() if name != "asked"}, tmp_path / "trial.pt")
    older = Trial(bench(tmp_path / "cache"), config)
    older.load(tmp_path)  # of a version that did not count
    assert counts(older, 4) == (64, 0)
