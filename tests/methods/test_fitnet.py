"""FitNet against a value worked by hand and a float64 regressor written here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_fakes import SHAPES, features, of_maps

from autokd.errors import AutokdError
from autokd.methods.fitnet import fitnet


def made(student, teacher, **settings):
    torch.manual_seed(0)
    module = fitnet(**settings)
    module.build_parts(student, teacher)
    return module


def test_value_worked_by_hand():
    """Channel values 1 and 3 over two images, weight 2: 2 and 6, whose batch norm is -1 and 1; the teacher says 0 and 4."""
    student = of_maps(torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    teacher = of_maps(torch.zeros(2, 1, 1, 1), torch.tensor([0.0, 4.0]).view(2, 1, 1, 1))
    module = made(student, teacher)
    torch.nn.init.constant_(module.regressor[0].weight, 2.0)
    assert module(student, teacher).item() == pytest.approx(((-1 - 0) ** 2 + (1 - 4) ** 2) / 2, rel=1e-4)


@pytest.mark.parametrize(("stage", "number"), [("first", 1), ("middle", 2), ("last", 3)])
def test_it_agrees_with_a_float64_reference_at_every_stage(stage, number):
    student, teacher = features(seed=1), features(shapes=[(3, 8), (5, 8), (12, 4), (20, 2)], seed=2)
    module = made(student, teacher, stage=stage)
    weight = module.regressor[0].weight.detach().double().numpy()[:, :, 0, 0]
    mapped = np.einsum("oc,bchw->bohw", weight, student.stages[number].double().numpy())
    mean, variance = mapped.mean((0, 2, 3), keepdims=True), mapped.var((0, 2, 3), keepdims=True)
    expected = (((mapped - mean) / np.sqrt(variance + 1e-5) - teacher.stages[number].double().numpy()) ** 2).mean()
    assert module(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_maps_of_different_sides_meet_at_the_smaller():
    student, teacher = features(seed=1), features(shapes=[(c, s // 2) for c, s in SHAPES], seed=2)
    module = made(student, teacher).eval()  # batch norm of fresh statistics: divided by sqrt(1 + eps)
    mapped = module.regressor[0](student.stages[2]) / np.sqrt(1 + 1e-5)
    halved = mapped.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean((3, 5))
    torch.testing.assert_close(module(student, teacher), (halved - teacher.stages[2]).square().mean())
    torch.testing.assert_close(
        made(teacher, student)(teacher, student), made(teacher, student)(teacher, features(seed=1))
    )


def test_the_deepest_stages_are_paired_where_the_networks_differ_in_depth():
    student, teacher = features(seed=1), features(shapes=[(3, 8), (5, 8), (5, 8), (12, 4), (20, 2)], seed=2)
    assert made(student, teacher, stage="last").regressor[0].weight.shape[:2] == (20, 10)
    assert made(student, teacher, stage="first").regressor[0].weight.shape[:2] == (5, 6)


def test_the_gradient_reaches_student_and_regressor_and_not_the_teacher():
    student, teacher = features(grad=True, seed=1), features(grad=True, seed=2)
    module = made(student, teacher)
    module(student, teacher).backward()
    assert student.before_relu[2].grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())
    assert all(x.grad is None for x in teacher.before_relu)


def test_a_network_without_maps_is_refused_with_a_way_out():
    with pytest.raises(AutokdError, match="no feature maps"):
        fitnet().build_parts(features()._replace(stages=()), features())
