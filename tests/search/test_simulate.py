"""Schedulers on made curves: what each rule keeps, what a repetition costs, and pools whose outcome is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.errors import AutokdError
from autokd.search.simulate import SCHEDULERS, _order, replay, simulate, stays
from autokd.track.curves import Curve


def curve(name, final, *, budgets=("any",), macs=1.0, length=100.0, early=None):
    """A curve whose score at every rung but the last is `early` (its final score where not given)."""
    early = final if early is None else early
    return Curve(name, budgets, macs, ((length * 0.1, early), (length * 0.9, early), (length, final)))


def two_classes():
    """Cheap students score low all along, costly ones high: a single line of comparison kills the cheap."""
    cheap = [curve(f"c{i}", 0.40 + 0.01 * i, budgets=("nano", "large"), macs=1.0) for i in range(10)]
    costly = [curve(f"l{i}", 0.70 + 0.01 * i, budgets=("large",), macs=10.0) for i in range(20)]
    return cheap + costly


@pytest.mark.parametrize(
    ("others", "score", "kept"),
    [
        ([], 0.1, True),  # fewer than three: all go on
        ([0.5], 0.1, True),
        ([0.5, 0.6], 0.1, False),  # the last of three
        ([0.5, 0.6], 0.7, True),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 0.45, True),  # the second of six, of which two stay
        ([0.1, 0.2, 0.3, 0.4, 0.5], 0.35, False),
    ],
)
def test_one_in_three_stays(others, score, kept):
    assert stays(others, score, 3.0) is kept


def test_scores_between_recorded_points_lie_on_a_straight_line():
    made = Curve("t", ("any",), 1.0, ((20.0, 0.2), (60.0, 0.6), (100.0, 0.8)))
    assert [made.score(s) for s in (0.1, 0.2, 0.4, 0.8, 1.0)] == pytest.approx([0.2, 0.2, 0.4, 0.7, 0.8])


def test_without_a_scheduler_a_search_is_as_many_whole_trials_as_the_views_hold():
    line = [curve(f"t{i}", i / 10) for i in range(10)]
    begun, ended, spent, *_ = replay(line, SCHEDULERS["none"](3.0, (), ()), (0.5,), 350.0, 1)
    assert [c.trial for c in ended] == ["t0", "t1", "t2"] and spent == 350.0
    assert [c.trial for c in begun] == ["t0", "t1", "t2", "t3"]


def test_a_stopped_trial_costs_its_views_to_the_rung():
    """t0 and t1 go on as the first two; t2 is the third and worst: it is stopped at 50 views."""
    line = [curve("t0", 0.5), curve("t1", 0.6), curve("t2", 0.1)]
    begun, ended, spent, *_ = replay(line, SCHEDULERS["asha"](3.0, (), ()), (0.5,), 1000.0, 1)
    assert [c.trial for c in ended] == ["t0", "t1"] and len(begun) == 3 and spent == 250.0


def test_several_trials_at_once_meet_at_the_rungs_in_the_order_of_their_views():
    line = [curve("long", 0.9, length=200.0), curve("short", 0.1), curve("next", 0.5)]
    begun, ended, spent, *_ = replay(line, SCHEDULERS["asha"](3.0, (), ()), (0.5,), 1000.0, 2)
    # at 50: short goes on (first); at 100: long at its rung, short at its end, then next begins and is the third, the second best
    assert [c.trial for c in ended] == ["short", "long"] and spent == 350.0


def test_strata_find_a_student_for_the_cheap_budget_where_one_line_does_not():
    found = {one.scheduler: one for one in simulate(two_classes(), share=0.3, repetitions=60, rungs=(0.2,))}
    assert found["strata"].empty == 0.0
    assert found["asha"].regret["nano"] > found["strata"].regret["nano"]
    assert found["asha"].empty > 0.05


def test_proposals_that_go_round_the_budgets_reach_the_cheap_one_sooner():
    """Ten cheap students among thirty: in a random order a search of few views may not have met a good one."""
    asked = ["mo-asha", "fronts"]
    found = {one.scheduler: one for one in simulate(two_classes(), schedulers=asked, share=0.15, repetitions=100, rungs=(0.2,))}
    assert found["fronts"].empty < found["mo-asha"].empty
    assert found["fronts"].regret["nano"] < found["mo-asha"].regret["nano"]


def test_with_all_views_and_no_stops_nothing_is_left_behind():
    (none,) = simulate(two_classes(), schedulers=["none"], share=1.0, repetitions=5)
    assert none.regret == {"nano": 0.0, "large": 0.0} and none.false_kills == 0.0 and none.finished == 30


def test_a_misleading_rung_is_a_false_kill():
    """The best trial begins worst: a scheduler that believes the rung stops it, random search does not."""
    pool = [curve(f"t{i}", 0.5 + i / 100, early=0.5 + i / 100) for i in range(8)]
    pool.append(curve("late", 0.99, early=0.1))
    asha, none = simulate(pool, schedulers=["asha", "none"], share=1.0, repetitions=40, rungs=(0.2,), workers=1)
    assert asha.false_kills > 0.5 and none.false_kills == 0.0
    assert asha.regret["any"] > 0.2


def test_with_strata_a_trial_that_waits_goes_on_once_it_is_the_first_of_three():
    """Rung at half. 50 views each for t0, t1, t2; t1 is the first of them and goes on; with the line at its end all three are
    brought to their end, the second before the third."""
    line = [curve("t0", 0.5), curve("t1", 0.6), curve("t2", 0.1)]
    rule = SCHEDULERS["strata"](3.0, (0.5,), ("any",))
    begun, ended, spent, *_ = replay(line, rule, (0.5,), 1000.0, 1)
    assert [c.trial for c in begun] == ["t0", "t1", "t2"] and [c.trial for c in ended] == ["t1", "t0", "t2"] and spent == 300.0


def test_strata_keep_enough_for_the_leaders_to_come_to_their_end():
    """250 views, rung at half. t0 and t1 wait at 50 views each; t2, the first of three, goes on to its end: 200 are spent. A new
    trial would take the 50 that are left, and two leaders are still wanted: t1 gets them, though it is no first of three."""
    line = [curve(f"t{i}", i / 10) for i in range(9)]
    begun, ended, spent, *_ = replay(line, SCHEDULERS["strata"](3.0, (0.5,), ("any",)), (0.5,), 250.0, 1)
    assert [c.trial for c in begun] == ["t0", "t1", "t2"] and [c.trial for c in ended] == ["t2", "t1"] and spent == 250.0


def test_fronts_are_ordered_by_dominance_and_the_ends_of_a_front_first():
    points = np.array([[0.9, -10.0], [0.5, -1.0], [0.7, -5.0], [0.4, -2.0], [0.68, -5.1]])
    order = _order(points)
    assert set(order[:2]) == {0, 1} and order[2] == 2  # the first front, its ends before its middle
    assert order[3:] in ([3, 4], [4, 3])  # beaten by 1 and by 2


@given(
    finals=st.lists(st.floats(0, 1), min_size=4, max_size=12),
    share=st.floats(0.1, 1),
    workers=st.integers(1, 4),
    name=st.sampled_from(sorted(SCHEDULERS)),
)
def test_no_search_spends_more_than_its_views_or_ends_what_it_has_not_begun(finals, share, workers, name):
    pool = [curve(f"t{i}", final, budgets=("a", "b") if i % 2 else ("b",)) for i, final in enumerate(finals)]
    (one,) = simulate(pool, schedulers=[name], share=share, repetitions=3, workers=workers, rungs=(0.3, 0.6))
    assert one.views <= share * 100.0 * len(finals) * (1 + 1e-9)
    assert one.finished <= one.started <= len(finals)
    assert all(regret >= 0 for regret in one.regret.values()) and 0 <= one.empty <= 1


def test_bad_requests_are_told():
    with pytest.raises(AutokdError, match="(?s)no scheduler 'ahsa'.*asha"):
        simulate(two_classes(), schedulers=["ahsa"])
    with pytest.raises(AutokdError, match="too few"):
        simulate(two_classes()[:2])
    with pytest.raises(AutokdError, match="make no search"):
        simulate(two_classes(), share=0.0)
