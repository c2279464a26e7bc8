from __future__ import annotations

import math

import numpy as np
import pytest

from autokd.finalize.interval import interval


def test_one_training_gives_the_binomial_interval():
    correct = np.zeros((1, 10_000), dtype=bool)
    correct[0, :7500] = True
    low, high = interval(correct)
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 10_000)  # normal approximation
    assert low == pytest.approx(0.75 - spread, abs=7e-4)
    assert high == pytest.approx(0.75 + spread, abs=7e-4)


def test_no_doubt_has_no_width():
    assert interval(np.ones((3, 50), dtype=bool)) == (1.0, 1.0)
    assert interval(np.zeros((3, 50), dtype=bool)) == (0.0, 0.0)


def test_trainings_that_differ_widen_it():
    same = np.zeros((4, 1000), dtype=bool)
    same[:, :700] = True
    apart = np.zeros((4, 1000), dtype=bool)
    for seed, right in enumerate((600, 650, 750, 800)):  # the same mean, 70 %
        apart[seed, :right] = True
    width = lambda found: found[1] - found[0]  # noqa: E731
    assert width(interval(apart)) > 1.5 * width(interval(same))


def test_it_covers_the_truth_about_as_often_as_it_says():
    """Accuracy of an image under a seed: sigmoid(image + seed), the truth its mean over fresh ones."""
    random = np.random.default_rng(0)
    images, seeds, hits, repeats = 300, 5, 0, 200
    grid = random.normal(1.0, 2.0, 200_000) + random.normal(0.0, 0.3, 200_000)
    truth = (1 / (1 + np.exp(-grid))).mean()
    for number in range(repeats):
        chance = 1 / (1 + np.exp(-(random.normal(1.0, 2.0, images) + random.normal(0.0, 0.3, (seeds, 1)))))
        low, high = interval(random.random((seeds, images)) < chance, draws=300, seed=number)
        hits += low <= truth <= high
    assert 0.91 <= hits / repeats <= 1.0


def test_the_same_seed_gives_the_same_interval():
    correct = np.random.default_rng(1).random((3, 200)) < 0.6
    assert interval(correct, seed=4) == interval(correct, seed=4)


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="seeds, images"):
        interval(np.zeros((0, 10), dtype=bool))
