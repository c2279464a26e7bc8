from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autokd.config.limits import COSTS, Budget
from autokd.select.best import (
    best,
    best_of_run,
    cheapness,
    comparable,
    front,
    is_ranked,
    last_rows,
    limited,
    rank,
    to_finish,
)


def row(
    trial: str, top1: float | None, macs: int = 10, params: int = 10, status: str = "done", images: int = 100
) -> dict[str, Any]:
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


def test_a_network_of_few_parameters_stands_on_the_front_beside_one_of_few_multiplications():
    rows = [row("few macs", 0.9, macs=10, params=90), row("few params", 0.8, macs=40, params=20), row("neither", 0.8, 50, 30)]
    assert [one["trial"] for one in front(rows)] == ["few macs", "few params"]


def test_what_nothing_ranks_is_finished_under_the_name_of_its_budget_or_of_both():
    rows = [row("a", None, macs=10), row("b", None, macs=90), row("c", None, macs=10, status="failed"), row("d", None, macs=90)]
    events = [{"event": "begin", "select": "last"}, {"event": "trial", "trial": "d", "of": "b"}]
    budgets = [{"name": "light", "macs": 20}, {"name": "light-2"}, {"name": "none", "macs": 1}]
    found = to_finish(rows, budgets, events)
    assert {name: {label: one["trial"] for label, one in some.items()} for name, some in found.items()} == {
        "light": {"light": "a"},
        "light-2": {"light-2-a": "a", "light-2-d": "d"},  # d is b, trained for longer
        "none": {},
    }
    assert not is_ranked(events) and is_ranked([{"event": "begin"}]) and is_ranked([])
    assert is_ranked([*events, {"event": "resume"}])


def test_a_run_folder_without_a_finished_trial_has_a_budget_without_a_winner(tmp_path):
    from autokd.track.recorder import Recorder

    recorder = Recorder(tmp_path)
    budgets = [{"name": "tiny", "params": 50}, {"name": "any"}]
    recorder.emit({"event": "begin", "run": "r", "name": "r", "budgets": budgets, "seed": 0})
    fits = {"a": ["tiny", "any"], "b": ["any"]}
    for trial, names in fits.items():
        cost = {"macs": 9, "params": 40, "config": {}}
        recorder.emit({"event": "trial", "trial": trial, "budget": "any", "budgets": names, **cost})
        recorder.emit({"event": "report", "trial": trial, "rung": 0, "images": 10, "epochs": 1, "val_top1": 0.5})
    assert best_of_run(tmp_path) == {"tiny": None, "any": None}
    recorder.emit({"event": "end", "trial": "b", "status": "done"})
    recorder.close()
    found = best_of_run(tmp_path)
    assert found["tiny"] is None  # its 40 parameters would fit; that the search says otherwise counts more
    assert found["any"]["trial"] == "b" and found["any"]["val_top1"] == 0.5


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


@given(rows=trials, macs=st.integers(1, 5), params=st.integers(1, 5))
def test_the_winner_of_every_budget_stands_on_the_front(rows, macs, params):
    budgets = [{"name": "macs", "macs": macs}, {"name": "params", "params": params}, {"name": "any"}]
    budgets.append({"name": "both", "macs": macs, "params": params})
    standing = {one["trial"] for one in front(rows)}
    for name, ranked in best(rows, budgets).items():
        assert not ranked or ranked[0]["trial"] in standing, name


@given(rows=trials)
def test_the_front_is_what_the_definition_says(rows):
    """By brute force over every pair: off the front is what another one is nowhere worse than."""

    def covers(one: dict[str, Any], other: dict[str, Any]) -> bool:
        nowhere_worse = (
            one["val_top1"] >= other["val_top1"] and one["macs"] <= other["macs"] and one["params"] <= other["params"]
        )
        same = all(one[key] == other[key] for key in ("val_top1", "macs", "params"))
        return nowhere_worse and (not same or one["trial"] < other["trial"])

    ended = [one for one in rows if one["status"] == "done"]
    expected = {one["trial"] for one in ended if not any(covers(other, one) for other in ended)}
    chosen = front(rows)
    assert {one["trial"] for one in chosen} == expected
    assert [one["macs"] for one in chosen] == sorted(one["macs"] for one in chosen)


@given(rows=trials, order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, order):
    shuffled = list(rows)
    order.shuffle(shuffled)
    budgets = [{"name": "tight", "macs": 3}, {"name": "any"}]
    assert best(shuffled, budgets) == best(rows, budgets)
    assert front(shuffled) == front(rows)


def test_a_confirmed_choice_comes_before_the_search_s_best_as_long_as_that_was_confirmed_too():
    from autokd.select.confirmed import confirmed_row

    facts = {"mean": 0.7, "low": 0.6, "high": 0.8, "seeds": [1, 2]}
    told = {"chosen": "b", "candidates": [{"trial": "a", **facts}, {"trial": "b", **facts}]}
    told |= {"verdict": "inconclusive", "search_best": "a", "optimism": 0.1}
    ranked = [row("a", 0.9), row("b", 0.8)]
    found = confirmed_row(ranked, told)
    assert found is not None and found["trial"] == "b" and found["confirmed"]["seeds"] == 2
    assert confirmed_row([row("new", 0.95), *ranked], told) is None
    assert confirmed_row(ranked, {**told, "chosen": None}) is None
    assert confirmed_row(ranked, None) is None and confirmed_row([], told) is None


