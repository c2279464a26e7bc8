from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.select.progress import correlation_interval, front_height, stairs

POINTS = st.lists(st.tuples(st.floats(1, 1000), st.floats(0, 1)), max_size=12)


def test_the_front_keeps_what_is_better_than_all_that_is_cheaper():
    assert stairs([(3, 0.5), (1, 0.4), (2, 0.4), (1, 0.3), (4, 0.9)]) == [(1, 0.4), (3, 0.5), (4, 0.9)]


def test_its_height_is_the_mean_over_the_logarithm_of_the_cost():
    # from 1 to 10 the best is 0.5, from 10 to 100 it is 0.8: two equal parts of the axis
    assert front_height([(1, 0.5), (10, 0.8)], 1, 100) == pytest.approx(0.65)
    assert front_height([(10, 0.8)], 1, 100) == pytest.approx(0.4)  # nothing at all below 10
    assert front_height([], 1, 100) == 0.0
    assert front_height([(5, 0.7)], 5, 5) == 0.7  # one student is the whole axis


@given(points=POINTS, more=st.tuples(st.floats(1, 1000), st.floats(0, 1)))
def test_another_trial_never_lowers_it_and_it_is_no_higher_than_the_best(points, more):
    before, after = front_height(points, 1, 1000), front_height([*points, more], 1, 1000)
    assert before - 1e-12 <= after <= max(score for _, score in [*points, more]) + 1e-12


def test_costs_begin_above_zero():
    with pytest.raises(ValueError, match="above 0"):
        front_height([], 0, 1)


def test_the_interval_of_a_rank_correlation_is_fishers():
    error = math.sqrt((1 + 0.5**2 / 2) / 25)
    expected = [math.tanh(math.atanh(0.5) + sign * 1.959964 * error) for sign in (-1, 1)]
    assert correlation_interval(0.5, 28) == pytest.approx(expected)
    assert all(math.isnan(end) for end in correlation_interval(0.9, 4))
    low, high = correlation_interval(1.0, 6)
    assert 0 < low < high < 1  # six pairs in order prove no perfect order
