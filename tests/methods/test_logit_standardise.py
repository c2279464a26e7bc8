"""Logit standardisation: a value worked by hand, a NumPy reference, what it does not see, and every base it wraps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.config.search_space import load_space
from autokd.methods.build import build_method
from autokd.methods.ccd import ccd
from autokd.methods.dist import dist
from autokd.methods.dkd import dkd
from autokd.methods.energy_kd import energy_kd
from autokd.methods.kd import kd
from autokd.methods.logit_standardise import logit_standardise, standardised
from autokd.methods.mlkd import mlkd
from autokd.rooms import catalogue

BASES = catalogue("methods")["logit_standardise"].setting("base").words


def draw(seed, rows=8, classes=6):
    generator = torch.Generator().manual_seed(seed)
    student, teacher, plain = 2 * torch.randn(3, rows, classes, generator=generator)
    return {
        "student_logits": student,
        "teacher_logits": teacher,
        "plain_teacher_logits": plain,
        "augmented": torch.arange(rows) % 2 == 1,
        "labels": torch.randint(0, classes, (rows,), generator=generator),
        "epoch": 3.0,
    }


def plainly_standardised(z):
    z = z.double().numpy()
    return torch.from_numpy((z - z.mean(1, keepdims=True)) / (z.std(1, ddof=1, keepdims=True) + 1e-7)).float()


def test_rows_worked_by_hand():
    """(1, 2, 3) has the mean 2 and the unbiased deviation 1; of two values the deviation is their distance over root 2."""
    torch.testing.assert_close(standardised(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 0.0, 1.0]]))
    root = 1 / math.sqrt(2)
    torch.testing.assert_close(standardised(torch.tensor([[9.0, 5.0]])), torch.tensor([[root, -root]]))


def test_the_loss_of_two_classes_worked_by_hand():
    """Whatever the logits, two unequal ones become (1, -1) / root 2: at temperature 2 they are root 2 / 2 apart."""
    p = 1 / (1 + math.exp(-math.sqrt(2) / 2))
    expected = 4 * (p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p))
    loss = logit_standardise()(torch.tensor([[0.0, 3.0]]), torch.tensor([[50.0, 1.0]]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 60), temperature=st.floats(1, 6))
def test_it_agrees_with_a_float64_reference(seed, temperature):
    known = draw(seed)
    p, q = (plainly_standardised(known[name]).double().numpy() for name in ("teacher_logits", "student_logits"))
    p, q = (np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True) for z in (p, q))
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    loss = logit_standardise(temperature=temperature)(known["student_logits"], known["teacher_logits"])
    assert loss.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("base", ["kd", "dkd", "dist"])
@given(seed=st.integers(0, 30), data=st.data())
def test_every_rows_mean_and_spread_are_lost(base, seed, data):
    known = draw(seed)
    number = st.lists(st.floats(0.2, 5), min_size=8, max_size=8)
    scale, shift = (torch.tensor(data.draw(number))[:, None] for _ in range(2))
    changed = known | {
        "student_logits": scale * known["student_logits"] - shift,
        "teacher_logits": shift * known["teacher_logits"] + 10 * scale,
    }
    method = build_method("logit_standardise", {"base": base})
    torch.testing.assert_close(method(changed), method(known), rtol=1e-3, atol=1e-3)


def references(known):
    """Each base on rows standardised outside. What else a base reads of the teacher stays as it is, worked out by hand."""
    student, teacher = (plainly_standardised(known[name]) for name in ("student_logits", "teacher_logits"))
    raw, plain, augmented = known["teacher_logits"], known["plain_teacher_logits"], known["augmented"]
    weight = torch.where(augmented, 1 + torch.cosine_similarity(raw, plain), torch.ones(len(raw)))
    rows = torch.stack([kd(s[None], t[None], temperature=2.0) for s, t in zip(student, teacher, strict=True)])
    warm = energy_kd().temperatures(raw)
    own = torch.stack(
        [kd(s[None], t[None], temperature=float(w)) for s, t, w in zip(student, teacher, warm, strict=True)]
    )
    both = (known["student_logits"], raw, augmented)
    # the consistencies on raw logits; the masked KL is what the consistencies leave
    consistency = mlkd(*both, temperature=2.0) - mlkd(*both, temperature=2.0, batch_weight=0.0, class_weight=0.0)
    sure = raw.softmax(1).amax(1)
    kept = augmented | (sure <= sure[~augmented].quantile(0.5))
    five = sum(
        torch.stack([kd(s[None], t[None], temperature=w) for s, t in zip(student, teacher, strict=True)])
        for w in (2.0, 2.0, 3.0, 5.0, 6.0)
    )
    return {
        "kd": kd(student, teacher, temperature=2.0),
        "dkd": dkd(student, teacher, known["labels"], 3.0, temperature=2.0),
        "dist": dist(student, teacher, temperature=2.0),
        "ccd": (weight * rows).mean(),
        "energy_kd": own.mean(),
        "mlkd": (kept * five).mean() + consistency,
    }


@pytest.mark.parametrize("base", BASES)
def test_every_base_compares_standardised_rows(base):
    known = draw(4)
    found = build_method("logit_standardise", {"base": base})(known)
    torch.testing.assert_close(found, references(known)[base], rtol=1e-3, atol=1e-4)


# tools/train.py and the distillers of arXiv:2403.01427: (cross-entropy, weight of the loss); for mlkd of each kind of view
RELEASED = {"kd": (0.1, 9.0), "dkd": (1.0, 9.0), "mlkd": (0.1, 9.0)}


@pytest.mark.parametrize("base", RELEASED)
def test_by_its_defaults_the_loss_is_the_released_one(base):
    """In float64, from the formulas: the cross-entropy and the base, weighed as a space that names the base weighs them."""
    known = draw(9)
    space = load_space(
        {
            "name": "x",
            "data": {"name": "digits"},
            "teachers": {"t": {"model": "resnet14", "train": {}}},
            "students": ["resnet8"],
            "space": {"method": {"logit_standardise": {"base": base}}},
        }
    )
    config = space.sample(None, space.pairs(), 0)
    method = build_method(config.method.name, config.method.settings)
    parts = [-known["student_logits"].log_softmax(1).gather(1, known["labels"][:, None]).mean(), method(known)]
    found = config.loss.ce_weight * parts[0] + config.loss.kd_weight * parts[1]

    ce_weight, kd_weight = RELEASED[base]
    raw, labels, augmented = known["student_logits"].double().numpy(), known["labels"].numpy(), known["augmented"].numpy()
    taught = known["teacher_logits"].double().numpy()
    z, t = ((x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-7) for x in (raw, taught))

    def softmax(x, temperature):
        x = np.exp((x - x.max(1, keepdims=True)) / temperature)
        return x / x.sum(1, keepdims=True)

    def divergence(s, t, temperature):
        p, q = softmax(t, temperature), softmax(s, temperature)
        return temperature**2 * (p * np.log(p / q)).sum(1)

    rows = np.arange(len(raw))
    surprise = -np.log(softmax(raw, 1.0)[rows, labels])
    if base == "kd":
        expected = ce_weight * surprise.mean() + kd_weight * divergence(z, t, 2.0).mean()
    elif base == "dkd":
        p, q = softmax(t, 2.0), softmax(z, 2.0)
        target = [a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b)) for a, b in zip(p[rows, labels], q[rows, labels])]
        others = [[np.delete(x[n], labels[n])[None] for n in rows] for x in (z, t)]
        rest = [divergence(a, b, 2.0)[0] / 4 for a, b in zip(*others)]
        rise = 4 / 20  # three epochs lie behind: the fourth of twenty
        expected = ce_weight * surprise.mean() + rise * 4 * (9 * np.mean(target) + 8 * 9 * np.mean(rest))
    else:
        expected = 0.0
        for kind in (~augmented, augmented):
            confident = softmax(taught[kind], 1.0)
            row = np.ones(kind.sum()) if kind is augmented else confident.max(1) <= np.quantile(confident.max(1), 0.5)
            column = np.ones(6) if kind is augmented else confident.sum(0) <= np.quantile(confident.sum(0), 0.5)
            expected += ce_weight * surprise[kind].mean()
            for warm in (2.0, 3.0, 5.0, 2.0, 6.0):
                p, q = softmax(taught[kind], warm), softmax(raw[kind], warm)
                expected += kd_weight * (row * divergence(z[kind], t[kind], warm)).mean()
                expected += kd_weight * ((p @ p.T - q @ q.T) ** 2 * row).sum() / kind.sum()
                expected += kd_weight * ((p.T @ p - q.T @ q) ** 2 * column).sum() / 6
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_settings_of_the_base_reach_it():
    known = draw(5)
    student, teacher = (plainly_standardised(known[name]) for name in ("student_logits", "teacher_logits"))
    found = build_method("logit_standardise", {"base": "dkd", "temperature": 3.0, "beta": 2.0, "warmup": 0.0})(known)
    expected = dkd(student, teacher, known["labels"], 0.0, temperature=3.0, beta=2.0, warmup=0.0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_it_reads_what_its_base_reads_and_no_more():
    assert build_method("logit_standardise").reads == {"student_logits", "teacher_logits"}
    assert "plain_teacher_logits" in build_method("logit_standardise", {"base": "ccd"}).reads


def test_equal_logits_give_finite_gradients():
    student = torch.ones(3, 4, requires_grad=True)
    loss = logit_standardise()(student, torch.ones(3, 4))
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(student.grad).all()


def test_at_the_same_rows_ccd_weighs_what_kd_counts_once():
    """Plain rows alone: the weights of ccd are 1, so both bases are one."""
    known = draw(6) | {"augmented": torch.zeros(8, dtype=torch.bool)}
    one, other = (build_method("logit_standardise", {"base": base})(known) for base in ("kd", "ccd"))
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, ccd(*(known[name] for name in catalogue("methods")["ccd"].reads)))
