"""Cosine Confidence Distillation: its weight by hand, a NumPy reference, pairing by image, and KD as the case of weight one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.ccd import ccd, confidence
from autokd.methods.kd import kd

HALF = torch.tensor([[0.0, 0.0]])
TEACHER = torch.tensor([[math.log(3.0), 0.0]])  # (3/4, 1/4)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # of a student of (1/2, 1/2)


def draw(seed, rows=8, classes=6):
    return 3 * torch.randn(3, rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("plain", "weight"),
    [([[2.0, 0.0]], 2.0), ([[0.0, 5.0]], 1.0), ([[-1.0, 0.0]], 0.0), ([[1.0, 1.0]], 1 + 1 / math.sqrt(2))],
)
def test_the_weight_is_one_plus_the_cosine_of_raw_logits(plain, weight):
    """The view's logits lie along (1, 0): alike, at a right angle, opposite, and at 45 degrees."""
    loss = ccd(HALF, TEACHER, torch.tensor(plain), torch.tensor([True]), temperature=1.0)
    assert loss.item() == pytest.approx(weight * KL, abs=1e-6)


def test_a_plain_row_has_the_weight_one_whatever_stands_beside_it():
    loss = ccd(HALF, TEACHER, torch.tensor([[-1.0, 0.0]]), torch.tensor([False]), temperature=1.0)
    assert loss.item() == pytest.approx(KL, rel=1e-5)


def test_the_mean_normalised_weight_divides_by_the_mean_over_augmented_rows():
    """Weights 2 and 1 have the mean 3/2: 4/3 and 2/3; the plain row keeps 1. Losses are KL, 0 and KL."""
    student = torch.cat([HALF, TEACHER, HALF])
    teacher = torch.cat([TEACHER, TEACHER, TEACHER])
    plain = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    augmented = torch.tensor([True, True, False])
    loss = ccd(student, teacher, plain, augmented, temperature=1.0, normalise_weight=True)
    assert loss.item() == pytest.approx((4 / 3 * KL + 0 + KL) / 3, rel=1e-5)


@given(seed=st.integers(0, 100), temperature=st.floats(1, 10), normalise=st.booleans())
def test_it_agrees_with_a_float64_reference(seed, temperature, normalise):
    student, teacher, plain = draw(seed)
    augmented = torch.arange(8) % 3 != 0
    s, t, o = (x.double().numpy() for x in (student, teacher, plain))

    def log_softmax(z):
        z = z / temperature
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    p, q = log_softmax(t), log_softmax(s)
    weight = 1 + (t * o).sum(1) / (np.linalg.norm(t, axis=1) * np.linalg.norm(o, axis=1))
    flags = augmented.numpy()
    if normalise:
        weight = weight / weight[flags].mean()
    expected = temperature**2 * (np.where(flags, weight, 1) * (np.exp(p) * (p - q)).sum(1)).mean()
    loss = ccd(student, teacher, plain, augmented, temperature=temperature, normalise_weight=normalise)
    assert loss.item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("plain", "power", "exponential"),
    [
        ([[2.0, 0.0]], 1.0, 1.0),
        ([[0.0, 5.0]], 0.0, math.exp(-2)),
        ([[-1.0, 0.0]], 0.0, math.exp(-4)),
        ([[1, 1]], 0.5, None),
    ],
)
def test_other_maps_of_the_cosine_worked_by_hand(plain, power, exponential):
    """Cosines 1, 0, -1 and 1 / root 2 at a sharpness of 2: squared, or exp(2 (cos - 1))."""
    exponential = math.exp(2 * (math.sqrt(0.5) - 1)) if exponential is None else exponential
    for name, weight in (("power", power), ("exponential", exponential)):
        signals = (HALF, TEACHER, torch.tensor(plain).float(), torch.tensor([True]))
        loss = ccd(*signals, temperature=1.0, weight_map=name, sharpness=2.0)
        assert loss.item() == pytest.approx(weight * KL, abs=1e-6)


def test_the_cosine_of_probabilities_worked_by_hand():
    """(3/4, 1/4) against (1/4, 3/4): 6/16 over 10/16, so the weight is 1.6."""
    loss = ccd(HALF, TEACHER, TEACHER.flip(1), torch.tensor([True]), temperature=1.0, cosine_of="probabilities")
    assert loss.item() == pytest.approx(1.6 * KL, rel=1e-5)


@given(seed=st.integers(0, 50), scale=st.floats(0.1, 10))
def test_the_weight_does_not_see_the_size_of_the_logits(seed, scale):
    _, teacher, plain = draw(seed)
    augmented = torch.ones(8, dtype=torch.bool)
    torch.testing.assert_close(
        confidence(teacher, scale * plain, augmented), confidence(teacher, plain, augmented), rtol=1e-4, atol=1e-5
    )


@given(seed=st.integers(0, 100), temperature=st.floats(1, 10))
def test_with_every_weight_one_it_is_kd(seed, temperature):
    """A plain view that the teacher answers at a right angle to the augmented one: cosine 0, weight 1."""
    student, teacher, other = draw(seed)
    along = (other * teacher).sum(1, keepdim=True) / (teacher * teacher).sum(1, keepdim=True)
    loss = ccd(student, teacher, other - along * teacher, torch.ones(8, dtype=torch.bool), temperature=temperature)
    torch.testing.assert_close(loss, kd(student, teacher, temperature=temperature), rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 100), order=st.permutations(range(8)))
def test_rows_are_paired_by_image_so_their_order_is_free(seed, order):
    signals = (*draw(seed), torch.arange(8) < 3)
    torch.testing.assert_close(ccd(*(x[list(order)] for x in signals)), ccd(*signals), rtol=1e-4, atol=1e-5)


def test_the_weight_sends_no_gradient_anywhere():
    student, teacher, plain = draw(0)
    plain.requires_grad_(True)
    student.requires_grad_(True)
    ccd(student, teacher, plain, torch.ones(8, dtype=torch.bool)).backward()
    assert plain.grad is None and student.grad is not None
