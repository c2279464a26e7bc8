"""How terms are weighed: hand-worked values, what always holds, and a trial that resumes with its factors."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
from autokd.errors import AutokdError
from autokd.methods.build import build_method
from autokd.train.teachers import train_teacher
from autokd.train.trial import Trial
from autokd.train.weights import Weights, by_gradients, by_ratios, by_uncertainty
from autokd.train.workshop import Workshop

CPU = torch.device("cpu")
POSITIVE = st.floats(0.01, 100)


def test_gradients_that_agree_disagree_or_stand_upright_worked_by_hand():
    task = torch.tensor([3.0, 4.0])  # of norm 5
    terms = [
        torch.tensor([6.0, 8.0]),  # the same way, twice as long: 1 x 5 / 10
        torch.tensor([-3.0, -4.0]),  # against
        torch.tensor([4.0, -3.0]),  # upright
        torch.tensor([1.0, 0.0]),  # cosine 3/5, norm 1: 3/5 x 5
        torch.zeros(2),
    ]
    assert by_gradients(task, terms).tolist() == pytest.approx([0.5, 0, 0, 3, 0])


@given(scale=POSITIVE, seed=st.integers(0, 99))
def test_a_louder_term_has_an_inversely_smaller_factor_never_below_zero(scale, seed):
    task, term = torch.randn(2, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plain, louder = by_gradients(task, [term, scale * term]).tolist()
    assert plain >= 0
    assert louder == pytest.approx(plain / scale)
    cosine = (task @ term).item() / (task.norm() * term.norm()).item()
    assert plain == pytest.approx(max(0.0, cosine) * (task.norm() / term.norm()).item())


def test_loss_ratios_worked_by_hand():
    """Ratios 1 and 1 + 2 ln 3 at temperature 2: softmax (1/4, 3/4), times two losses."""
    last = torch.tensor([2.0, 1 + 2 * math.log(3)])
    assert by_ratios(last, torch.tensor([2.0, 1.0])).tolist() == pytest.approx([0.5, 1.5])


@given(last=st.lists(POSITIVE, min_size=3, max_size=3), scale=POSITIVE)
def test_loss_ratio_factors_have_mean_one_and_do_not_know_units(last, scale):
    before = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    now = torch.tensor(last, dtype=torch.float64)
    factors = by_ratios(now, before)
    assert factors.mean().item() == pytest.approx(1)
    units = torch.tensor([scale, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(by_ratios(now * units, before * units), factors)


def test_a_step_of_uncertainty_worked_by_hand():
    """At s = 0 the gradient is 1 - loss: 1/2, 0, and -3 held at -1."""
    moved = by_uncertainty(torch.zeros(3), torch.tensor([0.5, 1.0, 4.0]), 0.1)
    assert moved.tolist() == pytest.approx([-0.05, 0.0, 0.1])


@given(loss=POSITIVE)
def test_uncertainty_comes_to_rest_where_the_factor_is_one_over_the_loss(loss):
    scale = torch.zeros(1, dtype=torch.float64)
    for _ in range(400):
        scale = by_uncertainty(scale, torch.tensor([loss], dtype=torch.float64), 0.1)
    assert math.exp(-scale.item()) == pytest.approx(1 / loss, rel=1e-3)


def test_uncertainty_weighs_the_smaller_loss_more_and_keeps_the_mean():
    weights = Weights("uncertainty", 2, task=True, steps=1000, memory=0.9, device=CPU)
    for step in range(300):
        weights.see_losses(step, torch.tensor([1.0, 4.0]))
    assert weights.factors.tolist() == pytest.approx([1.6, 0.4], rel=1e-3)  # 1 and 1/4, over their mean 5/8


def test_loss_ratio_compares_the_last_two_windows():
    """100 steps are 50 windows of two. The second loss halves from one window to the next, the first stays."""
    weights = Weights("loss_ratio", 2, task=True, steps=100, memory=0.9, device=CPU)
    for step in range(4):
        assert weights.factors.tolist() == [1, 1]
        weights.see_losses(step, torch.tensor([3.0, 8.0 if step < 2 else 4.0]))
    weights.see_losses(4, torch.tensor([3.0, 4.0]))
    share = math.exp(1 / 2) / (math.exp(1 / 2) + math.exp(1 / 4))
    assert weights.factors.tolist() == pytest.approx([2 * share, 2 - 2 * share])


def test_gradient_factors_are_a_mean_at_first_and_then_a_moving_average():
    weights = Weights("gradient_cosine", 2, task=True, steps=100, memory=0.5, device=CPU)
    one = torch.ones(1)
    for scale, expected in ((1.0, 1.0), (0.5, 1.5), (1 / 3, 2.25), (0.25, 3.125)):  # says 1, 2, 3, 4
        weights.see_gradients([one, scale * one])
        assert weights.factors.tolist() == pytest.approx([1.0, expected])
    assert [step for step in range(25) if weights.wants_gradients(step)] == [0, 10, 20]


# -- in a trial --------------------------------------------------------------------------------------------------------

DIGITS = DataConfig("digits", validation=0.2)
RECIPE = RecipeConfig(lr=0.05, batch=64, clip=5.0)
TEACHER = TeacherConfig("big", "resnet14", training=TeacherTraining(epochs=1, recipe=RecipeConfig(lr=0.1, batch=64)))
SCHEMES = ("fixed", "gradient_cosine", "loss_ratio", "uncertainty")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(threads=1, cache_dir=tmp_path_factory.mktemp("signals"))


@pytest.fixture(scope="module")
def teacher(workshop, tmp_path_factory):
    path = train_teacher(DIGITS, TEACHER, tmp_path_factory.mktemp("teachers"), workshop=workshop)
    return replace(TEACHER, training=None, checkpoint=str(path))


def trial_config(teacher, also=(), adapt="fixed", method="kd", **changes):
    config = TrialConfig(
        data=DIGITS,
        student=StudentConfig("resnet8"),
        teacher=teacher,
        policy=PolicyConfig("jda_cifar10"),
        method=MethodConfig(method, also=tuple(also)),
        loss=LossConfig(ce_weight=0.3, kd_weight=0.7, adapt=adapt),
        recipe=RECIPE,
        epochs=0.9,
        seed=7,
    )
    return replace(config, **changes)


TERMS = (Term("spkd", weight=3000.0), Term("crd", {"negatives": 64, "width": 32}, 0.8))


@pytest.mark.parametrize("adapt", SCHEMES)
def test_terms_and_factors_resume_exactly(workshop, teacher, adapt, tmp_path):
    config = trial_config(teacher, TERMS, adapt)
    whole = Trial(workshop, config)
    whole.advance(whole.total_images)
    first = Trial(workshop, config)
    first.advance(first.total_images // 2 + 64)
    first.save(tmp_path)
    again = Trial(workshop, config)
    again.load(tmp_path)
    assert torch.equal(first.weights.factors, again.weights.factors)
    again.advance(again.total_images)
    for one, other in ((whole.student, again.student), (whole.extra, again.extra)):
        other_state = other.state_dict()
        assert all(torch.equal(value, other_state[name]) for name, value in one.state_dict().items())
    assert torch.equal(whole.weights.factors, again.weights.factors)
    assert (adapt == "fixed") == (whole.weights.factors.tolist() == [1, 1, 1, 1])
    assert whole.weights.factors.isfinite().all() and (whole.weights.factors >= 0).all()


def test_the_loss_is_the_weighted_sum_of_what_each_method_says_alone(workshop, teacher):
    spkd = trial_config(teacher, method="spkd", loss=LossConfig(ce_weight=0.0, kd_weight=1.0))
    kd = trial_config(teacher, loss=LossConfig(ce_weight=0.3, kd_weight=0.7))
    both = trial_config(teacher, (Term("spkd", weight=20.0),))
    alone = [Trial(workshop, config).loss(0).item() for config in (kd, spkd)]
    assert Trial(workshop, both).loss(0).item() == pytest.approx(alone[0] + 20 * alone[1], rel=1e-4)


def test_factors_multiply_the_weights(workshop, teacher):
    trial = Trial(workshop, trial_config(teacher, TERMS[:1], "uncertainty"))
    trial.weights.factors = torch.tensor([2.0, 3.0, 5.0])
    cross, kd, spkd = (part.item() for part in trial.parts(0))
    expected = 2 * 0.3 * cross + 3 * 0.7 * kd + 5 * 3000 * spkd
    again = Trial(workshop, trial_config(teacher, TERMS[:1], "uncertainty"))
    again.weights.factors = torch.tensor([2.0, 3.0, 5.0])
    assert again.loss(0).item() == pytest.approx(expected, rel=1e-5)


def test_a_term_of_weight_zero_changes_nothing(teacher):
    workshop = Workshop(threads=1, signals="live")
    plain, with_term = trial_config(teacher), trial_config(teacher, (Term("spkd", weight=0.0),))
    assert Trial(workshop, plain).loss(0).item() == Trial(workshop, with_term).loss(0).item()


def test_the_parts_of_a_term_train_and_are_not_in_the_student(workshop, teacher):
    trial = Trial(workshop, trial_config(teacher, TERMS))
    before = [p.detach().clone() for p in trial.extra.parameters()]
    trial._train_step()
    assert before and all(not torch.equal(a, b) for a, b in zip(before, trial.extra.parameters(), strict=True))
    plain = Trial(workshop, trial_config(teacher))
    assert list(trial.scored.state_dict()) == list(plain.scored.state_dict())


def test_the_cosine_is_that_of_the_whole_gradients(workshop, teacher):
    """Worked in float64 from one backward pass for each loss."""
    trial = Trial(workshop, trial_config(teacher, adapt="gradient_cosine"))
    gradients = []
    for position, weight in ((0, 0.3), (1, 1.0)):
        fresh = Trial(workshop, trial_config(teacher, adapt="gradient_cosine"))
        fresh.student.train()
        (weight * fresh.parts(0)[position]).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in fresh.student.parameters()]).double())
    task, term = gradients
    trial.student.train()
    trial._train_step()
    expected = max(0.0, (task @ term / (term @ term)).item())
    assert trial.weights.factors.tolist() == pytest.approx([1.0, expected], rel=1e-3)


@pytest.mark.parametrize("name", ["sskd", "hsakd", "res_rkd", "multilevel", "ce"])
def test_what_changes_the_whole_batch_is_refused_as_a_term(workshop, teacher, name):
    assert build_method(name).alone
    with pytest.raises(AutokdError, match="cannot be a term"):
        Trial(workshop, trial_config(teacher, (Term(name),)))


def test_terms_that_make_no_sense_are_refused(workshop, teacher):
    with pytest.raises(AutokdError, match="stands twice"):
        Trial(workshop, trial_config(teacher, (Term("kd"),)))
    with pytest.raises(AutokdError, match="ce has no teacher"):
        Trial(workshop, trial_config(None, (Term("kd"),), method="ce"))
    with pytest.raises(AutokdError, match="compares with the cross-entropy"):
        loss = LossConfig(ce_weight=0.0, adapt="gradient_cosine")
        Trial(workshop, trial_config(teacher, loss=loss))
    with pytest.raises(AutokdError, match="no way to adapt"):
        Trial(workshop, trial_config(teacher, adapt="gradnorm"))


def test_a_configuration_from_before_terms_keeps_its_key_and_loads():
    config = trial_config(None, method="ce", loss=LossConfig())
    told = config.to_dict()
    assert "also" not in told["method"] and "adapt" not in told["loss"]
    assert TrialConfig.from_dict(told) == config


def test_terms_survive_the_way_through_json():
    import json

    config = trial_config(None, TERMS, "loss_ratio")
    assert TrialConfig.from_dict(json.loads(config.to_json())) == config
