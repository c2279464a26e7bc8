"""Multi-level logit distillation: a value worked by hand, a NumPy reference, and KD at five temperatures as its case."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.kd import kd
from autokd.methods.mlkd import mlkd

TEMPERATURES = (4.0, 2.0, 3.0, 5.0, 6.0)  # the first is the setting, the others are fixed


def draw(seed, rows=8, classes=5):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn(2, rows, classes, generator=generator)
    return student, teacher, torch.rand(rows, generator=generator) < 0.5


def test_consistency_worked_by_hand():
    """One row: student (1/2, 1/2) at every temperature, teacher (1, 0) (logits 1000 apart).

    Images: P P^T is 1/2 against 1: (1/2)^2 / 1 = 1/4. Classes: all 1/4 against diag(1, 0): (9 + 1 + 1 + 1) / 16 / 2 = 3/8.
    """
    student, teacher, plain = torch.zeros(1, 2), torch.tensor([[1000.0, 0.0]]), torch.tensor([False])

    def loss(**weights):
        return mlkd(student, teacher, plain, unsure=1.0, **{"batch_weight": 0.0, "class_weight": 0.0, **weights}).item()

    divergences = sum(t**2 * math.log(2) for t in TEMPERATURES)
    assert loss() == pytest.approx(divergences, rel=1e-5)
    assert loss(batch_weight=1.0) - loss() == pytest.approx(5 / 4, rel=1e-3)
    assert loss(class_weight=1.0) - loss() == pytest.approx(15 / 8, rel=1e-3)


@given(seed=st.integers(0, 60), unsure=st.sampled_from([0.2, 0.5, 1.0]), ours=st.floats(0, 3), theirs=st.floats(0, 3))
def test_it_agrees_with_a_float64_reference(seed, unsure, ours, theirs):
    student, teacher, augmented = draw(seed)
    expected = 0.0
    for flags, share in ((~augmented, unsure), (augmented, 1.0)):
        s, t = (z[flags].double().numpy() for z in (student, teacher))
        if not len(s):
            continue

        def softmax(z, temperature):
            z = np.exp(z / temperature)
            return z / z.sum(1, keepdims=True)

        sure = softmax(t, 1.0)
        rows = sure.max(1) <= np.quantile(sure.max(1), share) + 1e-12
        columns = sure.sum(0) <= np.quantile(sure.sum(0), share) + 1e-12
        part = 0.0
        for warm in TEMPERATURES:
            p, q = softmax(t, warm), softmax(s, warm)
            part += (rows * (p * np.log(p / q)).sum(1)).mean() * warm**2
            part += ours * (((p @ p.T - q @ q.T) ** 2)[:, rows]).sum() / len(s)
            part += theirs * (((p.T @ p - q.T @ q) ** 2)[:, columns]).sum() / 5
        expected += len(s) / 8 * part
    loss = mlkd(student, teacher, augmented, unsure=unsure, batch_weight=ours, class_weight=theirs)
    assert loss.item() == pytest.approx(expected, rel=2e-3)


@given(seed=st.integers(0, 50), temperature=st.floats(1, 8))
def test_without_masks_and_consistencies_it_is_kd_at_five_temperatures(seed, temperature):
    student, teacher, augmented = draw(seed)
    expected = sum(kd(student, teacher, temperature=warm) for warm in (temperature, *TEMPERATURES[1:]))
    found = mlkd(student, teacher, augmented, temperature=temperature, batch_weight=0.0, class_weight=0.0, unsure=1.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_mask_drops_the_plain_rows_the_teacher_is_surest_of_and_no_augmented_row():
    student, teacher = torch.zeros(4, 2), torch.tensor([[9.0, 0.0], [1.0, 0.0], [2.0, 0.0], [8.0, 0.0]])

    def reached(augmented):
        leaf = student.clone().requires_grad_(True)
        mlkd(leaf, teacher, torch.full((4,), augmented), batch_weight=0.0, class_weight=0.0).backward()
        return leaf.grad.abs().sum(1) > 0

    assert reached(False).tolist() == [False, True, True, False]
    assert reached(True).tolist() == [True] * 4


def test_a_student_that_is_the_teacher_costs_nothing():
    student, _, augmented = draw(0)
    assert mlkd(student, student.clone(), augmented).item() == pytest.approx(0.0, abs=1e-5)
