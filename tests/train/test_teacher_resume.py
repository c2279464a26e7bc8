"""A teacher's training that is cut off goes on as if it had not been: the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autokd.config.trial import DataConfig, RecipeConfig, TeacherConfig, TeacherTraining
from autokd.train.pace import Pace
from autokd.train.teachers import teacher_path, train_teacher
from autokd.train.trial import Trial
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2, fraction=1.0)
RECIPES = {
    "sgd": RecipeConfig(lr=0.1, batch=64),
    "average": RecipeConfig(lr=0.1, batch=64, ema=0.9),
    "adamw": RecipeConfig(optimizer="adamw", lr=0.003, batch=64, clip=1.0, label_smoothing=0.1),
}
FEW = ["average", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "adamw"))]


class Killed(BaseException):
    pass


def teacher(recipe, **changes):
    training = TeacherTraining(epochs=2, recipe=RECIPES[recipe], policy="jda_cifar10", ratio=0.5)
    return TeacherConfig("big", "resnet8x0.5", training=replace(training, **changes))


def trained(folder, config, workshop):
    return load_file(train_teacher(DIGITS, config, folder, workshop=workshop))


def killed(folder, config, workshop, monkeypatch, after):
    """Trained until the checkpoint number `after` has been written, and no further."""
    save, written = Trial.save, []

    def save_and_die(self, path):
        save(self, path)
        written.append(path)
        if len(written) == after:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trial, "save", save_and_die)
        train_teacher(DIGITS, config, folder, workshop=workshop)
    assert not teacher_path(workshop, DIGITS, config, folder).exists()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("recipe", FEW)
def test_a_teacher_cut_off_after_any_of_its_checkpoints_ends_with_the_same_weights(tmp_path, monkeypatch, recipe):
    config = teacher(recipe)
    whole = trained(tmp_path / "whole", config, Workshop(threads=1))
    for after in (1, 3):
        folder = tmp_path / str(after)
        killed(folder, config, Workshop(threads=1), monkeypatch, after)
        assert same(trained(folder, config, Workshop(threads=1)), whole)
    assert not same(trained(tmp_path / "other", teacher(recipe, seed=1), Workshop(threads=1)), whole)  # which could differ


@pytest.mark.parametrize("recipe", FEW)
@pytest.mark.parametrize("then", [Pace(channels_last=False), Pace(fused=True, evaluation=128)])
def test_it_goes_on_at_the_pace_it_began_with_where_another_one_would_be_found_now(tmp_path, monkeypatch, recipe, then):
    config, began = teacher(recipe), Workshop(threads=1)
    whole = trained(tmp_path / "whole", config, began)
    facts = json.loads(teacher_path(began, DIGITS, config, tmp_path / "whole").with_suffix(".json").read_text())
    assert facts["pace"] == str(Pace()) and facts["threads"] == 1
    killed(tmp_path / "cut", config, began, monkeypatch, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "pace", lambda *_: then)
        assert same(trained(tmp_path / "cut", config, Workshop(threads=1)), whole)


@pytest.mark.slow
def test_a_process_killed_in_a_teacher_s_training_loses_no_bit(tmp_path, repository):
    code = """
import sys
from test_teacher_resume import DIGITS, Trial, Workshop, teacher, train_teacher
save = Trial.save
def told(self, path):
    save(self, path)
    print("saved", flush=True)
Trial.save = told
train_teacher(DIGITS, teacher("sgd", epochs=6), sys.argv[1], workshop=Workshop(threads=1))
"""
    paths = os.pathsep.join([str(Path(__file__).parent), str(repository)])
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "cut")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "saved\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    config = teacher("sgd", epochs=6)
    assert not teacher_path(Workshop(threads=1), DIGITS, config, tmp_path / "cut").exists()
    assert list((tmp_path / "cut").glob("*.partial/trial.pt"))
    whole = trained(tmp_path / "whole", config, Workshop(threads=1))
    assert same(trained(tmp_path / "cut", config, Workshop(threads=1)), whole)
