from __future__ import annotations

import numpy as np
import pytest

from autokd.select.knobs import ENOUGH, knobs


def test_the_share_of_a_knob_worked_by_hand():
    """Ten trials, two values, the ranks 1 to 5 and 6 to 10: the groups' means are 3 and 8 about 5.5.

    Between: 10 x 2.5^2 = 62.5; in all: 10 x (10^2 - 1) / 12 = 82.5. Two groups explain 1 / 9 by chance.
    """
    trials = [({"method": "kd" if place < 5 else "ccd"}, (0.0, float(place))) for place in range(10)]
    (found,) = knobs(trials)
    explained = 62.5 / 82.5
    assert found.share == pytest.approx((explained - 1 / 9) / (1 - 1 / 9))
    # of the 252 ways to divide ten places two part them like this: p is about 2 / 252
    assert found.p == pytest.approx(2 / 252, abs=0.005)
    assert found.mattered and found.trials == 10


def test_a_knob_that_decides_stands_first_and_one_that_does_not_is_not_said_to_matter():
    random = np.random.default_rng(0)
    trials = []
    for _ in range(60):
        lr, decay = float(random.random()), str(random.integers(3))
        trials.append(({"lr": lr, "decay": decay}, (2.0, -abs(lr - 0.5) + 0.02 * random.normal())))
    first, second = knobs(trials)
    assert first.name == "lr" and first.mattered and first.share > 0.5
    assert second.name == "decay" and not second.mattered


def test_chance_is_seldom_called_a_knob_that_matters():
    shown = 0
    for number in range(60):
        random = np.random.default_rng(number)
        trials = [({"a": float(random.random()), "b": int(random.integers(3))}, (0.0, random.normal())) for _ in range(20)]
        shown += any(one.mattered for one in knobs(trials, draws=500))
    assert shown <= 9  # a binomial of 5 % of 60 stays there with 99.8 %


def test_a_trial_that_was_stopped_counts_as_worse_than_those_that_went_on():
    """The stopped ones had the better scores, at the rung where they were stopped."""
    trials = [({"x": "kept"}, (2.0, 0.5 + i / 100)) for i in range(6)] + [({"x": "cut"}, (0.0, 0.9 + i / 100)) for i in range(6)]
    (found,) = knobs(trials)
    assert found.mattered


def test_a_branch_s_own_knob_is_judged_among_the_trials_that_have_it_and_few_trials_say_nothing():
    trials = [({"method": "kd", "t": float(i)}, (0.0, float(i))) for i in range(ENOUGH)]
    trials += [({"method": "ce"}, (0.0, float(i))) for i in range(4)]
    assert {one.name: one.trials for one in knobs(trials)} == {"method": 14, "t": 10}
    assert knobs(trials[: ENOUGH - 1]) == []
    assert knobs([({"a": 1}, (0.0, float(i))) for i in range(20)]) == []  # one value
