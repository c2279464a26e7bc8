from __future__ import annotations

import numpy as np
import pytest

from autokd.select.importance import importance


def trials(count: int, seed: int = 0) -> list[dict]:
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        one = {"ratio": float(random.uniform()), "lr": float(random.uniform()), "policy": str(random.choice(["none", "jda"]))}
        if random.uniform() < 0.5:
            one["temperature"] = float(random.uniform(1, 20))
        made.append(one)
    return made


def test_the_knob_that_makes_the_score_is_found_and_the_others_are_not():
    values = trials(80)
    found = importance(values, [one["ratio"] ** 3 for one in values])
    # a knob that decides all makes all of the variance
    assert next(iter(found.shares)) == "ratio" and 0.7 < found.shares["ratio"][0] < 1.2
    assert found.explained > 0.8 and found.trials == 80
    assert all(abs(found.shares[name][0]) < 0.1 for name in ("lr", "policy", "temperature"))
    assert all(low <= mean <= high for mean, low, high in found.shares.values())


def test_knobs_that_add_up_have_the_shares_of_variance_that_they_make():
    random = np.random.default_rng(2)
    values = [{"a": float(a), "b": float(b), "c": float(c)} for a, b, c in random.uniform(size=(300, 3))]
    found = importance(values, [2 * one["a"] + one["b"] for one in values])
    # 4/12 and 1/12 of variance: four parts in five, and one
    assert found.shares["a"][0] == pytest.approx(0.8, abs=0.15) and found.shares["b"][0] == pytest.approx(0.2, abs=0.1)
    assert abs(found.shares["c"][0]) < 0.05


def test_a_word_and_a_setting_of_one_branch_count_too():
    values = trials(120)
    found = importance(values, [(one["policy"] == "jda") + one.get("temperature", 0.0) / 10 for one in values])
    assert set(list(found.shares)[:2]) == {"policy", "temperature"}


def test_where_scores_are_chance_nothing_is_said_to_matter():
    random = np.random.default_rng(1)
    found = importance(trials(60), random.normal(size=60).tolist())
    assert found.explained <= 0 and found.shares == {}


def test_too_few_trials_equal_scores_or_one_configuration_tell_nothing():
    assert importance(trials(11), list(range(11))) is None
    assert importance(trials(30), [0.5] * 30) is None
    assert importance([{"ratio": 0.5}] * 30, list(range(30))) is None
    assert importance([], []) is None


def test_it_is_the_same_each_time_and_names_of_trials_are_no_knob():
    values = [{**one, "arm": f"arm {number}"} for number, one in enumerate(trials(60))]
    scores = [one["ratio"] for one in values]
    assert importance(values, scores) == importance(values, scores)
    assert "arm" not in importance(values, scores).shares


def test_as_many_scores_as_trials():
    with pytest.raises(ValueError, match="2 trials against 1 scores"):
        importance([{}, {}], [0.5])
