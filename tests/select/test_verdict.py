from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autokd.select.verdict import (
    NOT_SHOWN,
    OPPOSITE,
    SHOWN,
    Contrast,
    Estimate,
    Verdict,
    compare,
    estimate,
    holm,
    overall,
    quantile,
    ranks,
    spearman,
    tail,
)


def against(arm: str, control: str, claim: int = 1) -> Contrast:
    return Contrast(f"{arm} against {control}", ((arm, 1.0), (control, -1.0)), claim)


def test_the_tails_of_one_and_two_degrees_of_freedom_are_their_closed_forms():
    assert tail(1.0, 1) == pytest.approx(0.5)  # Cauchy: a quarter on each side of +-1
    assert tail(math.sqrt(3), 1) == pytest.approx(1 / 3)  # 1 - 2/pi atan(sqrt 3)
    assert tail(1.0, 2) == pytest.approx(1 - 1 / math.sqrt(3))  # 1 - t / sqrt(2 + t^2)
    assert tail(0.0, 7) == 1.0
    assert tail(-2.0, 3) == tail(2.0, 3)
    assert tail(math.inf, 3) == 0.0


@pytest.mark.parametrize(("df", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)])
def test_quantiles_are_those_of_the_printed_table(df, t):
    assert quantile(0.95, df) == pytest.approx(t, abs=5e-4)


@given(st.floats(0, 60), st.integers(1, 60))
def test_tails_agree_with_scipy(t, df):
    assert tail(t, df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-6, abs=1e-13)


@given(st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]), st.integers(1, 60))
def test_quantiles_agree_with_scipy(level, df):
    assert quantile(level, df) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-9)


def test_what_cannot_be_a_level_or_a_degree_of_freedom_is_refused():
    with pytest.raises(ValueError, match="degrees of freedom"):
        tail(1.0, 0)
    with pytest.raises(ValueError, match="level"):
        quantile(1.0, 3)
    with pytest.raises(ValueError, match="no value"):
        estimate([])


def test_an_interval_worked_by_hand():
    found = estimate([1.0, 2.0, 3.0])  # mean 2, sd 1, t(2) = 4.3027, margin 4.3027 / sqrt 3
    assert (found.mean, found.sd, found.count) == (2.0, 1.0, 3)
    assert found.margin == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.low + found.high) / 2 == pytest.approx(2.0)


def test_one_value_has_no_interval():
    found = estimate([71.5])
    assert (found.mean, found.count) == (71.5, 1)
    assert math.isnan(found.low) and math.isnan(found.high)


def test_seeds_that_agree_to_the_image_are_not_believed_to_be_certain():
    assert estimate([50.0, 50.0]).margin == 0
    found = estimate([50.0, 50.0], least=0.1)  # one validation image of a thousand
    assert found.margin == pytest.approx(12.7062 * 0.1 / math.sqrt(2), rel=1e-4)


def test_holm_worked_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x .01, 1 x .04 -> at least .06, 2 x .03
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    adjusted = holm([math.nan, 0.02])
    assert math.isnan(adjusted[0]) and adjusted[1] == 0.02


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(ps):
    rejected = set()
    for step, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        if ps[i] > 0.05 / (len(ps) - step):
            break
        rejected.add(i)
    adjusted = holm(ps)
    clear = {i for i in range(len(ps)) if abs(adjusted[i] - 0.05) > 1e-12}
    assert {i for i in clear if adjusted[i] < 0.05} == rejected & clear
    assert all(a >= p for a, p in zip(adjusted, ps))


def test_differences_are_taken_seed_by_seed():
    """The seeds differ by tens of points and the difference is 1 in each but for a tenth: unpaired it would not be seen."""
    scores = {"jda": {0: 11.0, 1: 31.1, 2: 50.9}, "plain": {0: 10.0, 1: 30.0, 2: 50.0}}
    (found,) = compare(scores, [against("jda", "plain")])
    assert found.difference.mean == pytest.approx(1.0)  # 1.0, 1.1, 0.9
    assert found.difference.sd == pytest.approx(0.1)
    assert found.p == pytest.approx(stats.ttest_rel([11.0, 31.1, 50.9], [10.0, 30.0, 50.0]).pvalue)
    assert found.p == found.adjusted
    assert found.word == SHOWN


def test_a_claim_that_something_is_lower_is_shown_by_a_difference_below_zero():
    scores = {"a": {0: 1.0, 1: 1.1, 2: 0.9}, "b": {0: 3.0, 1: 3.0, 2: 3.0}}
    assert compare(scores, [against("a", "b", -1)])[0].word == SHOWN
    assert compare(scores, [against("a", "b", 1)])[0].word == OPPOSITE


def test_only_seeds_that_every_arm_has_count_and_an_arm_without_scores_leaves_its_comparison_out():
    scores = {"a": {0: 1.0, 1: 2.0, 2: 30.0}, "b": {0: 0.0, 1: 1.0}, "c": {}}
    found = compare(scores, [against("a", "b"), against("a", "c"), against("a", "unknown")])
    assert [one.label for one in found] == ["a against b"]
    assert (found[0].difference.mean, found[0].difference.count) == (1.0, 2)


