import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.config.trial import RecipeConfig
from autokd.train.schedule import SCHEDULES, learning_rate


def test_the_house_recipe_falls_by_ten_at_epochs_150_180_and_210_of_240():
    recipe = RecipeConfig(lr=0.05, schedule="step")
    rates = [learning_rate(recipe, epoch / 240) for epoch in (0, 149, 150, 179, 180, 210, 239)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.00005, 0.00005])


def test_a_cosine_is_half_way_down_in_the_middle_and_zero_at_the_end():
    recipe = RecipeConfig(lr=0.2, schedule="cosine")
    assert [learning_rate(recipe, t) for t in (0, 0.5, 1)] == pytest.approx([0.2, 0.1, 0.0])
    assert learning_rate(recipe, 1 / 3) == pytest.approx(0.2 * 0.5 * (1 + math.cos(math.pi / 3)))


def test_a_trapezoid_is_flat_and_then_straight():
    recipe = RecipeConfig(lr=0.1, schedule="trapezoid", cooldown=0.2)
    assert [learning_rate(recipe, t) for t in (0.0, 0.79, 0.9, 1.0)] == pytest.approx([0.1, 0.1, 0.05, 0.0])


def test_warm_up_rises_in_a_straight_line():
    recipe = RecipeConfig(lr=0.1, schedule="constant", warmup=0.1)
    assert [learning_rate(recipe, t) for t in (0.0, 0.05, 0.1, 1.0)] == pytest.approx([0.0, 0.05, 0.1, 0.1])


@given(st.sampled_from(SCHEDULES), st.floats(0, 1), st.floats(0, 0.5))
def test_a_rate_is_never_negative_nor_above_the_peak(schedule, done, warmup):
    recipe = RecipeConfig(lr=0.3, schedule=schedule, warmup=warmup)
    assert -1e-12 <= learning_rate(recipe, done) <= 0.3 + 1e-12
