"""Attention transfer against a value worked by hand and a NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_fakes import features, of_maps
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.at import at


def test_value_worked_by_hand():
    """Two places: the student's attention (9, 16) / sqrt(337), the teacher's (1, 0): the mean of the two squares."""
    student = of_maps(torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, 4.0]]]]))
    teacher = of_maps(torch.zeros(1, 1, 1, 2), torch.tensor([[[[5.0, 0.0]]]]))
    one, two = 9 / np.sqrt(337), 16 / np.sqrt(337)
    assert at(student, teacher).item() == pytest.approx(((one - 1) ** 2 + two**2) / 2, rel=1e-5)


def reference(student, teacher, power):
    def attention(x):
        flat = (np.abs(x) ** power).mean(1).reshape(len(x), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    total = 0.0
    for one, other in zip(student.stages[1:], teacher.stages[1:], strict=True):
        one, other = one.double().numpy(), other.double().numpy()
        if one.shape[-1] > other.shape[-1]:
            side = other.shape[-1]
            one = one.reshape(*one.shape[:2], side, 2, side, 2).mean((3, 5))
        total += ((attention(one) - attention(other)) ** 2).mean()
    return total


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("shapes", [[(3, 8), (5, 8), (12, 4), (20, 2)], [(3, 8), (5, 4), (12, 2), (20, 1)]])
def test_it_agrees_with_a_float64_reference(power, shapes):
    student, teacher = features(seed=1), features(shapes=shapes, seed=2)
    expected = reference(student, teacher, power)
    assert at(student, teacher, power=power).item() == pytest.approx(expected, rel=1e-3)


@given(scale=st.floats(0.1, 10))
def test_the_strength_of_a_map_does_not_matter_only_its_shape(scale):
    student = features(seed=1)
    scaled = of_maps(*(x * scale for x in student.stages))
    assert at(student, scaled).item() == pytest.approx(0.0, abs=1e-10)


def test_the_order_and_the_number_of_channels_do_not_matter():
    student, teacher = features(seed=1), features(seed=2)
    turned = of_maps(*(x.flip(1) for x in teacher.stages))
    doubled = of_maps(*(torch.cat([x, x], 1) for x in teacher.stages))
    torch.testing.assert_close(at(student, turned), at(student, teacher))
    torch.testing.assert_close(at(student, doubled), at(student, teacher))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_gradient_is_finite_where_a_map_is_all_zero(power):
    maps = [torch.zeros(2, 3, 2, 2, requires_grad=True) for _ in range(2)]
    at(of_maps(*maps), of_maps(*(torch.rand(2, 3, 2, 2) for _ in maps)), power=power).backward()
    assert maps[1].grad.isfinite().all()
