"""ReviewKD: the context loss by hand and by a NumPy reference, the fusion by a float64 reference written here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_fakes import features
from torch.nn import functional

from autokd.errors import AutokdError
from autokd.methods.reviewkd import context_loss, reviewkd

TEACHER = [(3, 8), (5, 8), (12, 4), (20, 2)]


def made(student, teacher, **settings):
    torch.manual_seed(0)
    module = reviewkd(**settings)
    module.build_parts(student, teacher)
    return module


def test_context_loss_worked_by_hand():
    """A 2 x 2 map of difference (1, -1, 1, -1): mean square 1; its average is 0; weights 1 and 1/2."""
    difference = torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]])
    assert context_loss(difference, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(1 / 1.5)


def test_a_constant_difference_costs_its_square_since_the_weights_sum_to_one():
    for side in (1, 2, 4, 5, 8, 16):
        x = torch.randn(2, 3, side, side)
        assert context_loss(x + 0.5, x).item() == pytest.approx(0.25, rel=1e-4)
        assert context_loss(x, x).item() == 0


def test_context_loss_agrees_with_a_float64_reference():
    one, other = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    expected, weights = 0.0, 0.0
    for weight, side in ((1, 8), (1 / 2, 4), (1 / 4, 2), (1 / 8, 1)):
        grids = [x.numpy().reshape(2, 3, side, 8 // side, side, 8 // side).mean((3, 5)) for x in (one, other)]
        expected += weight * ((grids[0] - grids[1]) ** 2).mean()
        weights += weight
    assert context_loss(one, other).item() == pytest.approx(expected / weights)


def reference(module, student, teacher):
    """The same chain in float64, written level by level with functional calls."""

    def norm(x, layer):
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        return (x - mean) / (variance + layer.eps).sqrt()

    students = [student.pooled[:, :, None, None], *reversed(student.stages[1:])]
    teachers = [teacher.pooled[:, :, None, None], *reversed(teacher.before_relu[1:])]
    total, deeper = 0.0, None
    for level, (x, target) in enumerate(zip(students, teachers, strict=True)):
        x, target = x.double(), target.double()
        enter, leave = module.enter[level], module.leave[level]
        x = norm(torch.einsum("oi,bihw->bohw", enter[0].weight.double()[:, :, 0, 0], x), enter[1])
        if deeper is not None:
            factor = x.shape[-1] // deeper.shape[-1]
            deeper = deeper.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
            attend = module.attend[level]
            weight = attend.weight.double()[:, :, 0, 0]
            share = (
                torch.einsum("oi,bihw->bohw", weight, torch.cat([x, deeper], 1)) + attend.bias.double()[:, None, None]
            )
            share = 1 / (1 + (-share).exp())
            x = x * share[:, 0, None] + deeper * share[:, 1, None]
        deeper = x
        out = norm(functional.conv2d(x, leave[0].weight.double(), padding=1), leave[1])
        total += context_loss(out, target).item()
    return total


def test_the_fusion_agrees_with_a_float64_reference():
    student, teacher = features(seed=1), features(shapes=TEACHER, seed=2)
    module = made(student, teacher, warmup=0)
    with torch.no_grad():
        assert module(student, teacher, 0.0).item() == pytest.approx(reference(module, student, teacher), rel=1e-4)


def test_the_published_widths_follow_from_the_shapes():
    """WRN-40-2 to WRN-16-2: levels of 128 (pooled), 128, 64 and 32 channels, all fused at 128."""
    shapes = [(16, 8), (32, 8), (64, 4), (128, 2)]
    module = made(features(shapes=shapes), features(shapes=shapes))
    assert [m[0].weight.shape[:2] for m in module.enter] == [(128, 128), (128, 128), (128, 64), (128, 32)]
    assert [m[0].weight.shape[:2] for m in module.leave] == [(128, 128), (128, 128), (64, 128), (32, 128)]
    assert made(features(), features(), width=6).enter[0][0].weight.shape[0] == 6


def test_the_warm_up_rises_epoch_by_epoch_and_ends_at_one():
    student, teacher = features(seed=1), features(shapes=TEACHER, seed=2)
    module = made(student, teacher, warmup=20)
    values = [module(student, teacher, epoch).item() for epoch in (0.0, 0.99, 1.0, 9.5, 19.0, 100.0)]
    np.testing.assert_allclose(np.array(values) / values[-1], [1 / 20, 1 / 20, 2 / 20, 10 / 20, 1, 1], rtol=1e-5)


def test_the_convolutions_begin_uniform_within_the_root_of_three_over_their_inputs():
    """The gain of a linear layer is 1: variance 1 / inputs, so that a uniform draw reaches sqrt(3 / inputs)."""
    shapes = [(16, 8), (32, 8), (64, 4), (128, 2)]
    module = made(features(shapes=shapes), features(shapes=shapes))
    for layers, places in ((module.enter, 1), (module.leave, 9)):
        for layer in layers:
            weight = layer[0].weight
            reach = (3 / (weight.shape[1] * places)) ** 0.5
            assert 0.97 * reach < weight.abs().max().item() <= reach


def test_every_part_learns_and_the_teacher_does_not():
    student, teacher = features(seed=1, grad=True), features(shapes=TEACHER, seed=2, grad=True)
    module = made(student, teacher)
    module(student, teacher, 0.0).backward()
    assert all(x.grad.abs().sum() > 0 for x in student.before_relu[1:])
    assert all(p.grad is not None for p in module.parameters())
    assert all(x.grad is None for x in teacher.before_relu)


def test_networks_of_other_sizes_and_a_batch_of_one_pass():
    student, teacher = features(1, seed=1), features(1, shapes=[(3, 8), (5, 4), (12, 2), (9, 1)], seed=2)
    assert made(student, teacher)(student, teacher, 0.0).isfinite()


def test_features_of_another_depth_are_refused():
    module = made(features(), features())
    with pytest.raises(AutokdError, match="another number of stages"):
        module(features(shapes=TEACHER[1:]), features(shapes=TEACHER[1:]), 0.0)
