"""Scores of a network: accuracy, cross-entropy and calibration, against values worked by hand and in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.train.evaluate import expected_calibration_error, score


def logits_of(*confidences):
    """Two classes; class 0 gets the confidence."""
    return torch.tensor([[math.log(c / (1 - c)), 0.0] for c in confidences], dtype=torch.float64)


def test_calibration_worked_by_hand_in_four_spans():
    """Spans of a quarter. (1/2, 3/4]: confidences .6 and .7, one of two right: |.5 - .65|; (3/4, 1]: .8 and .9, both right."""
    logits, labels = logits_of(0.6, 0.7, 0.8, 0.9), torch.tensor([0, 1, 0, 0])
    expected = 2 / 4 * abs(0.5 - 0.65) + 2 / 4 * abs(1.0 - 0.85)
    assert expected_calibration_error(logits, labels, bins=4) == pytest.approx(expected)


def test_a_confidence_at_the_end_of_a_span_belongs_to_it():
    """3/4 ends the third of four spans: alone there it is wrong by 3/4, with .9 beside it in one span it would be less."""
    logits, labels = logits_of(0.75, 0.9), torch.tensor([1, 0])
    assert expected_calibration_error(logits, labels, bins=4) == pytest.approx((0.75 + 0.1) / 2)


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_off_by_one():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]])
    assert expected_calibration_error(logits, torch.tensor([0, 1])) == pytest.approx(0)
    assert expected_calibration_error(logits, torch.tensor([1, 0])) == pytest.approx(1)
    for wrong in (math.nan, math.inf):  # a training that diverged: its loss says so
        broken, labels = torch.tensor([[wrong, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        assert math.isnan(expected_calibration_error(broken, labels)) and not math.isfinite(score(broken, labels).loss)


@given(seed=st.integers(0, 30), bins=st.integers(1, 20), scale=st.floats(0.1, 10))
def test_calibration_is_that_of_a_loop_over_the_spans(seed, bins, scale):
    generator = np.random.default_rng(seed)
    logits, labels = scale * generator.normal(size=(50, 5)), generator.integers(0, 5, 50)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    sure, right = shares.max(1), shares.argmax(1) == labels
    total = 0.0
    for b in range(bins):
        inside = (sure > b / bins) & (sure <= (b + 1) / bins)
        if inside.any():
            total += inside.sum() / 50 * abs(right[inside].mean() - sure[inside].mean())
    found = expected_calibration_error(torch.from_numpy(logits), torch.from_numpy(labels), bins=bins)
    assert found == pytest.approx(total, abs=1e-9)
    assert 0 <= found <= 1


def test_a_score_tells_accuracy_loss_and_calibration():
    told = score(logits_of(0.8, 0.8), torch.tensor([0, 1]))
    assert told.top1 == 0.5
    assert told.loss == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)
    assert told.ece == pytest.approx(0.3)


def test_a_score_tells_image_by_image_what_is_right():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    found = score(logits, torch.tensor([0, 0, 0]))
    assert found.right is not None and found.right.tolist() == [True, False, True]
    assert found.top1 == pytest.approx(2 / 3)
