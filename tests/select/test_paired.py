"""The paired bootstrap: by hand, against a slow reference in float64, and on made worlds whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.select.paired import Spread, paired, pooled_spread


def arms(seed: int = 0, seeds: int = 4, images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    hard = random.normal(0, 1, images)
    return tuple(hard + random.normal(0.8, 0.6, (seeds, images)) > 0 for _ in range(2))  # type: ignore[return-value]


def test_value_worked_by_hand():
    """Two seeds, two images; the first arm is right on the first image where the second is not, with both seeds.

    The seeds agree, so that all chance is the images': a redrawn pair of images holds the first one 0, 1 or 2 times
    (1/4, 1/2, 1/4), and the mean is 0, 1/2 or 1. So few images allow more than that: at a true difference d the
    likeliest share on which the second alone is right, of one image of two ahead, is (1 - 3 d) / 4, and Tango's squared score
    (1 - 2 d) / (1 + d): it is z^2 at d = (1 - z^2) / (2 + z^2). McNemar's statistic, corrected, is (1 - 0 - 1) / 1 = 0.
    """
    first = np.array([[True, False], [True, False]])
    found = paired(first, np.zeros_like(first), draws=20_000)
    assert found.mean == 0.5
    square = 1.959964**2
    assert (found.low, found.high) == pytest.approx(((1 - square) / (2 + square), 1.0), rel=1e-6)
    assert found.p == 0.5
    # mean square between images: 2 x ((1 - 1/2)^2 + (0 - 1/2)^2) / 1 = 1; the others are 0; 1 / 4 is the mean's variance
    assert found.se == 0.5


def reference(first: np.ndarray, second: np.ndarray, draws: int, seed: int) -> tuple[float, float, np.ndarray]:
    """(mean, standard error, draws), image by image and seed by seed."""
    apart = first.astype(np.float64) - second.astype(np.float64)
    count, images = apart.shape
    mean = sum(apart[s, i] for s in range(count) for i in range(images)) / (count * images)
    row = [sum(apart[s, i] for i in range(images)) / images for s in range(count)]
    column = [sum(apart[s, i] for s in range(count)) / count for i in range(images)]
    of_seeds = images * sum((r - mean) ** 2 for r in row) / (count - 1)
    of_images = count * sum((c - mean) ** 2 for c in column) / (images - 1)
    left = sum((apart[s, i] - row[s] - column[i] + mean) ** 2 for s in range(count) for i in range(images))
    left /= (count - 1) * (images - 1)
    seeds_part = max(of_seeds, left) / (count * images)
    images_part = max(0.0, of_images - left) / (count * images)
    random = np.random.default_rng(seed)
    shrunk = mean + math.sqrt(max(0.0, 1 - left / of_images)) * (np.array(column) - mean)
    drawn = np.array([shrunk[random.integers(0, images, images)].mean() for _ in range(draws)])
    normal, chi = random.normal(size=draws), random.normal(size=(draws, count - 1))
    student = normal / np.sqrt((chi**2).mean(axis=1))  # what Student's t is
    return mean, math.sqrt(seeds_part + images_part), drawn + math.sqrt(seeds_part) * student


def mcnemar(first: np.ndarray, second: np.ndarray, least: float) -> float:
    """The larger of `least` and McNemar's p, of as many images apart as give the mean and the variance between images."""
    apart = first.astype(np.float64) - second
    seeds, images = apart.shape
    left = apart - apart.mean(axis=0) - apart.mean(axis=1, keepdims=True) + apart.mean()
    chance = (left**2).sum() / ((seeds - 1) * (images - 1))
    between = seeds * apart.mean(axis=0).var(ddof=1)
    squares = max(max(0.0, between - chance) / seeds * (images - 1) / images + apart.mean() ** 2, abs(apart.mean()))
    lead = images * apart.mean()
    return max(least, 0.5 * math.erfc((lead - 1) / math.sqrt(images * squares) / math.sqrt(2)))


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_a_reference_that_draws_every_image(seed: int):
    first, second = arms(seed)
    mean, error, drawn = reference(first, second, 20_000, seed)
    found = paired(first, second, draws=20_000)
    assert found.mean == pytest.approx(mean, rel=1e-12, abs=1e-15)
    assert found.se == pytest.approx(error, rel=1e-12)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))
    corrected = mcnemar(first, second, (drawn <= 0).mean())
    assert found.p == pytest.approx(corrected, abs=0.02)


@given(st.integers(0, 10**6))
def test_what_happens_to_both_arms_alike_changes_nothing(seed: int):
    first, second = arms(seed)
    random = np.random.default_rng(seed)
    before = paired(first, second, draws=200)
    order = random.permutation(first.shape[1])
    assert paired(first[:, order], second[:, order], draws=200) == before
    alike = (first == second).all(axis=0)  # images on which the arms are one: both may be right or both wrong
    turned = np.where(alike, ~first, first), np.where(alike, ~second, second)
    assert paired(*turned, draws=200) == before


@given(st.integers(0, 10**6))
def test_the_other_way_round_is_the_same_with_the_other_sign(seed: int):
    first, second = arms(seed)
    one, other = paired(first, second, draws=200), paired(second, first, draws=200)
    assert (one.mean, one.se) == (-other.mean, other.se)


