"""Intervals: published values, independent formulas, and how often they hold the truth near 100 %, worked out exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from autokd.select.interval import answers_interval, difference_interval, share_interval, wilson

EDGE = np.concatenate([np.linspace(0.97, 1, 121)[:-1], [0.9999, 0.99999]])  # true accuracies
SIZES = (50, 100, 200, 400)


def test_intervals_of_shares_are_the_published_ones():
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I, method 3
    assert share_interval(81 / 263, 263) == wilson(81 / 263, 263)


def test_fifty_of_fifty_are_not_certain():
    """All right: n / (n + z^2). The end near the edge of one to three wrong: a Poisson mean of 5 % of being reached so far."""
    square = stats.norm.ppf(0.975) ** 2
    assert share_interval(1.0, 50) == pytest.approx((50 / (50 + square), 1.0))
    assert answers_interval(np.ones((3, 50), dtype=bool)) == pytest.approx((0.9286, 1.0), abs=1e-4)
    assert answers_interval(np.zeros((1, 50), dtype=bool)) == pytest.approx((0.0, 0.0714), abs=1e-4)
    for wrong in (1, 2, 3):
        mean = stats.gamma.ppf(0.05, wrong)  # P(Poisson(mean) >= wrong) = 5 %
        assert share_interval(1 - wrong / 400, 400)[1] == pytest.approx(1 - mean / 400, abs=1e-8)
        assert share_interval(wrong / 400, 400)[0] == pytest.approx(mean / 400, abs=1e-8)


@given(share=st.floats(0, 1), count=st.integers(1, 10**6))
def test_an_interval_holds_its_share_and_is_never_narrower_than_wilsons(share, count):
    (low, high), (least, most) = share_interval(share, count), wilson(share, count)
    assert 0 <= low <= least <= share <= most <= high <= 1


@pytest.mark.parametrize("images", SIZES)
def test_the_truth_near_100_per_cent_is_held_as_often_as_the_interval_says(images: int):
    """Of one training every outcome is counted with its binomial chance, so that nothing is left to luck."""
    counts = np.arange(images + 1)
    chances = stats.binom.pmf(counts, images, EDGE[:, None])  # [truths, counts]

    def held(ends: np.ndarray) -> np.ndarray:
        inside = (ends[:, 0] <= EDGE[:, None] + 1e-12) & (EDGE[:, None] <= ends[:, 1] + 1e-12)
        return (chances * inside).sum(axis=1)

    likely = counts[chances.max(axis=0) > 1e-7]
    shares, answers = (np.tile([[2.0, 2.0]], (images + 1, 1)) for _ in range(2))
    shares[likely] = [share_interval(right / images, images) for right in likely]
    answers[likely] = [answers_interval(counts[None, :images] < right, draws=500) for right in likely]
    assert held(shares).min() > 0.91 and held(shares).mean() > 0.95
    assert held(answers).min() > 0.95


@pytest.mark.parametrize("seeds, images", [(2, 50), (3, 100), (5, 100), (3, 400)])
def test_so_it_is_of_several_seeds(seeds: int, images: int):
    """Right where the ease of the image, the luck of the seed and its own luck are above a threshold."""
    random, worlds, held = np.random.default_rng([seeds, images]), 150, []
    for middle in (3.0, 3.6, 4.2):  # 97.9 to 99.8 %
        truth = stats.norm.cdf(middle / math.sqrt(1.2**2 + 0.2**2 + 0.8**2))
        luck = random.normal(0, 1.2, (worlds, 1, images)) + random.normal(0, 0.2, (worlds, seeds, 1))
        right = middle + luck + random.normal(0, 0.8, (worlds, seeds, images)) > 0
        ends = np.array([answers_interval(one, draws=200) for one in right])
        held.append(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())
    assert min(held) > 0.95


def test_one_training_far_from_the_edge_has_the_binomial_interval():
    correct = np.arange(10_000)[None] < 7500
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 10_000)  # normal approximation
    assert answers_interval(correct) == pytest.approx((0.75 - spread, 0.75 + spread), abs=7e-4)


def test_trainings_that_differ_widen_it():
    same = np.tile(np.arange(1000) < 700, (4, 1))
    apart = np.arange(1000) < np.array([600, 650, 750, 800])[:, None]  # the same mean, 70 %
    width = lambda found: found[1] - found[0]  # noqa: E731
    assert width(answers_interval(apart)) > 1.5 * width(answers_interval(same))


def test_the_bootstrap_is_that_of_redrawn_seeds_and_images():
    """Against one that draws every seed and image, where it is wider than Wilson's."""
    random = np.random.default_rng(0)
    correct = np.arange(300) < np.array([150, 200, 260])[:, None]
    drawn = [correct[np.ix_(random.integers(0, 3, 3), random.integers(0, 300, 300))].mean() for _ in range(4000)]
    assert answers_interval(correct, draws=20_000) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)
    assert answers_interval(correct, seed=4) == answers_interval(correct, seed=4)


