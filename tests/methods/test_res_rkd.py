"""Resolution-aware distillation: each term by hand or in float64, the identities, and the two sides of the game."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from feature_fakes import features
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autokd.methods._relations import distances, mmd, pairwise
from autokd.methods._resolution import lowered
from autokd.methods.res_rkd import res_rkd

OFF = {"distil_weight": 0.0, "pair_weight": 0.0, "mmd_weight": 0.0, "adversarial_weight": 0.0}
TEACHER = [(3, 8), (5, 8), (12, 4), (20, 2)]


def made(student, teacher, **settings):
    torch.manual_seed(0)
    module = res_rkd(**settings)
    module.build_parts(student, teacher)
    return module


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_relative_distances_worked_by_hand():
    """Points 0, 3 and 4 on a line: distances 3, 4 and 1, their mean 8/3."""
    found = distances(torch.tensor([[0.0], [3.0], [4.0]]))
    expected = np.array([[0, 3, 4], [3, 0, 1], [4, 1, 0]]) / (8 / 3)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 30))
def test_turning_moving_and_scaling_the_teacher_changes_no_relation(scale, seed):
    x = random(6, 5, seed=seed)
    turn, _ = torch.linalg.qr(random(5, 5, seed=seed + 1))
    assert pairwise(x, scale * (x @ turn) + 3).item() == pytest.approx(0, abs=1e-6)


def test_mmd_agrees_with_a_float64_loop():
    one, other = random(5, 3, seed=1).double(), (random(7, 3, seed=2) + 1).double()
    joint = np.concatenate([one.numpy(), other.numpy()])
    squares = np.array([[((a - b) ** 2).sum() for b in joint] for a in joint])
    pairs = np.sort(squares[~np.eye(12, dtype=bool)])
    median = pairs[(len(pairs) - 1) // 2]  # the lower of the two middle ones; every distance stands twice

    def kernel(a, b):
        return np.mean([math.exp(-((a - b) ** 2).sum() / (median * band)) for band in (0.25, 0.5, 1, 2, 4)])

    x, y = joint[:5], joint[5:]
    expected = sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 20
    expected += sum(kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 42
    expected -= 2 * sum(kernel(a, b) for a in x for b in y) / 35
    assert mmd(one, other).item() == pytest.approx(expected, rel=1e-9)


def test_mmd_of_random_halves_of_one_sample_averages_zero_and_grows_with_a_shift():
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(24, 3, generator=generator)
    splits = [torch.randperm(24, generator=generator) for _ in range(400)]
    values = torch.stack([mmd(sample[s[:12]], sample[s[12:]]) for s in splits])
    assert abs(values.mean().item()) < 4 * values.std().item() / math.sqrt(400)
    assert mmd(sample[:12], sample[12:] + 2).item() > values.max().item()


def test_the_distillation_term_agrees_with_a_float64_reference():
    student, teacher = features(seed=1), features(shapes=TEACHER, seed=2)
    module = made(student, teacher, **OFF | {"distil_weight": 3.0}, temperature=2.0)
    p, q = ((f.logits.double() / 2).log_softmax(1) for f in (teacher, student))
    mapped = student.pooled.double() @ module.adapt.weight.double().T + module.adapt.bias.double()
    expected = 4 * (p.exp() * (p - q)).sum(1).mean() + (mapped - teacher.pooled.double()).square().mean()
    assert module(student, teacher.pooled, teacher.logits).item() == pytest.approx(3 * expected.item(), rel=1e-5)


@pytest.mark.parametrize("term", ["pair_weight", "mmd_weight"])
def test_a_relation_term_is_its_own_formula_times_its_weight(term):
    student, teacher = features(seed=1), features(shapes=TEACHER, seed=2)
    module = made(student, teacher, **OFF | {term: 5.0})
    mapped = module.adapt(student.pooled)
    expected = {"pair_weight": pairwise(student.pooled, teacher.pooled), "mmd_weight": mmd(mapped, teacher.pooled)}
    torch.testing.assert_close(module(student, teacher.pooled, teacher.logits), 5 * expected[term])


@pytest.mark.parametrize("adversary", ["alternate", "reversal"])
def test_in_the_game_the_discriminator_descends_its_loss_and_the_student_climbs_it(adversary):
    student, teacher = features(seed=1, grad=True), features(shapes=TEACHER, seed=2)
    module = made(student, teacher, **OFF | {"adversarial_weight": 0.25}, adversary=adversary)
    module(student, teacher.pooled, teacher.logits).backward()
    seen = module.adapt.weight.grad.clone()
    of_judge = [p.grad.clone() for p in module.judge.parameters()]
    module.zero_grad()
    mapped = module.adapt(student.pooled.detach())
    real, fake = module.judge(teacher.pooled).sigmoid(), module.judge(mapped).sigmoid()
    own = -real.log().mean() - (1 - fake).log().mean()
    expected = torch.autograd.grad(own, list(module.judge.parameters()), retain_graph=True)
    for found, wanted in zip(of_judge, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    fooling = -fake.log().mean() if adversary == "alternate" else (1 - fake).log().mean()
    (wanted,) = torch.autograd.grad(0.25 * fooling, [module.adapt.weight])
    torch.testing.assert_close(seen, wanted)


def test_the_teacher_gets_no_gradient_and_one_image_is_enough():
    student, teacher = features(1, seed=1, grad=True), features(1, shapes=TEACHER, seed=2, grad=True)
    loss = made(student, teacher)(student, teacher.pooled, teacher.logits)
    loss.backward()
    assert loss.isfinite() and student.before_relu[-1].grad.isfinite().all()
    assert all(x.grad is None for x in teacher.before_relu)


def test_lowering_agrees_with_pillows_bicubic_up_to_its_rounding():
    pixels = (torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) * 255).round()
    small = Image.fromarray(pixels.numpy().astype(np.float32), mode="F").resize((8, 8), Image.Resampling.BICUBIC)
    found = torch.nn.functional.interpolate(pixels[None, None], (8, 8), mode="bicubic", antialias=True)[0, 0]
    np.testing.assert_allclose(found.numpy(), np.asarray(small), atol=1e-2)
    again = torch.nn.functional.interpolate(found[None, None], (16, 16), mode="bicubic")
    torch.testing.assert_close(lowered(pixels[None, None], 2), again)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 64])
def test_lowering_keeps_the_shape_and_an_even_colour(factor):
    images = torch.full((2, 3, 10, 9), 0.7)
    torch.testing.assert_close(lowered(images, factor), images)
    checked = (torch.arange(10)[:, None] + torch.arange(10)[None]).remainder(2).float()[None, None]
    assert (lowered(checked, factor).var() < 0.05) == (factor > 1)  # what is finer than the low resolution is gone
