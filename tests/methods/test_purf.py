"""PURF's smoothing by hand and by a NumPy reference, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_fakes import features, of_maps
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.at import at
from autokd.methods.purf import purf

INDEX, LABELS = torch.arange(5), torch.tensor([0, 1, 2, 0, 1])


def loss(module, student, teacher):
    torch.manual_seed(3)
    module.build_parts(student, teacher)
    module.know_data(INDEX, LABELS)
    return module(student, teacher, INDEX, LABELS, 0.0)


def smooth(values, **settings):
    """One image, one place, these channel values."""
    x = torch.tensor(values).view(1, -1, 1, 1)
    return purf(**settings).smoothed(of_maps(x)).stages[0].flatten().tolist()


def test_values_worked_by_hand():
    """Reflected neighbours of (1, 4, 10): (4, 1, 4), (1, 4, 10), (4, 10, 4) around each; the quietest third is the first."""
    assert smooth([1.0, 4.0, 10.0], share=1.0) == pytest.approx([3, 5, 6])
    assert smooth([1.0, 4.0, 10.0], share=1 / 3) == pytest.approx([3, 4, 10])
    assert smooth([1.0, 4.0, 10.0], share=1 / 3, blend=0.25) == pytest.approx([1.5, 4, 10])


def test_alike_channels_are_found_wherever_they_stand():
    """Channels 0 and 3 are one map at two strengths, and 1, 2, 4 another; each takes its two most alike."""
    pattern, other = torch.tensor([1.0, 0.0]), torch.tensor([0.1, 1.0])
    x = torch.stack([pattern, other, 2 * other, 3 * pattern, 3 * other])[None, :, :, None]
    x = x + torch.tensor([0.0, 0.0, 0.0, 0.0, 0.01])[None, :, None, None]
    found = purf(share=1.0, neighbours="alike").smoothed(of_maps(x)).stages[0][0, :, :, 0]
    torch.testing.assert_close(found[1], (x[0, 1, :, 0] + x[0, 2, :, 0] + x[0, 4, :, 0]) / 3)
    assert found[0, 0] > found[0, 1]  # itself, channel 3 and one of the others


@pytest.mark.parametrize(("kernel", "reach"), [("mean", 1), ("mean", 3), ("gauss", 2)])
def test_smoothing_by_number_agrees_with_a_float64_reference(kernel, reach):
    x = torch.randn(3, 9, 2, 2, generator=torch.Generator().manual_seed(0))
    weights = np.array(
        [1.0 if kernel == "mean" else np.exp(-((j / (reach / 2)) ** 2) / 2) for j in range(-reach, reach + 1)]
    )
    padded = np.pad(x.double().numpy(), ((0, 0), (reach, reach), (0, 0), (0, 0)), mode="reflect")
    expected = sum(w * padded[:, j : j + 9] for j, w in enumerate(weights / weights.sum()))
    found = purf(share=1.0, kernel=kernel, reach=reach).smoothed(of_maps(x)).stages[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@given(share=st.floats(0, 1), reach=st.integers(1, 5))
def test_only_the_quietest_channels_change(share, reach):
    x = torch.randn(4, 10, 3, 3, generator=torch.Generator().manual_seed(1))
    changed = (purf(share=share, reach=reach).smoothed(of_maps(x)).stages[0] != x).any(3).any(2).any(0)
    quiet = np.argsort(x.abs().mean((0, 2, 3)).numpy())[: round(share * 10)]
    assert set(changed.nonzero().flatten().tolist()) == set(quiet.tolist())


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"blend": 0.0}])
@pytest.mark.parametrize(
    ("base", "weight"), [("fitnet", 100.0), ("at", 1000.0), ("spkd", 3000.0), ("crd", 0.8), ("reviewkd", 5.0)]
)
def test_without_smoothing_it_is_the_base_method_at_its_published_weight(base, weight, settings):
    student, teacher = features(seed=1), features(seed=2)
    module = purf(base=base, **settings)
    found = loss(module, student, teacher)
    fresh = purf(base=base, **settings)  # a memory moves with every call
    torch.manual_seed(3)
    fresh.build_parts(student, teacher)
    fresh.know_data(INDEX, LABELS)
    more = {"crd": (INDEX, LABELS), "reviewkd": (0.0,)}.get(base, ())
    seen = teacher.pooled if base == "crd" else teacher
    torch.testing.assert_close(found, weight * fresh.base(student, seen, *more))


def test_the_smoothed_maps_are_what_the_base_method_sees():
    student, teacher = features(seed=1), features(seed=2)
    module = purf(base="at", share=0.7, reach=2)
    torch.testing.assert_close(loss(module, student, teacher), 1000 * at(student, module.smoothed(teacher)))
    assert not torch.allclose(loss(module, student, teacher), 1000 * at(student, teacher))
    assert torch.equal(module.smoothed(teacher).logits, teacher.logits)


@pytest.mark.parametrize("base", ["fitnet", "at", "spkd", "crd", "reviewkd"])
def test_the_gradient_reaches_the_student_and_not_the_teacher(base):
    student, teacher = features(seed=1, grad=True), features(seed=2, grad=True)
    loss(purf(base=base), student, teacher).backward()
    assert any(x.grad is not None and x.grad.abs().sum() > 0 for x in student.before_relu)
    assert all(x.grad is None for x in teacher.before_relu)
