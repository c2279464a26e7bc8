"""Who goes on from a rung: worked by hand, and what must hold of any search."""

from __future__ import annotations

from bisect import insort

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.search.promotion import Stopped, Waiting, deserves

SCORES = st.sampled_from([0.1, 0.2, 0.3])


def line(*waiting):
    made = Waiting()
    for one in waiting:
        made.add(one)
    return made


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
    made = line(*waiting)
    assert made.promoted(rungs, 3.0) == (waiting[1], "any")
    made.remove(1)
    assert made.promoted(rungs, 3.0) == (waiting[2], "any") and 1 not in made and 2 in made
    made.remove(2)
    assert made.promoted(rungs, 3.0) == (waiting[0], "any")
    made.remove(0)
    assert made.promoted(rungs, 3.0) is None and line().promoted(rungs, 3.0) is None


def test_one_budget_is_enough():
    """The last of all, but the first of the three that the small budget admits."""
    rungs = {("small", 0): [0.1, 0.2, 0.3], ("large", 0): [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]}
    one = stopped(4, 0.3, budgets=("large", "small"))
    assert line(one).promoted(rungs, 3.0) == (one, "small")


def test_leaders_are_those_that_a_budget_lacks_each_once_and_the_neediest_budget_first():
    waiting = [
        stopped(0, 0.9, budgets=("large",)),
        stopped(1, 0.5, budgets=("small", "large")),
        stopped(2, 0.4, rung=1, budgets=("small", "large")),
        stopped(3, 0.3, budgets=("small", "large")),
    ]
    made = line(*waiting)
    found = made.leaders({"large": 1, "small": 2})
    assert [(one.number, budget) for one, budget in found] == [(2, "small"), (1, "small")]  # 2 leads the large one, too
    assert [one.number for one, _ in made.leaders({"large": 3, "small": 0})] == [2, 0, 1]
    assert made.leaders({"large": 0, "small": -1}) == []


@given(scores=st.lists(st.sampled_from([i / 20 for i in range(21)]), max_size=40), eta=st.floats(1.5, 6))
def test_no_more_than_one_in_eta_of_those_that_came_go_on_but_for_equals(scores, eta):
    reached: list[float] = []
    for score in scores:
        insort(reached, score)
    going = [score for score in reached if deserves(reached, score, eta)]
    room = int(len(reached) / eta)
    assert len([score for score in going if score != min(going)]) <= room <= max(len(going), room)
    assert (len(going) >= room) and going == reached[len(reached) - len(going) :]


@given(
    waiting=st.lists(st.tuples(st.integers(0, 2), SCORES, st.sampled_from(["ab", "a", "b"])), max_size=20),
    reached=st.lists(SCORES, max_size=12),
    wanting=st.fixed_dictionaries({"a": st.integers(-1, 4), "b": st.integers(-1, 4)}),
)
def test_the_lines_say_what_a_look_at_everyone_says(waiting, reached, wanting):
    """Against the plain way: all of them, in the order of rung, score and number."""
    everyone = [stopped(n, score, rung=rung, budgets=tuple(names)) for n, (rung, score, names) in enumerate(waiting)]
    rungs = {(budget, rung): sorted(reached) for budget in "ab" for rung in range(3)}
    order = sorted(everyone, key=lambda one: (-one.rung, -one.score, one.number))
    first = next((one for one in order if deserves(sorted(reached), one.score, 3.0)), None)
    found = line(*everyone).promoted(rungs, 3.0)
    assert (found and found[0]) == first and (found is None or found[1] in found[0].budgets)
    expected = []
    for budget, count in sorted(wanting.items(), key=lambda item: -item[1]):
        expected += [one for one in order if budget in one.budgets][: max(0, count)]
    assert [one for one, _ in line(*everyone).leaders(wanting)] == list(dict.fromkeys(expected))
