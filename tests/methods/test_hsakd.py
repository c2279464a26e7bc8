"""HSAKD: joint labels, branch shapes, and the loss by a float64 reference written here."""

from __future__ import annotations

import math

import pytest
import torch
from feature_fakes import features

from autokd.errors import AutokdError
from autokd.methods.hsakd import _answers, hsakd

TEACHER = [(3, 8), (5, 8), (12, 4), (20, 2)]
LABELS = torch.tensor([2, 0, 5]).repeat(4)
ROTATION = torch.arange(4).repeat_interleave(3)
VIEW = torch.arange(3).repeat(4)


def made(student, teacher, **settings):
    torch.manual_seed(0)
    module = hsakd(**settings)
    module.build_parts(student, teacher)
    return module


def kl(teacher, student, temperature):
    p, q = ((x.detach().double() / temperature).log_softmax(1) for x in (teacher, student))
    return (temperature**2 * (p.exp() * (p - q)).sum(1).mean()).item()


@pytest.mark.parametrize("depth", [3, 4])
def test_the_loss_is_the_main_divergence_and_one_for_each_pair_of_branches_from_the_deepest(depth):
    shapes = TEACHER if depth == 3 else [TEACHER[0], (4, 8), *TEACHER[1:]]
    student, teacher = features(12, seed=1), features(12, shapes=shapes, seed=2)
    module = made(student, teacher, temperature=2.0, branch_weight=0.5).eval()
    mine, theirs = _answers(module.branches, student.stages), _answers(module.teacher_parts, teacher.stages)
    assert (len(mine), len(theirs)) == (3, depth)
    expected = kl(teacher.logits, student.logits, 2)
    expected += 0.5 * sum(kl(theirs[-k], mine[-k], 2) for k in (1, 2, 3))
    assert module(student, teacher, ROTATION).item() == pytest.approx(expected, rel=1e-5)


def test_the_main_divergence_can_be_kept_to_upright_views():
    student, teacher = features(12, seed=1), features(12, shapes=TEACHER, seed=2)
    module = made(student, teacher, main_on_turned=False, branch_weight=0.0)
    expected = kl(teacher.logits[:3], student.logits[:3], 3)
    assert module(student, teacher, ROTATION).item() == pytest.approx(expected, rel=1e-5)


def test_branches_answer_four_joint_labels_a_class_and_shrink_as_the_later_stages_do():
    student = features(12, seed=1)
    module = made(student, student, blocks=2)
    assert [x.shape for x in _answers(module.branches, student.stages)] == [(12, 28)] * 3
    first = module.branches[0]  # after stage 1 at side 8 follow the stages at 4 and 2, two blocks each
    sides, x = [], student.stages[1]
    for layer in first[:4]:
        x = layer(x)
        sides.append((x.shape[1], x.shape[-1]))
    assert sides == [(8, 4), (8, 4), (10, 2), (10, 2)]
    assert module.branches[2][0](student.stages[3]).shape[1:] == (10, 2, 2)  # the last adds one at stride 1


def fixed(module, answers):
    """Branches that give these joint logits whatever they see."""
    module.teacher_parts = torch.nn.ModuleList([_Fixed(x) for x in answers])


class _Fixed(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, _):
        return self.answer


def test_the_teachers_branches_learn_the_joint_label_class_first():
    """Class 2 turned by three right angles is 11 of 28: a branch sure of 4 y + r costs nothing, one of r C + y all it can."""
    teacher = features(12, seed=2)
    module = made(teacher, teacher)
    right = torch.nn.functional.one_hot(4 * LABELS + ROTATION, 28) * 50.0
    fixed(module, [right, right, right])
    assert module.teacher_loss(teacher, LABELS, ROTATION, VIEW).item() == pytest.approx(0.0, abs=1e-6)
    wrong = torch.nn.functional.one_hot(ROTATION * 7 + LABELS, 28) * 50.0
    fixed(module, [right, wrong, right])
    missed = (ROTATION * 7 + LABELS != 4 * LABELS + ROTATION).double().mean().item()
    assert module.teacher_loss(teacher, LABELS, ROTATION, VIEW).item() == pytest.approx(50 * missed, rel=1e-5)
    fixed(module, [torch.zeros(12, 28)] * 3)
    assert module.teacher_loss(teacher, LABELS, ROTATION, VIEW).item() == pytest.approx(3 * math.log(28), rel=1e-5)


def test_a_joint_teacher_adds_its_own_cross_entropy_on_upright_views():
    teacher = features(12, seed=2)
    losses = []
    for mode in ("frozen", "joint"):
        module = made(teacher, teacher, teacher_mode=mode)
        fixed(module, [torch.zeros(12, 28)] * 3)
        losses.append(module.teacher_loss(teacher, LABELS, ROTATION, VIEW).item())
    own = -teacher.logits[:3].double().log_softmax(1).gather(1, LABELS[:3, None]).mean().item()
    assert losses[1] - losses[0] == pytest.approx(own, rel=1e-4)


def test_the_gradient_reaches_every_stage_and_branch_and_not_the_teacher():
    student, teacher = features(12, seed=1, grad=True), features(12, shapes=TEACHER, seed=2, grad=True)
    module = made(student, teacher)
    module(student, teacher, ROTATION).backward()
    assert all(x.grad.abs().sum() > 0 for x in student.before_relu[1:])
    assert all(p.grad is not None for p in module.branches.parameters())
    assert all(p.grad is None for p in module.teacher_parts.parameters())
    assert all(x.grad is None for x in teacher.before_relu)


def test_a_student_that_is_its_teacher_costs_nothing():
    teacher = features(12, seed=2)
    module = made(teacher, teacher)
    module.branches.load_state_dict(module.teacher_parts.state_dict())
    assert module(teacher, teacher, ROTATION).item() == pytest.approx(0.0, abs=1e-5)


def test_a_network_without_maps_is_refused():
    with pytest.raises(AutokdError, match="no branches"):
        hsakd().build_parts(features()._replace(stages=()), features())
