"""Cross-entropy against values worked by hand and a NumPy reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.methods.ce import ce


def test_value_worked_by_hand():
    logits = torch.tensor([[3.0, 1.0]]).log()  # (3/4, 1/4)
    assert ce(logits, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(-math.log(0.75), rel=1e-5)
    mixed = -0.6 * math.log(0.75) - 0.4 * math.log(0.25)
    assert ce(logits, torch.tensor([[0.6, 0.4]])).item() == pytest.approx(mixed, rel=1e-5)


def test_smoothing_moves_a_share_of_the_label_to_every_class():
    """At 0.2 of four classes the label keeps 0.85 and each other class has 0.05."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    expected = -(0.85 * math.log(0.4) + 0.05 * sum(math.log(p) for p in (0.3, 0.2, 0.1)))
    assert ce(logits, torch.eye(4)[:1], label_smoothing=0.2).item() == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 100), smoothing=st.floats(0, 1))
def test_it_agrees_with_a_float64_reference(seed, smoothing):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 7, generator=generator)
    targets = torch.rand(5, 7, generator=generator)
    targets = targets / targets.sum(1, keepdim=True)
    z, t = logits.double().numpy(), targets.double().numpy()
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    expected = -((t * (1 - smoothing) + smoothing / 7) * log_p).sum(1).mean()
    assert ce(logits, targets, label_smoothing=smoothing).item() == pytest.approx(expected, rel=1e-4)
