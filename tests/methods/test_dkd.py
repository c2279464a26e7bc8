"""Decoupled distillation: a value worked by hand, a NumPy reference, and what its parts make together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.dkd import dkd
from autokd.methods.kd import kd

STUDENT = torch.tensor([[1 / 3, 1 / 3, 1 / 3]]).log()
TEACHER = torch.tensor([[0.5, 0.4, 0.1]]).log()
TARGET = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))  # (1/2, 1/2) against (1/3, 2/3)
OTHERS = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)  # (4/5, 1/5) against (1/2, 1/2)
FIRST = torch.tensor([0])


def draw(seed, rows=6, classes=5, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, rows, classes, generator=generator)
    return student, teacher, torch.randint(0, classes, (rows,), generator=generator)


def softmax(z):
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.0, 1.0), (1.0, 8.0), (0.5, 2.0)])
def test_value_worked_by_hand(alpha, beta):
    loss = dkd(STUDENT, TEACHER, FIRST, 0.0, temperature=1.0, alpha=alpha, beta=beta, warmup=0.0)
    assert loss.item() == pytest.approx(alpha * TARGET + beta * OTHERS, rel=1e-5)


@pytest.mark.parametrize(
    ("epoch", "share"),
    [(0.0, 1 / 20), (0.999, 1 / 20), (1.0, 2 / 20), (9.0, 1 / 2), (9.7, 1 / 2), (18.99, 19 / 20), (19.0, 1.0), (200.5, 1.0)],
)
def test_it_rises_epoch_by_epoch_over_its_warmup_counted_from_one(epoch, share):
    loss = dkd(STUDENT, TEACHER, FIRST, epoch, temperature=1.0, alpha=1.0, beta=0.0, warmup=20.0)
    assert loss.item() == pytest.approx(share * TARGET, rel=1e-5)


@given(seed=st.integers(0, 100), temperature=st.floats(1, 8), alpha=st.floats(0, 4), beta=st.floats(0, 16))
def test_it_agrees_with_a_float64_reference(seed, temperature, alpha, beta):
    student, teacher, labels = draw(seed)
    total = 0.0
    for s, t, label in zip(student.double().numpy(), teacher.double().numpy(), labels.tolist(), strict=True):
        p, q = softmax(t[None] / temperature)[0], softmax(s[None] / temperature)[0]
        total += alpha * (
            p[label] * math.log(p[label] / q[label]) + (1 - p[label]) * math.log((1 - p[label]) / (1 - q[label]))
        )
        rest = [c for c in range(5) if c != label]
        a, b = p[rest] / p[rest].sum(), q[rest] / q[rest].sum()
        total += beta * (a * np.log(a / b)).sum()
    loss = dkd(student, teacher, labels, 0.0, temperature=temperature, alpha=alpha, beta=beta, warmup=0.0)
    assert loss.item() == pytest.approx(temperature**2 * total / 6, rel=2e-3, abs=1e-4)


@given(seed=st.integers(0, 100), temperature=st.floats(1, 8))
def test_with_the_other_classes_weighed_by_their_probability_it_is_kd(seed, temperature):
    """KL = target part + (1 - p of the label) x non-target part, so one row with beta = 1 - p of the label is KD."""
    student, teacher, labels = draw(seed, rows=1)
    beta = 1 - softmax(teacher.double().numpy() / temperature)[0, labels.item()]
    loss = dkd(student, teacher, labels, 0.0, temperature=temperature, alpha=1.0, beta=float(beta), warmup=0.0)
    torch.testing.assert_close(loss, kd(student, teacher, temperature=temperature), rtol=1e-3, atol=1e-4)


@given(seed=st.integers(0, 50), shift=st.floats(-50, 50))
def test_a_constant_added_to_every_logit_changes_nothing(seed, shift):
    student, teacher, labels = draw(seed)
    torch.testing.assert_close(
        dkd(student + shift, teacher - shift, labels, 30.0), dkd(student, teacher, labels, 30.0), rtol=1e-3, atol=1e-2
    )


def test_a_teacher_whose_probability_of_the_label_rounds_to_one_still_gives_finite_gradients():
    student = torch.tensor([[200.0, 0.0, 1.0], [-200.0, 0.0, 3.0]], requires_grad=True)
    teacher = torch.tensor([[300.0, 0.0, 2.0], [300.0, 0.0, 2.0]])
    loss = dkd(student, teacher, torch.tensor([0, 0]), 30.0, temperature=1.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


def test_the_part_of_the_label_leaves_the_order_of_the_other_classes_alone():
    swapped = TEACHER[:, [0, 2, 1]]
    loss = dkd(STUDENT, TEACHER, FIRST, 30.0, alpha=1.0, beta=0.0)
    torch.testing.assert_close(dkd(STUDENT, swapped, FIRST, 30.0, alpha=1.0, beta=0.0), loss)
