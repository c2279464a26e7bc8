"""High-energy-only augmentation: which rows count, by hand; the base it wraps, over exactly those rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from autokd.methods.build import build_method
from autokd.methods.high_energy import high_energy
from autokd.methods.kd import kd
from autokd.rooms import catalogue

BASES = catalogue("methods")["high_energy"].setting("base").words
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # (3/4, 1/4) against (1/2, 1/2)


def draw(seed, rows=12, classes=5):
    generator = torch.Generator().manual_seed(seed)
    student, teacher, plain = 3 * torch.randn(3, rows, classes, generator=generator)
    return {
        "student_logits": student,
        "teacher_logits": teacher,
        "plain_teacher_logits": plain,
        "augmented": torch.arange(rows) % 3 != 0,
        "labels": torch.randint(0, classes, (rows,), generator=generator),
        "epoch": 3.0,
    }


@pytest.mark.parametrize(("keep", "loss"), [("uncertain", KL), ("confident", KL / 2)])
def test_value_worked_by_hand(keep, loss):
    """The energies of the plain views are -1, -4, -2 and -3 (logits of one size): the bar of one half is -2.5. No plain row.

    Uncertain: rows 0 and 2, both augmented, of losses KL and KL. Confident: rows 1 and 3, of losses KL and 0.
    """
    student = torch.zeros(4, 2)
    teacher = torch.tensor([[3.0, 1.0], [3.0, 1.0], [3.0, 1.0], [1.0, 1.0]]).log()
    plain = torch.tensor([1.0, 4.0, 2.0, 3.0])[:, None].expand(4, 2)
    method = high_energy(share=0.5, keep=keep, temperature=1.0)
    found = method(student, teacher, plain, torch.ones(4, dtype=torch.bool))
    assert found.item() == pytest.approx(loss, rel=1e-5)


def test_a_plain_row_counts_whatever_its_energy():
    student, teacher = torch.zeros(2, 2), torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()
    plain = torch.tensor([[9.0, 9.0], [1.0, 1.0]])  # row 0 is the confident one
    method = high_energy(share=0.5, temperature=1.0)
    assert method(student, teacher, plain, torch.tensor([False, True])).item() == pytest.approx(KL, rel=1e-5)  # + 0
    assert method(student, teacher, plain, torch.tensor([True, True])).item() == pytest.approx(0.0, abs=1e-6)


@given(seed=st.integers(0, 60), share=st.floats(0.05, 0.95), keep=st.sampled_from(["uncertain", "confident"]))
def test_it_agrees_with_a_float64_reference(seed, share, keep):
    known = draw(seed)
    s, t, o = (known[k].double().numpy() for k in ("student_logits", "teacher_logits", "plain_teacher_logits"))
    found = -4 * np.log(np.exp(o / 4).sum(1))
    bar = np.quantile(found, 1 - share if keep == "uncertain" else share)
    assume(abs(found - bar).min() > 1e-4)  # on the bar rounding decides
    mixed = known["augmented"].numpy()
    kept = (found > bar if keep == "uncertain" else found < bar) & mixed
    p, q = (np.exp(z / 4) / np.exp(z / 4).sum(1, keepdims=True) for z in (t, s))
    each = 16 * (p * np.log(p / q)).sum(1)
    expected = each[~mixed].mean() + (each[kept].mean() if kept.any() else 0.0)  # 0.9 of it: 0.9 plain + 0.9 mixed
    loss = build_method("high_energy", {"share": share, "keep": keep})(known)
    assert loss.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_base_sees_plain_rows_and_kept_augmented_rows_as_two_batches(base, share):
    known = draw(3)
    method = build_method("high_energy", {"base": base, "share": share})
    chosen = method.module.chosen(known["plain_teacher_logits"]) & known["augmented"]
    assert 0 < int(chosen.sum()) <= int(known["augmented"].sum())
    parts = [
        build_method(base)({name: value[rows] if isinstance(value, torch.Tensor) else value for name, value in known.items()})
        for rows in (~known["augmented"], chosen)
    ]
    torch.testing.assert_close(method(known), parts[0] + parts[1])


def test_the_bar_is_that_of_the_training_images_where_they_are_known():
    method = high_energy(share=0.25, base="energy_kd")
    asked = []
    method.know_energies(lambda temperature: asked.append(temperature) or torch.tensor([-4.0, -3.0, -2.0, -1.0, 0.0]))
    assert asked == [4.0, 4.0]  # for the bar, and for the base's own quantiles
    plain = torch.tensor([[1.5], [0.9]])  # of one class: energies -1.5 and -0.9, the bar is -1
    assert method.chosen(plain).tolist() == [False, True]
    assert not method.state_dict()


def test_where_no_row_is_kept_the_loss_is_zero_and_can_be_trained_on():
    method = high_energy(share=0.5)
    method.know_energies(lambda temperature: torch.tensor([10.0, 11.0]))
    known = draw(1) | {"augmented": torch.ones(12, dtype=torch.bool)}
    student = known["student_logits"].requires_grad_(True)
    loss = method(student, known["teacher_logits"], known["plain_teacher_logits"], known["augmented"])
    loss.backward()
    assert loss.item() == 0 and student.grad.abs().sum() == 0


def test_settings_of_the_base_reach_it():
    known = draw(7)
    found = build_method("high_energy", {"share": 1.0, "temperature": 9.0})(known)
    rows = [kd(known["student_logits"][one], known["teacher_logits"][one], temperature=9.0)
            for one in (known["augmented"], ~known["augmented"])]  # fmt: skip
    torch.testing.assert_close(found, rows[0] + rows[1])
