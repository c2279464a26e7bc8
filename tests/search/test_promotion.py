"""Who goes on from a rung: worked by hand, and what must hold of any search."""

from __future__ import annotations

from bisect import insort

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.search.promotion import Stopped, deserves, leaders, promoted


def stopped(number, score, *, rung=0, budgets=("any",)):
    return Stopped(number, budgets, rung, score)


@pytest.mark.parametrize(
    ("reached", "score", "goes"),
    [
        ([0.5], 0.5, False),  # a third of one or two is none
        ([0.4, 0.5], 0.5, False),
        ([0.3, 0.4, 0.5], 0.5, True),
        ([0.3, 0.4, 0.5], 0.4, False),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.5, True),  # the second of six
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.4, False),
        ([0.5, 0.5, 0.5], 0.5, True),  # nobody is better
    ],
)
def test_one_in_three_goes_on(reached, score, goes):
    assert deserves(reached, score, 3.0) is goes


def test_the_highest_rung_is_served_first_and_there_the_best_and_among_equals_the_first():
    rungs = {("any", 0): [0.1, 0.2, 0.6], ("any", 1): [0.3, 0.4, 0.4]}
    waiting = [stopped(0, 0.6), stopped(1, 0.4, rung=1), stopped(2, 0.4, rung=1), stopped(3, 0.1)]
    assert promoted(waiting, rungs, 3.0) == (waiting[1], "any")
    assert promoted(waiting[:1] + waiting[3:], rungs, 3.0) == (waiting[0], "any")
    assert promoted(waiting[3:], rungs, 3.0) is None and promoted([], rungs, 3.0) is None


def test_one_budget_is_enough():
    """The last of all, but the first of the three that the small budget admits."""
    rungs = {("small", 0): [0.1, 0.2, 0.3], ("large", 0): [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]}
    one = stopped(4, 0.3, budgets=("large", "small"))
    assert promoted([one], rungs, 3.0) == (one, "small")


def test_leaders_are_those_that_a_budget_lacks_each_once_and_the_neediest_budget_first():
    waiting = [
        stopped(0, 0.9, budgets=("large",)),
        stopped(1, 0.5, budgets=("small", "large")),
        stopped(2, 0.4, rung=1, budgets=("small", "large")),
        stopped(3, 0.3, budgets=("small", "large")),
    ]
    found = leaders(waiting, {"large": 1, "small": 2})
    assert [(one.number, budget) for one, budget in found] == [(2, "small"), (1, "small")]  # 2 leads the large one, too
    assert [one.number for one, _ in leaders(waiting, {"large": 3, "small": 0})] == [2, 0, 1]
    assert leaders(waiting, {"large": 0, "small": -1}) == []


@given(scores=st.lists(st.sampled_from([i / 20 for i in range(21)]), max_size=40), eta=st.floats(1.5, 6))
def test_no_more_than_one_in_eta_of_those_that_came_go_on_but_for_equals(scores, eta):
    reached: list[float] = []
    for score in scores:
        insort(reached, score)
    going = [score for score in reached if deserves(reached, score, eta)]
    room = int(len(reached) / eta)
    assert len([score for score in going if score != min(going)]) <= room <= max(len(going), room)
    assert (len(going) >= room) and going == reached[len(reached) - len(going) :]
