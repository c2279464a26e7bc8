"""Energy distillation: the energy's limits, temperatures by hand, a NumPy reference, and KD where they are all one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from autokd.methods._soft import energy
from autokd.methods.energy_kd import energy_kd
from autokd.methods.kd import kd


def draw(seed, rows=10, classes=6):
    return 3 * torch.randn(2, rows, classes, generator=torch.Generator().manual_seed(seed))


def test_the_energy_worked_by_hand():
    logits = torch.tensor([[math.log(1.0), math.log(3.0)]])
    assert energy(logits, 1.0).item() == pytest.approx(-math.log(4.0), rel=1e-5)
    assert energy(2 * logits, 2.0).item() == pytest.approx(-2 * math.log(4.0), rel=1e-5)


@given(seed=st.integers(0, 50), shift=st.floats(-20, 20), temperature=st.floats(0.5, 8))
def test_the_energy_falls_by_what_is_added_to_every_logit(seed, shift, temperature):
    logits, _ = draw(seed)
    torch.testing.assert_close(
        energy(logits + shift, temperature), energy(logits, temperature) - shift, rtol=1e-4, atol=1e-3
    )


def test_the_energy_of_a_cold_network_is_minus_its_largest_logit():
    logits, _ = draw(1)
    torch.testing.assert_close(energy(logits, 1e-3), -logits.amax(1), rtol=1e-3, atol=1e-2)


def test_confident_and_uncertain_rows_have_temperatures_of_their_own():
    """Energies -5 to -1 of five single-class rows; the quantiles at 0.25 and 0.75 are -4 and -2, themselves in the middle."""
    method = energy_kd(t_confident=7.0, t_middle=3.0, t_uncertain=1.5, confident_share=0.25, uncertain_share=0.25)
    logits = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    assert method.temperatures(logits).tolist() == [1.5, 3.0, 3.0, 3.0, 7.0]


def test_the_quantiles_are_the_training_images_where_they_are_known():
    method = energy_kd(
        confident_share=0.5, uncertain_share=0.5, t_confident=7.0, t_uncertain=1.5, energy_temperature=2.0
    )
    asked = []
    method.know_energies(lambda temperature: asked.append(temperature) or torch.tensor([-4.0, -2.5, -1.0]))
    assert asked == [2.0]
    logits = torch.tensor([[2.0], [3.0]])  # of one class: the energy is minus the logit at any temperature
    assert method.temperatures(logits).tolist() == [1.5, 7.0]
    assert not method.state_dict()  # known anew in every process, so no part of a checkpoint


def test_rows_in_both_parts_stand_in_the_middle():
    """Energies -1, -2 and -3, all shares: confident is below -1, uncertain above -3, and -2 is both."""
    method = energy_kd(confident_share=1.0, uncertain_share=1.0)
    assert method.temperatures(torch.tensor([[1.0], [2.0], [3.0]])).tolist() == [2.0, 4.0, 6.0]


@given(seed=st.integers(0, 60), low=st.floats(1, 10), high=st.floats(1, 10), share=st.floats(0.01, 0.49))
def test_it_agrees_with_a_float64_reference(seed, low, high, share):
    student, teacher = draw(seed)
    s, t = student.double().numpy(), teacher.double().numpy()
    found = -4 * np.log(np.exp(t / 4).sum(1))
    bottom, top = np.quantile(found, share), np.quantile(found, 1 - share)
    assume(min(abs(found - bottom).min(), abs(found - top).min()) > 1e-4)  # on the border rounding decides
    total = 0.0
    for a, b, e in zip(s, t, found, strict=True):
        temperature = low if e < bottom else high if e > top else 4.0
        p, q = np.exp(b / temperature), np.exp(a / temperature)
        p, q = p / p.sum(), q / q.sum()
        total += temperature**2 * (p * np.log(p / q)).sum()
    method = energy_kd(t_confident=low, t_uncertain=high, confident_share=share, uncertain_share=share)
    assert method(student, teacher).item() == pytest.approx(total / 10, rel=2e-3)


@given(seed=st.integers(0, 50), temperature=st.floats(1, 10))
def test_with_one_temperature_it_is_kd(seed, temperature):
    student, teacher = draw(seed)
    method = energy_kd(t_confident=temperature, t_middle=temperature, t_uncertain=temperature)
    torch.testing.assert_close(
        method(student, teacher), kd(student, teacher, temperature=temperature), rtol=1e-4, atol=1e-5
    )
