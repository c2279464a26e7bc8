"""Calibration, thresholds, classes and agreement: worked by hand, and held against scikit-learn and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.finalize.measures import agreement, calibration, kept_above, per_class, probabilities, threshold_for

SEEDS = st.integers(0, 10_000)


def logits_of(*chances: list[float]) -> np.ndarray:
    return np.log(np.array(chances))


def drawn(seed: int, images: int = 60, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(0, 2, (images, classes)).astype(np.float32), random.integers(0, classes, images)


def test_calibration_of_four_images_worked_by_hand():
    # confidences 0.9 right, 0.9 wrong, 0.6 right, 0.5 right (a tie goes to the first class)
    logits = logits_of([0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.5, 0.5])
    told = calibration(logits, np.array([0, 1, 1, 0]), bins=2)
    # with two spans, (0, 0.5] and (0.5, 1]: the first holds 0.5, the second 0.9, 0.9, 0.6 of which two are right
    first, second = abs(1 - 0.5), abs(2 / 3 - (0.9 + 0.9 + 0.6) / 3)
    assert told["ece"] == pytest.approx(1 / 4 * first + 3 / 4 * second)
    assert told["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.1) + math.log(0.6) + math.log(0.5)) / 4)
    squares = [2 * 0.1**2, 2 * 0.9**2, 2 * 0.4**2, 2 * 0.5**2]
    assert told["brier"] == pytest.approx(sum(squares) / 4)


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not():
    logits = np.array([[50.0, 0.0], [50.0, 0.0]])
    right, wrong = calibration(logits, np.array([0, 0])), calibration(logits, np.array([1, 1]))
    assert (right["ece"], right["nll"], right["brier"]) == pytest.approx((0, 0, 0), abs=1e-9)
    assert (wrong["ece"], wrong["nll"], wrong["brier"]) == pytest.approx((1, 50, 2))


@given(seed=SEEDS)
def test_calibration_agrees_with_torchmetrics_and_scikit_learn(seed: int):
    import torch
    from sklearn.metrics import log_loss
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = drawn(seed)
    told, chances = calibration(logits, labels), probabilities(logits)
    assert told["nll"] == pytest.approx(log_loss(labels, chances, labels=range(5)), rel=1e-6)
    assert told["brier"] == pytest.approx(((chances - np.eye(5)[labels]) ** 2).sum(axis=1).mean(), rel=1e-9)
    theirs = multiclass_calibration_error(torch.from_numpy(chances), torch.from_numpy(labels), 5, n_bins=15, norm="l1")
    assert told["ece"] == pytest.approx(theirs.item(), abs=1e-6)


@given(seed=SEEDS, shift=st.floats(-1000, 1000))
def test_a_constant_added_to_all_logits_of_an_image_changes_no_measure(seed: int, shift: float):
    logits, labels = drawn(seed)
    one, other = calibration(logits.astype(np.float64), labels), calibration(logits.astype(np.float64) + shift, labels)
    assert other["nll"] == pytest.approx(one["nll"], abs=1e-9) and other["brier"] == pytest.approx(
        one["brier"], abs=1e-9
    )


def test_the_threshold_keeps_as_many_as_the_target_allows():
    logits = logits_of([0.95, 0.05], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4])
    labels = np.array([0, 0, 1, 0, 0])  # right, right, wrong, right, right
    assert threshold_for(logits, labels, 1.0) == pytest.approx(0.9)  # the two surest
    assert threshold_for(logits, labels, 0.75) == 0.0  # four of five are right: every image may be kept
    assert threshold_for(logits, np.array([1, 0, 0, 0, 0]), 0.9) is None  # the surest is wrong: at most 4/5 from any on
    told = kept_above(logits, labels, 0.89)
    assert told == {"images": 2, "coverage": 0.4, "accuracy": 1.0}
    assert kept_above(logits, labels, 0.99) == {"images": 0, "coverage": 0.0, "accuracy": None}


def test_images_of_one_confidence_are_kept_or_left_together():
    logits = logits_of([0.8, 0.2], [0.8, 0.2], [0.6, 0.4])
    assert threshold_for(logits, np.array([0, 1, 1]), 1.0) is None  # of the two at 0.8 one is wrong


@given(seed=SEEDS, target=st.floats(0.05, 1))
def test_no_smaller_threshold_reaches_the_target(seed: int, target: float):
    logits, labels = drawn(seed, images=25, classes=3)
    found = threshold_for(logits, labels, target)
    chances = probabilities(logits)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    reaching = [level for level in [0.0, *confidence] if right[confidence >= level].mean() >= target]
    assert found is None and not reaching or found is not None and right[confidence >= found].mean() >= target
    if found is not None:
        assert (confidence >= found).sum() == max((confidence >= level).sum() for level in reaching)


def test_recall_and_precision_of_each_class_worked_by_hand():
    logits = np.eye(4)[[0, 0, 1, 0]]  # answers: a a b a
    told = per_class(logits, np.array([0, 0, 0, 1]), ("a", "b", "c", "d"))
    assert told[0] == {"class": "a", "images": 3, "recall": 2 / 3, "precision": 2 / 3}
    assert told[1] == {"class": "b", "images": 1, "recall": 0.0, "precision": 0.0}
    assert told[2] == {"class": "c", "images": 0, "recall": None, "precision": None}


@given(seed=SEEDS)
def test_classes_agree_with_scikit_learn(seed: int):
    from sklearn.metrics import precision_recall_fscore_support

    logits, labels = drawn(seed)
    precision, recall, _, count = precision_recall_fscore_support(
        labels, logits.argmax(axis=1), labels=range(5), zero_division=np.nan
    )
    for one, p, r, n in zip(per_class(logits, labels, tuple("abcde")), precision, recall, count, strict=True):
        assert one["images"] == n
        assert (one["precision"] is None and np.isnan(p)) or one["precision"] == pytest.approx(p)
        assert (one["recall"] is None and np.isnan(r)) or one["recall"] == pytest.approx(r)


def test_agreement_worked_by_hand():
    student, teacher = logits_of([0.5, 0.5], [0.1, 0.9]), logits_of([0.75, 0.25], [0.9, 0.1])
    told = agreement(student, teacher)
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.9 * math.log(0.9 / 0.1) + 0.1 * math.log(0.1 / 0.9)
    assert told == {"same_top1": 0.5, "kl": pytest.approx((first + second) / 2)}


@given(seed=SEEDS)
def test_a_student_agrees_with_itself_and_never_less_than_that(seed: int):
    one, _ = drawn(seed)
    other, _ = drawn(seed + 1)
    assert agreement(one, one) == {"same_top1": 1.0, "kl": pytest.approx(0, abs=1e-12)}
    assert agreement(one, other)["kl"] >= 0