def test_an_arm_is_as_good_as_itself():
    first, _ = arms()
    found = paired(first, first)
    assert (found.mean, found.se, found.p) == (0, 0, 1)
    end = 1.959964**2 / (60 + 1.959964**2)  # that 60 images agree does not say that all do
    assert (found.low, found.high) == pytest.approx((-end, end))


@pytest.mark.parametrize("ahead", [1, 3, 4, 5])
def test_a_lead_of_a_few_images_has_about_the_p_of_the_exact_sign_test(ahead: int):
    """Every image apart speaks for the first: by chance that is 1/2 to the power of their number. A bootstrap of 3 says 0.05."""
    second = np.tile(np.arange(100) < 90, (2, 1))
    first = np.tile(np.arange(100) < 90 + ahead, (2, 1))
    assert paired(first, second).p == pytest.approx(0.5**ahead, abs=0.01)


def test_one_seed_speaks_of_the_images_alone_and_shows_nothing():
    first, second = arms(seeds=1)
    found = paired(first, second)
    assert math.isnan(found.p)
    assert found.low < found.mean < found.high


def test_two_seeds_that_agree_to_the_image_do_not_make_an_interval_of_no_width():
    first = np.array([[True, False, True, False] * 10, [False, True, False, True] * 10])
    found = paired(first, np.zeros_like(first))
    assert found.mean == 0.5
    assert found.high - found.low > 0.2


def test_a_known_spread_of_seeds_widens_the_interval_or_leaves_it():
    first, second = arms(seeds=5)
    own = paired(first, second)
    assert paired(first, second, spread=Spread(0.0, 4)) == own
    assert paired(first, second, spread=Spread(0.01, 12)).se > own.se


def test_the_pooled_spread_of_two_arms_is_that_of_their_differences():
    first, second = arms(seeds=5)
    apart = first.mean(axis=1) - second.mean(axis=1)
    found = pooled_spread([first, second])
    assert found is not None
    assert found.variance == pytest.approx(apart.var(ddof=1), rel=1e-9)
    assert found.df == 4
    assert pooled_spread([first]) is None and pooled_spread([first[:1], second[:1]]) is None


def test_arms_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        paired(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="same shape"):
        paired(np.zeros((0, 3)), np.zeros((0, 3)))


def world(random: np.random.Generator, seeds: int, images: int, count: int, spreads: list[float]) -> list[np.ndarray]:
    """Arms that are equally good in truth: right where ease + liking + luck of the seed + luck is above a threshold."""
    ease = random.normal(0, 1.2, images)
    made = []
    for number in range(count):
        luck = random.normal(0, spreads[number % len(spreads)], (seeds, 1))
        made.append(1 + ease + random.normal(0, 0.6, images) + luck + random.normal(0, 1, (seeds, images)) > 0)
    return made


@pytest.mark.parametrize("seeds, images, spread", [(2, 300, 0.0), (3, 300, 0.1), (5, 300, 0.1), (5, 1500, 0.3), (5, 1500, 0.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, images: int, spread: float):
    """95 of 100 at the least: of 300 worlds at most 27 may miss (a binomial of 5 % stays below with 99.9 %)."""
    missed = [0, 0]
    for number in range(300):
        made = world(np.random.default_rng([seeds, images, number]), seeds, images, 4, [spread])
        plain = paired(made[0], made[1], draws=500, seed=number)
        pooled = paired(made[0], made[1], draws=500, seed=number, spread=pooled_spread(made))
        for at, found in enumerate((plain, pooled)):
            missed[at] += not found.low <= 0 <= found.high
    assert max(missed) <= 27


@pytest.mark.parametrize("seeds, images", [(1, 50), (2, 100), (3, 100), (2, 400)])
def test_near_100_per_cent_the_truth_is_held_and_equals_are_hardly_ever_told_apart(seeds: int, images: int):
    """Both arms are right where ease + own luck is above a threshold: 97 to 99.8 % of the time."""
    random = np.random.default_rng([3, seeds, images])
    for middle in (2.6, 3.3, 4.0):
        missed = dropped = 0
        for _ in range(120):
            ease = middle + random.normal(0, 1.2, images)
            one, other = (ease + random.normal(0, 0.3, images) + random.normal(0, 0.5, (seeds, images)) > 0 for _ in range(2))
            found = paired(one, other, draws=200)
            missed += not found.low <= 0 <= found.high
            dropped += found.p < 0.05
        assert missed <= 12 and dropped <= 12  # of 6 expected; a binomial of 5 % stays at 12 or below with 99 %


def test_an_arm_that_varies_more_than_the_others_does_not_break_the_pooled_interval():
    missed = 0
    for number in range(300):
        made = world(np.random.default_rng([7, number]), 5, 500, 4, [0.3, 0.1, 0.1, 0.1])
        found = paired(made[0], made[1], draws=500, seed=number, spread=pooled_spread(made))
        missed += not found.low <= 0 <= found.high
    assert missed <= 33  # 5 % and a little: the pooled spread is not this arm's own


def test_an_interval_is_not_wider_than_it_need_be():
    """Of 5 seeds: a difference of two and a half standard errors of known spread is found more often than not."""
    shown = 0
    for number in range(100):
        random = np.random.default_rng([11, number])
        better, worse = world(random, 5, 1500, 2, [0.05])
        worse = worse & (random.random(worse.shape) > 0.06)  # 6 % of its right answers are lost
        shown += paired(better, worse, draws=500).low > 0
    assert shown > 80
