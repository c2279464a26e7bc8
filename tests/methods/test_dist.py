"""DIST: a value worked by hand, a NumPy reference, and what a correlation does not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.dist import dist


def draw(seed, rows=7, classes=5, scale=2.0):
    return scale * torch.randn(2, rows, classes, generator=torch.Generator().manual_seed(seed))


def test_value_worked_by_hand():
    """Rows (.5 .3 .2) and (.3 .4 .3) against (.5 .2 .3) and (.3 .4 .3).

    Centred in thousandths the first rows are (167 -33 -133) and (167 -133 -33): 31667 / 46667 x ... = 0.7857; the second
    rows are equal: 1. Of two images each column's correlation is the sign of (rise x rise): 1, 1 and 0, as the teacher's
    last column does not vary.
    """
    student = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3]]).log()
    teacher = torch.tensor([[0.5, 0.2, 0.3], [0.3, 0.4, 0.3]]).log()
    rows = 1 - (11 / 14 + 1) / 2
    # thirds: (1/6, -1/30, -2/15) . (1/6, -2/15, -1/30) = 11/300, and each square sum is 14/300
    columns = 1 - (1 + 1 + 0) / 3
    loss = dist(student, teacher, temperature=1.0, beta=1.0, gamma=0.0)
    assert loss.item() == pytest.approx(rows, rel=1e-4)
    assert dist(student, teacher, temperature=1.0, beta=0.0, gamma=1.0).item() == pytest.approx(columns, rel=1e-4)


@given(seed=st.integers(0, 100), temperature=st.floats(1, 8), beta=st.floats(0, 4), gamma=st.floats(0, 4))
def test_it_agrees_with_a_float64_reference(seed, temperature, beta, gamma):
    student, teacher = draw(seed)

    def softmax(z):
        z = np.exp(z.double().numpy() / temperature)
        return z / z.sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    rows = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    columns = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    expected = temperature**2 * (beta * (1 - rows) + gamma * (1 - columns))
    loss = dist(student, teacher, temperature=temperature, beta=beta, gamma=gamma)
    assert loss.item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def released(student, teacher, temperature):
    """The loss and its gradient in float64, with 1e-8 beside the product of the norms as in the authors' file."""
    leaf = student.double().requires_grad_(True)
    p, q = (torch.softmax(z / temperature, 1) for z in (teacher.double(), leaf))

    def relation(x, y):
        x, y = (z - z.sum(1, keepdim=True) / z.shape[1] for z in (x, y))
        dot, lengths = (x * y).sum(1), (x * x).sum(1).sqrt() * (y * y).sum(1).sqrt()
        return 1 - (dot / (lengths + 1e-8)).mean()

    loss = temperature**2 * (relation(q, p) + relation(q.T, p.T))
    loss.backward()
    return loss.item(), leaf.grad


@pytest.mark.parametrize(("rows", "classes", "scale"), [(4, 100, 4.0), (8, 100, 6.0), (16, 1000, 3.0)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_class_that_is_improbable_in_the_whole_batch_hardly_counts(rows, classes, scale, temperature):
    """At temperature 1 most classes of a small batch are: norms held up one by one would multiply their gradient."""
    student, teacher = draw(1, rows, classes, scale)
    value, gradient = released(student, teacher, temperature)
    leaf = student.clone().requires_grad_(True)
    loss = dist(leaf, teacher, temperature=temperature)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-4)
    assert ((leaf.grad.double() - gradient).norm() / gradient.norm()).item() < 1e-3


@given(seed=st.integers(0, 50), share=st.floats(0.1, 0.9))
def test_rows_flattened_towards_uniform_cost_nothing(seed, share):
    """share x p + (1 - share) / C is a rising linear function of p in every row and every column."""
    _, teacher = draw(seed)
    p = teacher.softmax(1)
    student = (share * p + (1 - share) / p.shape[1]).log()
    assert dist(student, teacher, temperature=1.0).item() == pytest.approx(0.0, abs=2e-4)


@given(seed=st.integers(0, 50), data=st.data())
def test_the_part_within_rows_does_not_see_how_far_each_image_is_flattened(seed, data):
    _, teacher = draw(seed)
    p = teacher.softmax(1)
    share = torch.tensor(data.draw(st.lists(st.floats(0.1, 0.9), min_size=7, max_size=7)))[:, None]
    student = (share * p + (1 - share) / p.shape[1]).log()
    assert dist(student, teacher, temperature=1.0, gamma=0.0).item() == pytest.approx(0.0, abs=1e-4)


def test_the_order_of_the_teachers_classes_counts():
    student, teacher = draw(0)
    assert dist(student, teacher).item() > 0.1 > dist(teacher, teacher).item()


def test_one_image_has_no_relation_to_others():
    student, teacher = draw(3, rows=1)
    torch.testing.assert_close(dist(student, teacher, gamma=4.0), dist(student, teacher, gamma=0.0))


def test_columns_without_any_spread_give_finite_gradients():
    student = torch.zeros(4, 3, requires_grad=True)
    loss = dist(student, torch.zeros(4, 3))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()