def test_one_seed_shows_nothing_however_large_the_difference():
    (found,) = compare({"a": {0: 90.0}, "b": {0: 10.0}}, [against("a", "b")])
    assert found.difference.mean == 80 and math.isnan(found.p) and found.word == NOT_SHOWN


def test_no_difference_in_any_seed_is_not_certainty_of_one():
    (found,) = compare({"a": {0: 5.0, 1: 5.0}, "b": {0: 5.0, 1: 5.0}}, [against("a", "b")])
    assert found.p == 1.0 and found.word == NOT_SHOWN


def test_a_difference_of_differences_is_one_contrast():
    scores = {"few": {0: 5.0, 1: 6.0}, "few plain": {0: 1.0, 1: 2.0}, "all": {0: 9.0, 1: 9.0}, "all plain": {0: 8.0, 1: 7.0}}
    terms = (("few", 1.0), ("few plain", -1.0), ("all", -1.0), ("all plain", 1.0))
    (found,) = compare(scores, [Contrast("more", terms)])
    assert found.difference.mean == pytest.approx((3.0 + 2.0) / 2)  # 4 - 1, 4 - 2


def test_the_correction_is_over_the_comparisons_of_the_finding():
    random = np.random.default_rng(0)
    arms = {name: dict(enumerate(random.normal(0, 1, 4))) for name in "abcd"}
    alone = [compare(arms, [against(name, "a")])[0].p for name in "bcd"]
    together = compare(arms, [against(name, "a") for name in "bcd"])
    assert [one.p for one in together] == pytest.approx(alone)
    assert [one.adjusted for one in together] == pytest.approx(holm(alone))


def test_a_claim_of_several_parts_needs_all_of_them():
    def verdict(word: str) -> Verdict:
        return Verdict("", Estimate(0.0, 0.0, 0.0, 3), 0.5, 0.5, word)

    assert overall([verdict(SHOWN), verdict(SHOWN)]) == SHOWN
    assert overall([verdict(SHOWN), verdict(NOT_SHOWN)]) == NOT_SHOWN
    assert overall([verdict(SHOWN), verdict(OPPOSITE)]) == OPPOSITE
    assert overall([]) == NOT_SHOWN


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds):
    random = np.random.default_rng(seeds)
    tables, effect = 2000, 0.7
    covered = 0
    for _ in range(tables):
        seed = random.normal(0, 3, seeds)  # shared by the arms of a seed
        noise = random.normal(0, 1, (2, seeds))
        arms = {"a": dict(enumerate(70 + effect + seed + noise[0])), "b": dict(enumerate(70 + seed + noise[1]))}
        found = compare(arms, [against("a", "b")])[0].difference
        covered += found.low <= effect <= found.high
    assert covered / tables == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / tables))


def test_where_nothing_differs_hardly_any_finding_shows_anything():
    """The chance of one false 'shown' or 'the opposite' among five comparisons with one control stays at 5 %."""
    random = np.random.default_rng(1)
    tables = 1500
    wrong = 0
    for _ in range(tables):
        arms = {str(n): dict(enumerate(random.normal(70, 1, 3))) for n in range(6)}
        found = compare(arms, [against(str(n), "0") for n in range(1, 6)])
        wrong += any(one.word != NOT_SHOWN for one in found)
    assert wrong / tables <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / tables)
    assert wrong > 0


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_ranks_agree_with_scipy(values):
    assert ranks(values) == pytest.approx(stats.rankdata(values))


def test_ranks_and_correlation_worked_by_hand():
    assert ranks([30.0, 10.0, 20.0, 20.0]).tolist() == [4.0, 1.0, 2.5, 2.5]
    found = spearman([1, 2, 3, 4], [1, 3, 2, 4])  # 1 - 6 x 2 / (4 x 15)
    assert found.rho == pytest.approx(0.8)
    assert found.p == pytest.approx(8 / 24)  # of 24 orders, four reach 0.8 (one of them 1.0) and four -0.8
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]).rho == pytest.approx(-1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]).p == pytest.approx(2 / 24)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=7))
def test_the_correlation_agrees_with_scipy(pairs):
    one, other = zip(*pairs)
    found = spearman(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert math.isnan(found.rho)
    else:
        assert found.rho == pytest.approx(stats.spearmanr(one, other).statistic)


def test_of_many_pairs_a_sample_of_permutations_is_taken():
    random = np.random.default_rng(3)
    one = random.normal(size=20)
    other = one + random.normal(size=20)
    found = spearman(one, other)
    assert found.p == pytest.approx(stats.spearmanr(one, other).pvalue, abs=0.01)
    assert found == spearman(one, other)


def test_two_pairs_have_no_correlation():
    found = spearman([1, 2], [1, 2])
    assert math.isnan(found.rho) and math.isnan(found.p)
    with pytest.raises(ValueError, match="against"):
        spearman([1, 2], [1])
