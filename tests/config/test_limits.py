from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.config.limits import COSTS, Budget, Deployment, cost_of_row, limits_in, unusual
from autokd.config.units import milliseconds, short_ms, short_size, size

LIMITS = st.dictionaries(st.sampled_from(COSTS), st.integers(1, 9).map(float), max_size=5)


@given(tight=LIMITS, more=st.dictionaries(st.sampled_from(COSTS), st.integers(0, 9).map(float)),
       drop=st.sets(st.sampled_from(COSTS)),
       cost=st.fixed_dictionaries({name: st.integers(1, 12).map(float) for name in COSTS}))  # fmt: skip
def test_what_a_tighter_budget_admits_a_looser_one_admits_too(tight, more, drop, cost):
    loose = {name: limit + more.get(name, 0) for name, limit in tight.items() if name not in drop}
    if Budget("tight", **tight).admits(cost):
        assert Budget("loose", **loose).admits(cost)


def test_a_budget_as_a_dict_says_every_limit_and_conditions_where_it_is_timed():
    told = Budget("b", params=10, file_size=5, of_teacher={"macs": 0.5}).to_dict()
    assert limits_in(told) == {"params": 10, "file_size": 5} and told["of_teacher"] == {"macs": 0.5}
    assert "conditions" not in told and unusual(told) == ""
    timed = Budget("b", of_teacher={"latency_ms": 0.1}, statistic="p90", deployment=Deployment(batch=8, dtype="float16"))
    told = json.loads(json.dumps(timed.to_dict()))
    assert told["conditions"] == "p90, batch 8, cpu, 1 thread, torch, float16"
    assert unusual(told) == "p90, batch 8, float16"
    assert Deployment(**told["deployment"]) == timed.deployment


def test_a_row_is_asked_for_the_latency_under_the_budgets_own_conditions():
    budget = Budget("b", latency_ms=5.0, statistic="p90").to_dict()
    row = {"params": 7, "latency_ms": 1.0, "latencies": json.dumps({budget["conditions"]: 4.0, "another": 9.0})}
    assert cost_of_row(row, "latency_ms", budget) == 4.0
    assert cost_of_row(row, "latency_ms") == 1.0 and cost_of_row(row, "params", budget) == 7
    assert cost_of_row({**row, "latencies": json.dumps({"another": 9.0})}, "latency_ms", budget) is None
    assert cost_of_row(row, "memory", budget) is None


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("1 MB", 1e6), ("500kB", 5e5), ("2 MiB", 2097152), ("1.5 KiB", 1536), ("7 bytes", 7), ("3 G", 3e9), (12, 12), ("9 B", 9)],
)
def test_sizes(text, bytes_):
    assert size(text).value == bytes_


@pytest.mark.parametrize(("text", "ms"), [("5 ms", 5), ("0.2s", 200), ("800 us", 0.8), ("800 µs", 0.8), ("1e-3 s", 1)])
def test_times(text, ms):
    assert milliseconds(text).value == pytest.approx(ms, rel=1e-12)


@given(st.integers(1, 10**12), st.floats(1e-3, 1e6))
def test_amounts_are_written_as_they_are_read(bytes_, ms):
    assert size(short_size(float(bytes_))).value == bytes_
    rounded = milliseconds(f"{ms!r} ms").value
    assert milliseconds(short_ms(rounded)).value == rounded
