"""The k largest logits and one mass for the rest, against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.signals.sparse import KL_TEMPERATURES, columns, kl_error, pack, unpack


def kept_of(logits, top):
    return {name: torch.from_numpy(values) for name, values in pack(logits, top).items()}


def test_a_row_worked_by_hand():
    """Probabilities 8/16, 4/16, 2/16, 1/16, 1/16 with two kept: the other three share 4/16, a twelfth each."""
    p = np.array([2, 8, 1, 4, 1]) / 16
    kept = pack(torch.tensor(np.log(p))[None], 2)
    assert kept["classes"].tolist() == [[1, 3]]
    np.testing.assert_allclose(kept["logits"], np.log([[0.5, 0.25]]), rtol=1e-3)
    assert kept["rest"].item() == pytest.approx(math.log(0.25), rel=1e-3)
    again = unpack(kept_of(torch.tensor(np.log(p))[None], 2), 5).softmax(1)[0]
    np.testing.assert_allclose(again, [1 / 12, 1 / 2, 1 / 12, 1 / 4, 1 / 12], rtol=2e-3)
    by_hand = 2 / 16 * math.log(12 * 2 / 16) + 2 * (1 / 16) * math.log(12 / 16)
    assert kept["kl"][0, 0] == pytest.approx(by_hand, rel=2e-2)


def test_the_error_at_a_raised_temperature_is_that_of_the_softened_answers():
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(1)).double() * 4
    again = unpack(kept_of(logits, 8), 40).double().numpy()
    z = logits.numpy()
    for column, temperature in enumerate(KL_TEMPERATURES):
        p, q = np.exp(z / temperature), np.exp(again / temperature)
        p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
        by_numpy = (p * np.log(p / q)).sum(1)
        np.testing.assert_allclose(pack(logits, 8)["kl"][:, column], by_numpy, rtol=1e-4, atol=1e-6)


def test_all_logits_kept_are_the_logits_in_half_precision():
    logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(2)) * 10
    np.testing.assert_array_equal(pack(logits, 0)["logits"], logits.numpy().astype(np.float16))
    torch.testing.assert_close(unpack(kept_of(logits, 0), 11), logits, rtol=2**-11, atol=2**-24)


def test_a_logit_beyond_half_precision_becomes_its_largest_number_and_not_infinity():
    assert unpack(kept_of(torch.tensor([[1e6, -1e6]]), 0), 2).tolist() == [[65504.0, -65504.0]]


@given(seed=st.integers(0, 10_000), classes=st.integers(4, 60), scale=st.floats(0.1, 20))
def test_what_is_kept_is_a_distribution_with_the_largest_in_place_and_an_error_that_falls_with_k(seed, classes, scale):
    logits = torch.randn(3, classes, generator=torch.Generator().manual_seed(seed)) * scale
    errors = []
    for top in (1, 2, classes - 2):
        kept = pack(logits, top)
        assert {name: (values.dtype.name, values.shape[1]) for name, values in kept.items()} == columns(classes, top)
        again = unpack(kept_of(logits, top), classes)
        rounding = 2**-10 * logits.abs().max().item() + 1e-3
        difference = again.softmax(1).gather(1, logits.argmax(1, keepdim=True)) - logits.softmax(1).amax(
            1, keepdim=True
        )
        assert difference.abs().max() < rounding
        errors.append(kl_error(logits, again).mean().item())
    assert errors[0] >= errors[1] - rounding and errors[1] >= errors[2] - rounding
