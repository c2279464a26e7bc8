"""Amounts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.config.units import Amount, amount, short


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("45 M", 45e6),
        ("45M", 45e6),
        ("0.3 k", 300),
        ("0.3 K", 300),
        ("2 G", 2e9),
        ("1.5 T", 1.5e12),
        ("1e6", 1e6),
        ("1_000", 1000),
        (".5 M", 5e5),
        ("12 M MACs", 12e6),
        ("3 k params", 3000),
        (300_000, 300_000),
        (0.25e6, 250_000),
        ("0.1 M", 100_000),  # 0.1 x 1e6 is not a whole number of floats' own accord
    ],
)
def test_an_amount_is_a_number_with_a_factor(written, value):
    assert amount(written) == Amount(value)


@pytest.mark.parametrize("written", ["50 %", "50%", "50 % of teacher", "50 % of the teacher"])
def test_a_share_is_one_of_the_teacher(written):
    assert amount(written) == Amount(0.5, share=True)


def test_flops_are_told_apart():
    assert amount("90 MFLOPs") == Amount(90e6, flops=True)
    assert amount("90 M FLOP").flops


@pytest.mark.parametrize("written", ["", "M", "45 X", "45 m", "4 5", "many", None, True, [1], "1,5 M", "50 % of student"])
def test_what_is_no_amount_is_told_with_an_example(written):
    with pytest.raises(ValueError, match="write a number such as 45 M"):
        amount(written)


@pytest.mark.parametrize("written", [float("inf"), float("nan"), "1e999"])
def test_an_amount_is_finite(written):
    with pytest.raises(ValueError, match="not a finite amount"):
        amount(written)


@pytest.mark.parametrize(
    ("value", "written"), [(45e6, "45 M"), (300_000, "300 k"), (2.5e9, "2.5 G"), (12_345_678, 12_345_678), (999, 999), (0.5, 0.5)]
)
def test_an_amount_is_written_as_short_as_it_can_be(value, written):
    assert short(value) == written


@given(value=st.integers(1, 10**13).map(float) | st.floats(0.001, 1e13).map(lambda x: round(x, 6)))
def test_the_short_form_is_read_back_as_exactly_the_same(value):
    assert amount(short(value)).value == value
