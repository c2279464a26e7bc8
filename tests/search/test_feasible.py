from types import SimpleNamespace

import pytest
from search_fakes import BUDGETS, COSTS, PAIRS, divided

from autokd.config.sections import Budget
from autokd.config.trial import DataConfig, StudentConfig
from autokd.data.images import Card
from autokd.errors import AutokdError, Faults
from autokd.search.feasible import admits, feasible, measure


def test_a_pair_goes_to_every_budget_whose_limits_its_student_keeps():
    found = divided()
    assert found.pairs["tiny"] == (("teacher", "small"),)
    assert found.pairs["mid"] == (("teacher", "small"), ("teacher", "middle"))
    assert found.pairs["free"] == tuple(PAIRS)
    assert found.admitting(("teacher", "small")) == ("tiny", "mid", "free")
    assert found.admitting(("teacher", "large")) == ("free",)
    assert found.unused == ()


def test_a_limit_is_met_by_what_equals_it():
    assert admits(Budget(name="b", params=100.0, macs=1000.0), COSTS["small"])
    assert not admits(Budget(name="b", params=99.0), COSTS["small"])


def test_a_budget_in_shares_of_the_teacher_is_another_limit_for_each_pair():
    budget = Budget(name="tenth", of_teacher={"macs": 0.1})
    teachers = {"big": SimpleNamespace(params=9000, macs=20_000), "less": SimpleNamespace(params=9000, macs=9_999)}
    found = feasible([("big", "middle"), ("less", "small"), ("big", "large")], [budget], COSTS, teachers)
    assert found.pairs["tenth"] == (("big", "middle"),)


def test_a_student_no_cheaper_than_its_teacher_is_left_out():
    teachers = {"teacher": COSTS["middle"]}
    found = feasible(PAIRS, BUDGETS, COSTS, teachers)
    assert found.pairs["free"] == (("teacher", "small"),)
    assert found.unused == ("large", "middle")


def test_pairs_named_one_by_one_need_not_be_cheaper():
    found = feasible([("teacher", "large")], BUDGETS[2:], COSTS, {"teacher": COSTS["small"]}, cheaper=False)
    assert found.pairs["free"] == (("teacher", "large"),)


def test_a_pair_without_a_teacher_is_kept():
    assert feasible([(None, "large")], BUDGETS[2:], COSTS, {}).pairs["free"] == ((None, "large"),)


def test_a_budget_that_no_student_keeps_is_told_with_the_smallest_student():
    impossible = Budget(name="none", params=10.0)
    with pytest.raises(AutokdError) as fault:
        feasible(PAIRS, [*BUDGETS, impossible], COSTS, {})
    assert "no student fits the budget none: params 10" in str(fault.value)
    assert "small needs 100 params" in str(fault.value)


def test_all_impossible_budgets_are_told_at_once():
    impossible = [Budget(name=name, params=10.0) for name in "ab"]
    with pytest.raises(Faults) as fault:
        feasible(PAIRS, impossible, COSTS, {})
    assert len(fault.value.faults) == 2


def test_neither_side_of_a_rectangle_stands_for_it(monkeypatch, tmp_path):
    """resnet8x0.5 on 64x16: 3x3 convolutions of 3, 8, 8 channels on 1024 places, then 16 and 32 on 256 and on 64 places."""
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path))
    stages = 1024 * 9 * (3 * 8 + 2 * 8 * 8) + 256 * (9 * (8 * 16 + 16 * 16) + 8 * 16) + 64 * (9 * (16 * 32 + 32 * 32) + 16 * 32)
    told = {}
    for height, width in ((64, 16), (16, 64), (64, 64), (16, 16)):
        card = Card("folder", 2, 3, height, width, (), (), padding=2, flip=True, train_images=40, source="")
        costs, _ = measure(DataConfig("folder"), [StudentConfig("resnet8x0.5")], [], card)
        told[height, width] = costs["resnet8x0.5"]
    assert told[64, 16].macs == told[16, 64].macs == stages + 32 * 2 == 3_235_904
    assert told[16, 16].memory < told[64, 16].memory == told[16, 64].memory < told[64, 64].memory
