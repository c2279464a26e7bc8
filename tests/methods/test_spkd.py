"""Similarity-preserving distillation against a value worked by hand, a NumPy reference and its identities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_fakes import features, of_maps
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.spkd import spkd


def test_value_worked_by_hand():
    """Student rows (1, 0) and (0, 1): the identity matrix. Teacher rows alike: all entries 1/sqrt(2) after the norm."""
    student = of_maps(torch.zeros(2, 1, 1, 1), torch.eye(2).view(2, 2, 1, 1))
    teacher = of_maps(torch.zeros(2, 1, 1, 1), torch.ones(2, 2, 1, 1))
    half = 1 / np.sqrt(2)
    assert spkd(student, teacher).item() == pytest.approx((2 * (1 - half) ** 2 + 2 * half**2) / 4, rel=1e-5)


def reference(student, teacher):
    def matrix(x):
        flat = x.double().numpy().reshape(len(x), -1)
        gram = flat @ flat.T
        return gram / np.linalg.norm(gram, axis=1, keepdims=True)

    return ((matrix(student) - matrix(teacher)) ** 2).sum() / len(student) ** 2


@pytest.mark.parametrize("layer", ["last", "all", "pooled"])
def test_it_agrees_with_a_float64_reference(layer):
    student, teacher = features(seed=1), features(shapes=[(3, 16), (5, 8), (12, 4), (20, 4)], seed=2)
    pairs = {
        "last": [(student.stages[-1], teacher.stages[-1])],
        "all": list(zip(student.stages[1:], teacher.stages[1:], strict=True)),
        "pooled": [(student.pooled, teacher.pooled)],
    }[layer]
    expected = sum(reference(one, other) for one, other in pairs)
    assert spkd(student, teacher, layer=layer).item() == pytest.approx(expected, rel=1e-4)


@given(scale=st.floats(0.05, 20), seed=st.integers(0, 50))
def test_a_scaled_and_turned_teacher_says_the_same(scale, seed):
    """G is unchanged by an orthogonal turn of the features and its norm removes one common scale."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 6, 1, 1, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    turned = (x[:, :, 0, 0] @ turn * scale)[:, :, None, None]
    assert spkd(of_maps(x, x), of_maps(turned, turned)).item() == pytest.approx(0.0, abs=1e-9)


def test_a_scale_of_one_image_alone_does_matter():
    x = torch.randn(4, 6, 1, 1, generator=torch.Generator().manual_seed(0))
    scaled = x.clone()
    scaled[0] *= 5
    assert spkd(of_maps(x, x), of_maps(scaled, scaled)).item() > 1e-3