CONDITIONS = [Budget("b", latency_ms=1.0, statistic=name).conditions for name in ("median", "p90")]
AXES = ("params", "macs", "file_size", "memory", *CONDITIONS)


def full(trial: str, top1: float, status: str, costs: list[int | None]) -> dict[str, Any]:
    """A row with every cost; a latency that was not measured, or a column that an old run does not have, is None."""
    made = dict(zip(AXES, costs))
    latencies = {name: made.pop(name) for name in CONDITIONS}
    told = json.dumps({name: ms for name, ms in latencies.items() if ms is not None})
    made |= {"latency_ms": latencies[CONDITIONS[0]], "latencies": told}
    return {"trial": trial, "val_top1": top1, "status": status, "images": 9} | made


costly = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.2, 0.5, 0.9]),
        st.sampled_from(["done", "done", "stopped"]),
        st.lists(st.none() | st.integers(1, 4), min_size=6, max_size=6),
    ),
    max_size=10,
).map(lambda items: [full(f"t{n}", *item) for n, item in enumerate(items)])
limits = st.dictionaries(st.sampled_from(COSTS), st.integers(1, 4).map(float))


@given(rows=costly, tight=limits, more=st.dictionaries(st.sampled_from(COSTS), st.integers(0, 3)),
       drop=st.sets(st.sampled_from(COSTS)), statistic=st.sampled_from(["median", "p90"]))  # fmt: skip
def test_on_every_cost_a_looser_budgets_winner_is_never_worse(rows, tight, more, drop, statistic):
    loose = {name: limit + more.get(name, 0) for name, limit in tight.items() if name not in drop}
    budgets = [Budget("tight", **tight, statistic=statistic).to_dict(), Budget("loose", **loose, statistic=statistic).to_dict()]
    found = best(rows, budgets)
    assert {row["trial"] for row in found["tight"]} <= {row["trial"] for row in found["loose"]}
    if found["tight"]:
        assert found["loose"][0]["val_top1"] >= found["tight"][0]["val_top1"]
        assert rank(found["loose"][0]) <= rank(found["tight"][0])


@given(rows=costly, limits=limits)
def test_the_winner_under_limits_of_any_kind_stands_on_the_front_over_these(rows, limits):
    budget = Budget("b", **limits).to_dict()
    standing = {one["trial"] for one in front(rows, limited([budget]))}
    ranked = best(rows, [budget])["b"]
    assert not ranked or ranked[0]["trial"] in standing


def test_a_limit_on_what_is_not_known_of_a_row_is_not_kept():
    rows = [full("known", 0.5, "done", [1, 1, 1, 1, 2, 3]), full("unknown", 0.9, "done", [1, 1, 1, 1, None, None])]
    ask = {name: [row["trial"] for row in best(rows, [budget.to_dict()])["b"]] for name, budget in {
        "median": Budget("b", latency_ms=2.0), "p90": Budget("b", latency_ms=2.0, statistic="p90"), "macs": Budget("b", macs=1.0),
    }.items()}  # fmt: skip
    assert ask == {"median": ["known"], "p90": [], "macs": ["unknown", "known"]}


def test_a_front_is_drawn_over_what_the_budgets_limit():
    assert limited([{"name": "any"}]) == ("params", "macs")
    asked = [Budget("a", file_size=1.0).to_dict(), Budget("b", of_teacher={"latency_ms": 0.1}).to_dict()]
    assert limited(asked) == ("params", "macs", "file_size", "latency_ms")
    quick, small = full("quick", 0.5, "done", [2, 2, 2, 2, 1, 1]), full("small", 0.5, "done", [1, 1, 1, 1, 2, 2])
    assert [one["trial"] for one in front([quick, small])] == ["small"]
    assert [one["trial"] for one in front([quick, small], limited(asked))] == ["small", "quick"]


def test_the_cheapest_is_so_first_by_what_the_budget_limits():
    quick, small = full("quick", 0.5, "done", [2, 2, 2, 2, 1, 9]), full("small", 0.5, "done", [1, 1, 1, 1, 2, 1])
    ask = {
        "free": Budget("b"),
        "median": Budget("b", latency_ms=9.0),
        "p90": Budget("b", latency_ms=9.0, statistic="p90"),
        "of teacher": Budget("b", of_teacher={"latency_ms": 0.5}),
    }
    found = {name: min([quick, small], key=lambda row: cheapness(row, budget.to_dict()))["trial"] for name, budget in ask.items()}
    assert found == {"free": "small", "median": "quick", "p90": "small", "of teacher": "quick"}
