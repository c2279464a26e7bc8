"""Relational distillation against a value worked by hand, a float64 loop and its identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from feature_fakes import features
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.rkd_park import rkd_park
from autokd.models.features import Features


def pooled(x):
    """Features of which only the pooled vectors are read."""
    return Features((), torch.as_tensor(x, dtype=torch.float32), torch.zeros(len(x), 2), ())


def test_value_worked_by_hand():
    """Student: a right-angled triangle with legs 3 and 4. Teacher: three points on a line, 0, 1 and 2.

    Distances over their means: (3, 4, 5) / 4 and (1, 2, 1) / (4/3); differences 0, 1/2 and 1/2, of which smooth L1 makes half
    the squares: two of the three pairs 1/8, both ways, over 9 entries. Cosines at the corners: 0, 3/5, 4/5 against 1, -1, 1, and
    those of a direction with itself, 1 in both. The mean is over 27 entries, where each corner's angle stands twice.
    """
    student = pooled([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    teacher = torch.tensor([[0.0], [1.0], [2.0]])
    # pairs (0, 1), (0, 2), (1, 2): student 3/4, 1, 5/4; teacher 3/4, 3/2, 3/4
    expected = 2 * (0.125 + 0.125) / 9
    assert rkd_park(student, teacher, distance_weight=1.0, angle_weight=0.0).item() == pytest.approx(expected, rel=1e-5)
    # |1 - 0| = 1 -> 1/2;  |-1 - 3/5| = 1.6 -> 1.1;  |1 - 4/5| = 0.2 -> 0.02
    expected = 2 * (0.5 + 1.1 + 0.02) / 27
    assert rkd_park(student, teacher, distance_weight=0.0, angle_weight=1.0).item() == pytest.approx(expected, rel=1e-5)


def huber(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def reference(student, teacher):
    """(distances, angles) in float64, pair by pair and triplet by triplet."""
    both = [x.double().numpy() for x in (student, teacher)]
    count = len(student)
    far = [[[math.dist(x[i], x[j]) for j in range(count)] for i in range(count)] for x in both]
    means = [sum(map(sum, d)) / (count * (count - 1)) for d in far]
    apart = sum(huber(far[0][i][j] / means[0] - far[1][i][j] / means[1]) for i in range(count) for j in range(count))

    def cosine(x, i, j, k):
        if i in (j, k):
            return 0.0
        a, b = x[j] - x[i], x[k] - x[i]
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    places = range(count)
    turned = sum(huber(cosine(both[0], i, j, k) - cosine(both[1], i, j, k)) for i in places for j in places for k in places)
    return apart / count**2, turned / count**3


def test_it_agrees_with_a_float64_reference():
    student, teacher = features(seed=1), features(shapes=[(3, 16), (20, 4)], seed=2)
    apart, turned = reference(student.pooled, teacher.pooled)
    assert rkd_park(student, teacher.pooled).item() == pytest.approx(25 * apart + 50 * turned, rel=1e-4)


@given(scale=st.floats(0.05, 20), seed=st.integers(0, 50))
def test_a_scaled_moved_and_turned_teacher_says_the_same(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 6, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    assert rkd_park(pooled(x), (x @ turn) * scale + 3).item() == pytest.approx(0.0, abs=1e-4)


def test_two_views_of_one_image_that_agree_leave_finite_gradients():
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    x = x[[0, 0, 1, 2]].requires_grad_()
    rkd_park(Features((), x, torch.zeros(4, 2), ()), torch.randn(4, 3)).backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
