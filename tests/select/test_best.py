from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autokd.select.best import best, comparable, front, last_rows, rank


def row(trial: str, top1: float | None, macs: int = 10, params: int = 10, status: str = "done", images: int = 100) -> dict[str, Any]:
    return {"trial": trial, "val_top1": top1, "macs": macs, "params": params, "status": status, "images": images}


def test_the_most_accurate_trial_wins_and_among_equals_the_cheapest():
    rows = [row("a", 0.8, macs=30), row("b", 0.9, macs=30), row("c", 0.9, macs=20), row("d", 0.9, macs=20, params=9)]
    assert [one["trial"] for one in best(rows, [{"name": "all"}])["all"]] == ["d", "c", "b", "a"]


def test_a_trial_that_was_stopped_or_failed_or_has_no_score_is_not_compared():
    assert not any(map(comparable, [row("a", 0.99, status="stopped"), row("b", 0.99, status="failed"), row("c", None)]))
    assert not comparable(row("d", math.nan)) and comparable(row("e", 0.0))


def test_limits_are_kept_to_the_last_unit():
    rows = [row("fits", 0.5, macs=100, params=50), row("macs", 0.9, macs=101, params=50), row("params", 0.9, macs=1, params=51)]
    found = best(rows, [{"name": "tight", "macs": 100, "params": 50}])
    assert [one["trial"] for one in found["tight"]] == ["fits"]


def test_what_the_search_found_of_a_student_counts_before_the_plain_limits():
    rows = [row("a", 0.5, macs=10), row("b", 0.9, macs=10)]
    found = best(rows, [{"name": "half", "macs": 99}], {"b": []})  # a limit relative to a teacher, say
    assert [one["trial"] for one in found["half"]] == ["a"]


def test_the_last_row_of_a_trial_speaks_for_it():
    rows = [row("a", 0.9, images=50), row("a", 0.6, images=100), row("b", 0.7)]
    assert [(one["trial"], one["val_top1"]) for one in last_rows(rows)] == [("a", 0.6), ("b", 0.7)]


def test_the_front_of_a_worked_example():
    rows = [row("a", 0.5, 10), row("b", 0.4, 20), row("c", 0.7, 30), row("d", 0.7, 40), row("e", 0.6, 30), row("f", 0.5, 5)]
    assert [one["trial"] for one in front(rows)] == ["f", "c"]


trials = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(1, 5), st.integers(1, 5), st.sampled_from(["done", "stopped"])),
    max_size=12,
).map(lambda items: [row(f"t{n}", top1, macs, params, status) for n, (top1, macs, params, status) in enumerate(items)])


@given(rows=trials, tight=st.integers(1, 5), more=st.integers(0, 5))
def test_a_looser_budgets_winner_is_never_worse_than_a_tighter_ones(rows, tight, more):
    found = best(rows, [{"name": "tight", "macs": tight, "params": 3}, {"name": "loose", "macs": tight + more}])
    if found["tight"]:
        assert found["loose"][0]["val_top1"] >= found["tight"][0]["val_top1"]
        assert rank(found["loose"][0]) <= rank(found["tight"][0])


@given(rows=trials)
def test_nothing_cheaper_or_as_cheap_is_as_accurate_as_a_trial_on_the_front_and_nothing_off_it_is_missing(rows):
    ended = [one for one in rows if one["status"] == "done"]
    chosen = front(rows)
    for one in chosen:
        others = [other for other in ended if other is not one and other["macs"] <= one["macs"]]
        assert all(other["val_top1"] < one["val_top1"] or rank(other)[1:] > rank(one)[1:] for other in others)
    for one in ended:
        assert any(other["macs"] <= one["macs"] and other["val_top1"] >= one["val_top1"] for other in chosen)