def likelihood(ahead: float, behind: float, images: int) -> tuple[float, float]:
    """Tango's interval from his definition: the score test with the probabilities that make the counts likeliest, by search."""

    def statistic(difference: float) -> float:
        def unlikely(only_second: float) -> float:
            cells = np.array([only_second + difference, only_second, 1 - 2 * only_second - difference])
            counts = np.array([ahead, behind, images - ahead - behind])
            return -float((counts[counts > 0] * np.log(np.maximum(cells[counts > 0], 1e-300))).sum())

        bounds = (max(0.0, -difference), (1 - difference) / 2)
        best = optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return (ahead - behind - images * difference) / math.sqrt(images * (2 * best + difference - difference**2))

    found, z = (ahead - behind) / images, stats.norm.ppf(0.975)
    low = optimize.brentq(lambda d: statistic(d) - z, -1 + 1e-9, found - 1e-9)
    return low, optimize.brentq(lambda d: statistic(d) + z, found + 1e-9, 1 - 1e-9)


@pytest.mark.parametrize("ahead, behind, images", [(12, 2, 50), (1, 0, 50), (3, 4, 400), (0, 9, 100)])
def test_the_interval_of_a_difference_is_that_of_its_definition(ahead: int, behind: int, images: int):
    found = difference_interval(ahead, behind, images)
    assert found == pytest.approx(likelihood(ahead, behind, images), abs=1e-5)
    assert difference_interval(behind, ahead, images) == pytest.approx((-found[1], -found[0]))


def test_images_that_all_agree_bound_the_difference_of_others():
    square = stats.norm.ppf(0.975) ** 2
    end = square / (50 + square)
    assert difference_interval(0, 0, 50) == pytest.approx((-end, end))
    assert difference_interval(50, 0, 50)[1] == 1.0 and difference_interval(0, 50, 50)[0] == -1.0


@pytest.mark.parametrize("images", SIZES)
def test_the_truth_of_a_difference_near_nothing_is_held_as_often_as_the_interval_says(images: int):
    pairs = [(a, b) for a in range(25) for b in range(25) if a + b <= 30]
    ends = np.array([difference_interval(a, b, images) for a, b in pairs])
    held = []
    for first, second in ((0.02, 0.0), (0.01, 0.01), (0.03, 0.01), (0.005, 0.005), (0.002, 0.0), (0.001, 0.001)):
        law = stats.multinomial(images, [first, second, 1 - first - second])
        chances = law.pmf([(a, b, images - a - b) for a, b in pairs])
        assert chances.sum() > 0.995
        held.append(chances[(ends[:, 0] <= first - second) & (first - second <= ends[:, 1])].sum())
    assert min(held) > 0.92 and np.mean(held) > 0.95


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="seeds, images"):
        answers_interval(np.zeros((0, 10), dtype=bool))
    for empty in (lambda: wilson(0.5, 0), lambda: share_interval(1.0, 0), lambda: difference_interval(0, 0, 0)):
        with pytest.raises(ValueError, match="needs an image"):
            empty()
