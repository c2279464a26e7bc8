"""Plain distillation against values worked by hand, a NumPy reference and its identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.kd import kd


def test_value_worked_by_hand():
    student = torch.zeros(1, 2)  # (1/2, 1/2)
    teacher = torch.tensor([[3.0, 1.0]]).log()  # (3/4, 1/4)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kd(student, teacher, temperature=1.0).item() == pytest.approx(expected, rel=1e-5)


def test_value_worked_by_hand_at_temperature_two():
    """Halved, the teacher's logits log 9 and 0 are log 3 and 0: (3/4, 1/4) again; the loss is that of above four times."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(9.0), 0.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert kd(student, teacher, temperature=2.0).item() == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 100), temperature=st.floats(0.5, 20))
def test_it_agrees_with_a_float64_reference(seed, temperature):
    student, teacher = 4 * torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(seed))

    def log_softmax(z):
        z = z.double().numpy() / temperature
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    p, q = log_softmax(teacher), log_softmax(student)
    expected = temperature**2 * (np.exp(p) * (p - q)).sum(1).mean()
    assert kd(student, teacher, temperature=temperature).item() == pytest.approx(expected, rel=2e-3, abs=1e-4)


@given(shift=st.floats(-50, 50), temperature=st.floats(0.5, 20))
def test_a_constant_added_to_every_logit_changes_nothing(shift, temperature):
    student, teacher = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0))
    loss = kd(student, teacher, temperature=temperature)
    torch.testing.assert_close(kd(student + shift, teacher - shift, temperature=temperature), loss, rtol=1e-3, atol=1e-4)


def test_at_a_high_temperature_it_is_half_the_squared_distance_of_centred_logits_over_the_classes():
    """Section 2.1 of the paper: with zero-mean logits the gradient nears (z - v) / (N T^2), times the T^2 of the loss."""
    student, teacher = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = 0.5 * (centred**2).mean(1).mean()
    assert kd(student, teacher, temperature=500.0).item() == pytest.approx(expected.item(), rel=0.03)
