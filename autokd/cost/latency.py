"""How long one batch takes: repetitions in rounds, their median and 90th percentile, and how sure those are.

On a busy machine an interval can be narrow and wrong. A timing is therefore marked as not trustworthy (`doubt`) if the process
got too little CPU time, if other processes or the host used the CPUs (autokd.cost.machine_load), or if two passes, some time
apart, disagree.
No torch here: what is timed is a function, and the clock is one's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autokd.cost.machine_load import MachineLoad

__all__ = ["STATISTICS", "Estimate", "Pass", "Timing", "differ", "estimates", "timing_of", "timing_pass", "repeat"]

STATISTICS = {"median": 0.5, "p90": 0.9}
_WARM_SECONDS, _WARM_CALLS = 0.3, 5
_ROUND_SECONDS, _ROUND_CALLS = 0.05, (4, 100)
_ROUNDS = (5, 40)  # at least (where the cap allows), at most
_LOOK = 5  # rounds between two looks at the intervals
_NARROW = 0.04  # width of the wider interval, as a share of its statistic
_RESAMPLES = 400
_SHARE = 0.9  # least share of a CPU that the measured code must get
_APART = 0.1  # relative difference up to which two timings agree


@dataclass(frozen=True)
class Estimate:
    """A statistic in ms with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ms ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Timing:
    """Latency of one network under one deployment. doubt: why it is not trustworthy; empty if it is."""

    median: Estimate
    p90: Estimate
    repetitions: int
    doubt: str = ""

    def of(self, statistic: str) -> Estimate:
        return self.median if statistic == "median" else self.p90

    def to_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"repetitions": self.repetitions, "busy": bool(self.doubt), "doubt": self.doubt}
        return {name: [one.value, one.low, one.high] for name in STATISTICS for one in [self.of(name)]} | told

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Timing:
        """Raises KeyError, TypeError or ValueError where it is none."""
        some = {name: Estimate(*map(float, told[name])) for name in STATISTICS}
        doubt = told.get("doubt") or ("something else was running" if told.get("busy") else "")
        return cls(**some, repetitions=int(told["repetitions"]), doubt=str(doubt))


@dataclass(frozen=True)
class Pass:
    """Consecutive rounds of repetitions, in seconds, the same number in each. doubt: as in `Timing`."""

    rounds: list[list[float]]
    doubt: str = ""

    @property
    def seconds(self) -> float:
        return sum(map(sum, self.rounds))


def repeat(call: Callable[[], object], *, cap: float = 4.0, **settings: Any) -> Timing:
    """Time `call` until both intervals are narrow, or `cap` seconds are over. settings: of `timing_pass`."""
    return timing_of([timing_pass(call, cap=cap, **settings)])


def timing_pass(
    call: Callable[[], object],
    *,
    cap: float = 4.0,
    like: Pass | None = None,
    clock: Callable[[], float] = time.perf_counter,
    processor: Callable[[], float] | None = time.process_time,
    machine_load: Callable[[], MachineLoad] = MachineLoad,
    threads: int = 1,
) -> Pass:
    """Warm up, then time rounds of about 50 ms. Intervals are drawn from rounds, not from single repetitions, since consecutive
    repetitions share the machine's state.

    like: an earlier pass, to take the repetitions of a round from. clock: seconds. processor: CPU seconds of this process, fewer
    than the clock's if it had to wait; None for work on a GPU. threads: of the measured code.
    """
    call()  # compiles, where it does
    begin = clock()
    calls = 0
    while calls < _WARM_CALLS or clock() - begin < _WARM_SECONDS:
        call()
        calls += 1
        if clock() - begin > cap / 4:  # a slow network is warm after a call or two
            break
    each = max((clock() - begin) / calls, 1e-9)
    count = len(like.rounds[0]) if like else min(max(math.ceil(_ROUND_SECONDS / each), _ROUND_CALLS[0]), _ROUND_CALLS[1])
    rounds: list[list[float]] = []
    around, begin, worked = machine_load(), clock(), processor() if processor is not None else 0.0
    while True:
        rounds.append([_timed(call, clock) for _ in range(count)])
        over = clock() - begin > cap
        if len(rounds) >= 3 and (over or len(rounds) >= _ROUNDS[1]):
            break
        if len(rounds) >= _ROUNDS[0] and len(rounds) % _LOOK == 0 and _width(estimates(rounds)) <= _NARROW:
            break
    share = 1.0 if processor is None else (processor() - worked) / (clock() - begin)
    doubt = around.doubt(threads) or (f"the process got {100 * share:.0f} % of a CPU" if share < _SHARE else "")
    return Pass(rounds, doubt)


def timing_of(passes: Sequence[Pass]) -> Timing:
    """Statistics over the rounds of all passes. Not trustworthy if a pass is not, or if the passes disagree."""
    told = estimates([one for some in passes for one in some.rounds])
    doubts = [one.doubt for one in passes if one.doubt]
    medians = [estimates(one.rounds)["median"] for one in passes]
    low, high = min(medians, key=lambda one: one.value), max(medians, key=lambda one: one.value)
    if not doubts and differ(low, high):
        doubts.append(f"two passes disagree: {low.value:.3g} and {high.value:.3g} ms")
    return Timing(**told, repetitions=sum(len(one) for some in passes for one in some.rounds), doubt=doubts[0] if doubts else "")


def differ(one: Estimate, other: Estimate) -> bool:
    """Whether two timings disagree: their intervals do not overlap, and their values are more than a tenth apart."""
    low, high = sorted((one, other), key=lambda some: some.value)
    return low.high < high.low and high.value > (1 + _APART) * low.value


def estimates(rounds: Sequence[Sequence[float]], seed: int = 0) -> dict[str, Estimate]:
    """Median and 90th percentile of all repetitions, in ms, with 95 % bootstrap intervals over the rounds.

    rounds: seconds, as many in each. Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13
    (percentile intervals), with whole rounds drawn again (chapter 8.6, blocks).
    """
    import numpy as np

    times = 1000 * np.asarray(rounds, dtype=np.float64)  # [R, N]
    drawn = np.random.default_rng(seed).integers(len(times), size=(_RESAMPLES, len(times)))
    again = times[drawn].reshape(_RESAMPLES, -1)  # [resamples, R * N]
    told = {}
    for name, share in STATISTICS.items():
        low, high = np.quantile(np.quantile(again, share, axis=1), [0.025, 0.975])
        told[name] = Estimate(float(np.quantile(times, share)), float(low), float(high))
    return told


def _timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    call()
    return clock() - begin


def _width(told: Mapping[str, Estimate]) -> float:
    return max((one.high - one.low) / one.value if one.value > 0 else 0.0 for one in told.values())
