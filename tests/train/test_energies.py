"""Methods that know the teacher's energy of every training image: found once, on images as they are stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
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
    Term,
    TrialConfig,
)
from autokd.train.teachers import train_teacher
from autokd.train.trial import Trial
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2)
TEACHER = TeacherConfig("big", "resnet8", training=TeacherTraining(epochs=1, recipe=RecipeConfig(lr=0.1, batch=64)))
METHODS = [MethodConfig("energy_kd"), MethodConfig("high_energy", {"base": "energy_kd"})]


@pytest.fixture(scope="module")
def workshop():
    return Workshop(threads=1, signals="live")


@pytest.fixture(scope="module")
def teacher(workshop, tmp_path_factory):
    path = train_teacher(DIGITS, TEACHER, tmp_path_factory.mktemp("teachers"), workshop=workshop)
    return replace(TEACHER, training=None, checkpoint=str(path))


def trial_config(teacher, method):
    return TrialConfig(
        data=DIGITS,
        student=StudentConfig("resnet8x0.5"),
        teacher=teacher,
        policy=PolicyConfig("cutmix"),
        method=method,
        loss=LossConfig(0.1, 0.9),
        recipe=RecipeConfig(lr=0.05, batch=64, clip=5.0),
        epochs=0.4,
        seed=2,
    )


def energies_of(workshop, teacher):
    """Each training image on its own, neither cropped nor flipped, in float64 from the logits on."""
    loaded, model = workshop.data(DIGITS), workshop.teacher(DIGITS, teacher).model
    images = (loaded.pixels.float() / 255 - loaded.mean[0]) / loaded.std[0]
    with torch.no_grad():
        logits = model.eval()(images).double().numpy()
    return -4 * np.log(np.exp(logits / 4).sum(1))


def test_the_quantiles_are_those_of_the_training_images_as_they_are_stored(workshop, teacher):
    expected = np.quantile(energies_of(workshop, teacher), [0.2, 0.8])
    trial = Trial(workshop, trial_config(teacher, METHODS[0]))
    np.testing.assert_allclose(trial.extra.bounds.numpy(), expected, rtol=1e-3)


def test_the_bar_leaves_its_share_of_the_training_images_above_it(workshop, teacher):
    method = MethodConfig("high_energy", {"share": 0.3})
    trial = Trial(workshop, trial_config(teacher, method))
    above = (energies_of(workshop, teacher) >= trial.extra.bar.item()).mean()
    assert above == pytest.approx(0.3, abs=0.01)


def test_as_a_term_beside_another_method_it_knows_them_too(workshop, teacher):
    method = MethodConfig("kd", also=(Term("energy_kd", weight=0.5),))
    trial = Trial(workshop, trial_config(teacher, method))
    assert trial.extra.bounds.shape == (2,)


def test_one_teacher_is_asked_once_for_all_trials(workshop, teacher):
    model = workshop.teacher(DIGITS, teacher).model
    Trial(workshop, trial_config(teacher, METHODS[0]))
    asked = []
    hook = model.register_forward_pre_hook(lambda *_: asked.append(1))
    Trial(workshop, trial_config(teacher, METHODS[1]))
    hook.remove()
    assert not asked


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_resumed_trial_ends_exactly_like_an_uninterrupted_one(workshop, teacher, method, tmp_path):
    config = trial_config(teacher, method)
    whole = Trial(workshop, config)
    whole.advance(whole.total_images)
    first = Trial(workshop, config)
    first.advance(first.total_images // 2)
    first.save(tmp_path)
    again = Trial(Workshop(threads=1, signals="live"), config)
    again.load(tmp_path)
    again.advance(again.total_images)
    for one, other in zip(whole.scored.state_dict().values(), again.scored.state_dict().values(), strict=True):
        assert torch.equal(one, other)
