"""Multi-level distillation: the sum of its levels, each checked against a reference written here."""

from __future__ import annotations

import pytest
import torch
from feature_fakes import features, of_maps

from autokd.methods.at import at
from autokd.methods.multilevel import multilevel
from autokd.methods.spkd import spkd

OFF = {"feature_weight": 0.0, "relation_weight": 0.0, "output_weight": 0.0}
TEACHER = [(3, 8), (5, 8), (12, 4), (20, 2)]


def made(student, teacher, **settings):
    torch.manual_seed(0)
    module = multilevel(**settings)
    module.build_parts(student, teacher)
    return module


def test_value_of_the_feature_level_worked_by_hand():
    """Two places with the values 1 and 3 through a unit weight: batch norm gives -1 and 1; the teacher says 0 and 4."""
    student = of_maps(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]]))
    teacher = of_maps(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.0, 4.0]]]]))
    module = made(student, teacher, **OFF | {"feature_weight": 2.0})
    torch.nn.init.ones_(module.adapters[0][0].weight)
    assert module(student, teacher).item() == pytest.approx(2 * (1 + 9) / 2, rel=1e-4)


def test_the_feature_level_agrees_with_a_float64_reference():
    student, teacher = features(seed=1), features(shapes=TEACHER, seed=2)
    module = made(student, teacher, **OFF | {"feature_weight": 1.0})
    parts = []
    for number, adapter in enumerate(module.adapters, start=1):
        weight = adapter[0].weight.double()[:, :, 0, 0]
        x = torch.einsum("oi,bihw->bohw", weight, student.stages[number].double())
        x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        parts.append((x - teacher.stages[number].double()).square().mean())
    assert module(student, teacher).item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-5)


def test_the_output_level_is_softened_kl_in_float64():
    student, teacher = features(seed=1), features(seed=2)
    p, q = ((f.logits.double() / 3).log_softmax(1) for f in (teacher, student))
    expected = 0.5 * 9 * (p.exp() * (p - q)).sum(1).mean().item()
    module = made(student, teacher, **OFF | {"output_weight": 0.5}, temperature=3.0)
    assert module(student, teacher).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("relation", "formula"), [("attention", at), ("similarity", spkd)])
def test_the_relation_level_is_that_of_its_own_method(relation, formula):
    student, teacher = features(seed=1), features(shapes=TEACHER, seed=2)
    module = made(student, teacher, **OFF | {"relation_weight": 4.0}, relation=relation)
    torch.testing.assert_close(module(student, teacher), 4 * formula(student, teacher))


def test_the_levels_add_up():
    student, teacher = features(seed=1), features(shapes=TEACHER, seed=2)
    weights = {"feature_weight": 0.3, "relation_weight": 2.0, "output_weight": 0.7}
    parts = [made(student, teacher, **OFF | {key: value})(student, teacher) for key, value in weights.items()]
    torch.testing.assert_close(made(student, teacher, **weights)(student, teacher), sum(parts))


def test_the_gradient_reaches_every_stage_and_adapter_and_not_the_teacher():
    student, teacher = features(1, seed=1, grad=True), features(1, shapes=TEACHER, seed=2, grad=True)
    module = made(student, teacher)
    module(student, teacher).backward()
    assert all(x.grad.abs().sum() > 0 for x in student.before_relu[1:])
    assert all(p.grad is not None for p in module.parameters())
    assert all(x.grad is None for x in teacher.before_relu)
