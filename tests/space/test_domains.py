"""The four words of a search space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.space.domains import (
    Branches,
    Choose,
    Constant,
    Int,
    Log,
    Uniform,
    emit,
    parse,
    same,
    splits,
    values_of,
)


def read(value: Any) -> Any:
    told: list[Any] = []
    node = parse(value, ("x",), lambda *fault: told.append(fault))
    assert not told
    return node


def fault(value: Any) -> tuple[Any, str, str]:
    """(place, what, fix) of the one fault of a value."""
    told: list[Any] = []
    assert parse(value, ("x",), lambda *one: told.append(one)) is None
    assert len(told) == 1
    return told[0]


@pytest.mark.parametrize(
    ("written", "node"),
    [
        (4, Constant(4)),
        ("cosine", Constant("cosine")),
        (None, Constant(None)),
        ({"uniform": [0, 1]}, Uniform(0.0, 1.0)),
        ({"uniform": [-2, 1], "prior": -1}, Uniform(-2.0, 1.0, -1)),
        ({"log": [1, 20], "prior": 4}, Log(1.0, 20.0, 4)),
        ({"int": [1, 3]}, Int(1, 3)),
        ({"int": [1, 64], "log": True, "prior": 8}, Int(1, 64, 8, True)),
        ({"int": [1.0, 3.0]}, Int(1, 3)),
        ({"choose": [64, 128]}, Choose((64, 128))),
        ({"choose": [False, True], "prior": True}, Choose((False, True), True)),
        ({"choose": [0, False]}, Choose((0, False))),  # not the same, though Python counts them equal
        ({"choose": ["a"]}, Choose(("a",))),
        ({"choose": [None, 0.5]}, Choose((None, 0.5))),
    ],
)
def test_a_value_is_read_as_its_domain(written, node):
    found = read(written)
    assert found == node and type(found) is type(node)


@pytest.mark.parametrize(
    ("written", "place", "what", "fix"),
    [
        ([1, 2], ("x",), "a list is not a value", "{choose: [1, 2]}"),
        (math.nan, ("x",), "is not a number to train with", "finite"),
        (math.inf, ("x",), "is not a number to train with", "finite"),
        ({"unifrom": [0, 1]}, ("x", "unifrom"), "no word of a search space", "did you mean 'uniform'?"),
        ({}, ("x",), "no word of a search space", "uniform, log, int, choose"),
        ({"uniform": [0, 1], "log": [1, 2]}, ("x", "uniform"), "exclude each other", "one of"),
        ({"uniform": [0, 1], "piror": 0}, ("x", "piror"), "takes no 'piror'", "did you mean 'prior'?"),
        ({"uniform": [0, 1], "log": True}, ("x", "uniform"), "exclude each other", "one of"),
        ({"uniform": [1, 0]}, ("x", "uniform"), "the range 1 to 0 is empty", "[0, 1]"),
        ({"log": [2, 2]}, ("x", "log"), "holds one value", "constant: 2"),
        ({"log": [0, 1]}, ("x", "log"), "starts above 0", "uniform"),
        ({"log": [-1, 1]}, ("x", "log"), "starts above 0", "uniform"),
        ({"int": [0, 4], "log": True}, ("x", "int"), "starts above 0", "raise"),
        ({"int": [0.5, 4]}, ("x", "int"), "whole numbers", "uniform"),
        ({"int": [1, 4], "log": "yes"}, ("x", "log"), "log is true or false", "log"),
        ({"uniform": 3}, ("x", "uniform"), "takes two numbers", "[1, 20]"),
        ({"uniform": [0, 1, 2]}, ("x", "uniform"), "takes two numbers", "[1, 20]"),
        ({"uniform": [0, "one"]}, ("x", "uniform"), "takes two numbers", "[1, 20]"),
        ({"uniform": [0, True]}, ("x", "uniform"), "takes two numbers", "[1, 20]"),
        ({"uniform": [0, math.inf]}, ("x", "uniform"), "takes two numbers", "[1, 20]"),
        ({"choose": []}, ("x", "choose"), "at least one value", "for example"),
        ({"choose": 3}, ("x", "choose"), "at least one value", "for example"),
        ({"choose": {"a": {}, "b": {}}}, ("x", "choose"), "bring no settings", "[a, b]"),
        ({"choose": [1, {"choose": [2, 3]}]}, ("x", "choose", 1), "an option is a single value", "branches"),
        ({"choose": [1, 2, 1]}, ("x", "choose", 2), "stands in this list twice", "take one out"),
        ({"choose": [1, math.nan]}, ("x", "choose", 1), "not a number to train with", "finite"),
        ({"uniform": [0, 1], "prior": 2}, ("x", "prior"), "lies outside: 0 to 1", "of the range"),
        ({"log": [1, 20], "prior": "4"}, ("x", "prior"), "lies outside: 1 to 20, log", "of the range"),
        ({"int": [1, 4], "prior": 2.5}, ("x", "prior"), "lies outside: 1 to 4, whole", "of the range"),
        ({"choose": [64, 128], "prior": 96}, ("x", "prior"), "lies outside: 64 | 128", "of the range"),
        ({"choose": [True, False], "prior": 1}, ("x", "prior"), "lies outside: true | false", "of the range"),
    ],
)
def test_a_value_that_is_no_domain_is_told_at_its_place_with_the_way_out(written, place, what, fix):
    found = fault(written)
    assert found[0] == place
    assert what in found[1] and fix in found[2]


class Recorder:
    """Draws the middle of everything and notes what was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        self.asked.append((path, tuple(options)))
        return options[-1]

    def uniform(self, path: str, low: float, high: float) -> float:
        self.asked.append((path, low, high))
        return low

    def log(self, path: str, low: float, high: float) -> float:
        self.asked.append((path, low, high, "log"))
        return high

    def integer(self, path: str, low: int, high: int, log: bool = False) -> int:
        self.asked.append((path, low, high, log))
        return high


