"""Repetitions are timed by a clock of the test's own, so that nothing here depends on what the machine does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.cost.latency import Estimate, Pass, Timing, differ, estimates, repeat, timing_of, timing_pass
from autokd.cost.machine_load import CpuTimes, MachineLoad, cpu_times


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

    def time(self, how=repeat, **settings):
        quiet = {"machine_load": lambda: MachineLoad(lambda: None, load=lambda: None), **settings}
        return how(self.call, clock=lambda: self.now, processor=lambda: self.worked, **quiet)


def test_a_steady_network_is_timed_exactly_and_soon():
    machine = Machine(lambda n: 0.004)
    timing = machine.time()
    assert timing.median.value == pytest.approx(4.0) and timing.p90.value == pytest.approx(4.0)
    assert timing.median.low == pytest.approx(4.0) and timing.median.high == pytest.approx(4.0)
    assert not timing.doubt and machine.now < 1.0  # no reason to use up the four seconds


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
    assert Machine(lambda n: 0.004, share=0.5).time().doubt == "the process got 50 % of a CPU"
    assert Machine(lambda n: 0.004, share=0.99).time().doubt == ""


def around(machine, *, processors=4, others=0.0, stolen=0.0):
    """MachineLoad in which other processes keep `others` processors busy, and the host takes a share `stolen` of the time."""

    def read():
        return CpuTimes(processors, 100 + machine.worked + others * machine.now, 7 + stolen * processors * machine.now)

    return lambda: MachineLoad(read, own=lambda: machine.worked, clock=lambda: machine.now)


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({}, ""),
        ({"others": 0.9}, ""),  # under a quarter of four processors
        ({"others": 1.1}, "other processes used 1.1 of 4 CPUs"),
        ({"others": 1.1, "processors": 64}, ""),
        ({"stolen": 0.05}, "the host took 5 % of the CPU time"),
        ({"stolen": 0.01}, ""),
    ],
)
def test_a_steady_time_beside_others_is_narrow_and_not_trusted(more, doubt):
    machine = Machine(lambda n: 0.004)
    timing = machine.time(machine_load=around(machine, **more))
    assert timing.doubt == doubt and timing.median.high == pytest.approx(timing.median.low)


def test_where_nothing_counts_processors_the_load_average_speaks(monkeypatch):
    monkeypatch.setattr("autokd.cost.machine_load.cpus", lambda: 4)
    for load, doubt in ((2.5, ""), (3.5, "the load average was 3.5 on 4 CPUs"), (None, "")):
        assert MachineLoad(lambda: None, load=lambda load=load: load).doubt(threads=1) == doubt
    assert MachineLoad(lambda: None, load=lambda: 3.5).doubt(threads=3) == ""  # three of them are what is timed


def test_the_processors_of_this_process_are_read_from_proc_stat(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda who: {0, 2}, raising=False)
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    (tmp_path / "stat").write_text(
        "cpu  900 0 0 0 0 0 0 0 0 0\ncpu0 100 20 30 5000 9 1 2 40 50 0\ncpu1 7000 0 0 0 0 0 0 0 0 0\n"
        "cpu2 200 0 0 1 0 0 0 10 0 0\nintr 5\n"
    )
    found = cpu_times(tmp_path / "stat")
    # hundredths: user, nice, system, irq and softirq of both; guests are among the user's; idle and waiting is not work
    assert found == CpuTimes(2, pytest.approx((100 + 20 + 30 + 1 + 2 + 200) / 100), pytest.approx(0.5))
    (tmp_path / "stat").write_text("nothing\n")
    assert cpu_times(tmp_path / "stat") is None and cpu_times(tmp_path / "none") is None


def test_two_times_of_the_same_thing_have_to_agree():
    quick = Machine(lambda n: 0.004).time(timing_pass)
    slow = Machine(lambda n: 0.005).time(timing_pass, like=quick)
    assert timing_of([slow, quick]).doubt == timing_of([quick, slow]).doubt == "two passes disagree: 4 and 5 ms"
    near = Machine(lambda n: 0.0043).time(timing_pass, like=quick)
    assert timing_of([quick, near]).doubt == ""  # less than a tenth
    both = timing_of([quick, slow])
    assert both.median.low == pytest.approx(4.0) and both.median.high == pytest.approx(5.0)
    assert both.repetitions == sum(len(one) for some in (quick, slow) for one in some.rounds)
    assert timing_of([Pass(quick.rounds, "busy"), Pass(quick.rounds, "busy")]).doubt == "busy"
    assert not differ(Estimate(4, 3.5, 5.1), Estimate(5, 4.9, 5.2))  # their intervals meet


def test_a_second_pass_has_rounds_of_as_many_repetitions():
    first = Machine(lambda n: 0.004).time(timing_pass)
    second = Machine(lambda n: 0.008).time(timing_pass, like=first)
    assert len(second.rounds[0]) == len(first.rounds[0]) != len(Machine(lambda n: 0.008).time(timing_pass).rounds[0])


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
    timing = Timing(Estimate(1.0, 0.5, 1.5), Estimate(2.0, 1.5, 2.5), 40, doubt="others")
    assert Timing.from_dict(timing.to_dict()) == timing
    older = {key: value for key, value in timing.to_dict().items() if key != "doubt"}  # of a run before there were doubts
    assert Timing.from_dict(older).doubt == "something else was running"
    assert Timing.from_dict({**older, "busy": False}).doubt == ""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Timing.from_dict({"median": [1.0]})
