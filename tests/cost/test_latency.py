"""Repetitions are timed by a clock of the test's own, so that nothing here depends on what the machine does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.cost.latency import Estimate, Timing, estimates, repeat


class Machine:
    """A clock that only the timed call moves. `lasts`: seconds of the n-th call; `share`: how much of it is one's own work."""

    def __init__(self, lasts, share=1.0):
        self.lasts, self.share = lasts, share
        self.now = self.worked = 0.0
        self.calls = 0

    def call(self):
        took = self.lasts(self.calls)
        self.calls += 1
        self.now += took
        self.worked += self.share * took

    def time(self, **settings):
        return repeat(self.call, clock=lambda: self.now, processor=lambda: self.worked, **settings)


def test_a_steady_network_is_timed_exactly_and_soon():
    machine = Machine(lambda n: 0.004)
    timing = machine.time()
    assert timing.median.value == pytest.approx(4.0) and timing.p90.value == pytest.approx(4.0)
    assert timing.median.low == pytest.approx(4.0) and timing.median.high == pytest.approx(4.0)
    assert not timing.busy and machine.now < 1.0  # no reason to use up the four seconds


def test_the_slow_calls_of_the_beginning_are_left_out():
    timing = Machine(lambda n: 5.0 if n == 0 else 0.05 if n < 5 else 0.002).time()
    assert timing.p90.value == pytest.approx(2.0)


def test_a_tail_moves_the_90th_percentile_and_not_the_median():
    timing = Machine(lambda n: 0.005 if n % 5 == 0 else 0.001).time()  # one in five is slow
    assert timing.median.value == pytest.approx(1.0)
    assert timing.p90.value == pytest.approx(5.0)
    assert timing.of("median") == timing.median and timing.of("p90") == timing.p90


def test_a_machine_whose_rounds_differ_is_timed_until_the_cap_and_its_interval_is_wide():
    machine = Machine(lambda n: 0.001 * (1 + (n // 60) % 3))  # by turns 1, 2 and 3 ms
    timing = machine.time(cap=1.0)
    assert machine.now == pytest.approx(1.3, abs=0.3)  # the warm-up and the cap
    assert timing.median.low < 2.0 <= timing.median.high + 1e-9 and timing.median.high - timing.median.low > 0.5


def test_a_network_slower_than_the_cap_is_called_a_few_times_all_the_same():
    machine = Machine(lambda n: 3.0)
    timing = machine.time(cap=4.0)
    assert timing.median.value == pytest.approx(3000.0) and timing.repetitions == 12


def test_that_something_else_took_the_processor_is_noticed():
    assert Machine(lambda n: 0.004, share=0.5).time().busy
    assert not Machine(lambda n: 0.004, share=0.99).time().busy


def test_the_statistics_are_those_of_all_repetitions():
    rounds = np.random.default_rng(1).gamma(4.0, 1e-3, size=(9, 11))
    told = estimates(rounds)
    assert told["median"].value == pytest.approx(1000 * np.median(rounds))
    assert told["p90"].value == pytest.approx(1000 * np.percentile(rounds, 90))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Rounds that share a shift, as a machine's do: the truth is the median over many rounds."""
    generator = np.random.default_rng(3)
    hits = 0
    for case in range(200):
        shifts = generator.normal(0.0, 0.05, size=(25, 1))
        rounds = 1e-3 * (1 + shifts + generator.normal(0, 0.02, size=(25, 20)))
        interval = estimates(rounds, seed=case)["median"]
        hits += interval.low <= 1.0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


@given(st.lists(st.lists(st.floats(1e-6, 10.0), min_size=4, max_size=4), min_size=3, max_size=8))
def test_an_interval_holds_its_statistic_within_what_was_seen(rounds):
    seen = [1000 * one for some in rounds for one in some]
    for one in estimates(rounds).values():
        slack = 1e-9 * max(seen)
        assert min(seen) - slack <= one.low <= one.high + slack and one.high <= max(seen) + slack
        assert math.isfinite(one.value)


def test_a_timing_is_written_down_and_read_back():
    timing = Timing(Estimate(1.0, 0.5, 1.5), Estimate(2.0, 1.5, 2.5), 40, busy=True)
    assert Timing.from_dict(timing.to_dict()) == timing
    with pytest.raises((KeyError, TypeError, ValueError)):
        Timing.from_dict({"median": [1.0]})