def test_a_domain_asks_for_itself_once_and_a_constant_never():
    drawer = Recorder()
    nodes = [Constant(3), Choose(("only",)), Choose((1, 2)), Uniform(0, 1), Log(1, 2), Int(1, 4, None, True)]
    assert [node.draw(drawer, f"k{i}") for i, node in enumerate(nodes)] == [3, "only", 2, 0, 2, 4]
    assert drawer.asked == [("k2", (1, 2)), ("k3", 0, 1), ("k4", 1, 2, "log"), ("k5", 1, 4, True)]


@pytest.mark.parametrize(
    ("node", "inside", "outside"),
    [
        (Uniform(0, 1), [0, 1, 0.5], [-0.1, 1.1, True, "0", None, math.nan]),
        (Int(1, 3), [1, 2.0, 3], [0, 1.5, 4, True, math.inf]),
        (Choose((0, "a", None)), [0, 0.0, "a", None], [False, 1, "b"]),
        (Choose((True,)), [True], [1, 1.0, False]),
        (Constant(4.0), [4, 4.0], [5, "4"]),
    ],
)
def test_a_domain_knows_its_values(node, inside, outside):
    assert all(node.holds(value) for value in inside)
    assert not any(node.holds(value) for value in outside)


def test_the_middle_of_a_range_is_that_of_its_own_scale():
    assert Uniform(0, 1).middle() == 0.5
    assert Log(1, 16).middle() == pytest.approx(4)  # sqrt(1 x 16)
    assert Int(1, 16, None, True).middle() == 4
    assert Int(1, 4).middle() == 2
    assert Choose(("b", "a")).middle() == "b"


def test_the_ends_and_the_options_decide_whether_a_limit_is_kept():
    assert list(values_of(Constant(3))) == [3]
    assert list(values_of(Choose((1, 2)))) == [1, 2]
    assert list(values_of(Log(1, 20))) == [1, 20]


def test_true_is_not_one():
    assert same(1, 1.0) and same(True, True)
    assert not same(1, True) and not same(0, False)


def test_the_four_words_are_known():
    assert splits({"choose": []}) and splits({"log": [1, 2]})
    assert not splits({"kd": {}}) and not splits([1]) and not splits("log")


def test_branches_tell_their_names_and_settings():
    branches = Branches((("kd", (("temperature", Log(1, 20, 4.0)),)), ("ce", ())), "ce")
    assert branches.names == ("kd", "ce")
    assert branches.settings("kd") == {"temperature": Log(1, 20, 4.0)}
    assert branches.choice() == Choose(("kd", "ce"), "ce")
    assert emit(branches) == {
        "choose": {"kd": {"temperature": {"log": [1, 20], "prior": 4.0}}, "ce": {}},
        "prior": "ce",
    }


def test_words_are_told_as_yaml_writes_them():
    assert str(Choose((False, None, 0.5))) == "false | null | 0.5"
    assert str(Int(1, 3)) == "1 to 3, whole" and str(Log(0.1, 30)) == "0.1 to 30, log"


numbers = st.floats(-1e6, 1e6).map(lambda x: float(f"{x:.6g}"))


@st.composite
def domains(draw: Any) -> Any:
    kind = draw(st.sampled_from(["uniform", "log", "int", "choose"]))
    if kind == "choose":
        options = draw(st.lists(st.integers(-5, 5) | st.text("abc", min_size=1, max_size=3), min_size=1, unique=True))
        return Choose(tuple(options), draw(st.sampled_from([None, *options])))
    if kind == "int":
        low, high = sorted(draw(st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True)))
        return Int(low, high, draw(st.none() | st.integers(low, high)), draw(st.booleans()))
    low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    if kind == "log":
        low, high = abs(low) + 1, abs(low) + 1 + (high - low)
        return Log(low, high, draw(st.none() | st.floats(low, high)))
    return Uniform(low, high, draw(st.none() | st.floats(low, high)))


@given(node=domains())
def test_a_domain_that_is_written_is_read_back_as_itself(node):
    assert read(emit(node)) == node
    assert all(node.holds(value) for value in values_of(node)) and node.holds(node.middle())
