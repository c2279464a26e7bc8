"""SSKD: selection and matrix by hand, the whole loss by a float64 reference written here, and its identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from feature_fakes import features

from autokd.methods.sskd import _selected, sskd

VIEWS = 3  # four turns of each
VIEW = torch.arange(VIEWS).repeat(4)
ROTATION = torch.arange(4).repeat_interleave(VIEWS)
LABELS = torch.tensor([2, 0, 5]).repeat(4)


def made(student, teacher, **settings):
    torch.manual_seed(0)
    module = sskd(**settings)
    module.build_parts(student, teacher)
    return module


def test_rows_are_kept_by_rank_worked_by_hand():
    """Answer 0 ranks 0, 2, 1 and 1; of the two of rank 1 the last row is the surer."""
    scores = torch.tensor([[9.0, 1, 1], [1, 2, 3], [1, 3, 0], [2, 3, 0]])
    answers = torch.zeros(4, dtype=torch.long)
    assert _selected(scores, answers, 0.0).tolist() == [0]
    assert _selected(scores, answers, 0.34).tolist() == [0, 3]
    assert _selected(scores, answers, 0.75).tolist() == [0, 3, 2]
    assert _selected(scores, answers, 1.0).tolist() == [0, 3, 2, 1]


def test_the_teachers_head_starts_at_the_value_of_equal_similarities():
    """Every cosine equal: cross-entropy is the logarithm of the number of upright views."""
    teacher = features(12, seed=2)
    same = teacher._replace(pooled=teacher.pooled[:1].expand(12, -1))
    loss = made(features(12), same).teacher_loss(same, LABELS, ROTATION, VIEW)
    assert loss.item() == pytest.approx(math.log(VIEWS), rel=1e-5)


def head(module, x):
    x = x.double().numpy()
    first, _, second = module
    x = np.maximum(x @ first.weight.detach().double().numpy().T + first.bias.detach().double().numpy(), 0)
    x = x @ second.weight.detach().double().numpy().T + second.bias.detach().double().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def divergence(teacher, student, temperature):
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum()


def reference(module, student, teacher, kept):
    """Row by row: upright KL, kept turned rows, kept rows of the similarity matrix; each a mean."""
    s, t = student.logits.double().numpy(), teacher.logits.double().numpy()
    total = 0.9 * np.mean([divergence(t[i], s[i], 4) for i in range(VIEWS)])
    mine, theirs = head(module.head, student.pooled), head(module.teacher_parts, teacher.pooled)
    a, b = mine[VIEWS:] @ mine[:VIEWS].T, theirs[VIEWS:] @ theirs[:VIEWS].T

    def chosen(scores, answers, share):
        rank = [(row > row[y]).sum() for row, y in zip(scores, answers, strict=True)]
        surest = [-softmax(row)[y] for row, y in zip(scores, answers, strict=True)]
        order = sorted(range(len(rank)), key=lambda i: (rank[i], surest[i]))
        right = sum(r == 0 for r in rank)
        return order[: right + int(share * (len(rank) - right))]

    rows = chosen(t[VIEWS:], LABELS[VIEWS:].tolist(), kept[0])
    total += 2.7 * np.mean([divergence(t[VIEWS + i], s[VIEWS + i], 4) for i in rows])
    rows = chosen(b, VIEW[VIEWS:].tolist(), kept[1])
    return total + 10 * np.mean([divergence(b[i], a[i], 0.5) for i in rows])


@pytest.mark.parametrize("kept", [(1.0, 0.75), (0.5, 1.0), (0.3, 0.3)])
def test_the_loss_agrees_with_a_float64_reference(kept):
    student, teacher = features(12, seed=1), features(12, seed=2)
    module = made(student, teacher, turned_kept=kept[0], similarity_kept=kept[1])
    found = module(student, teacher, LABELS, ROTATION, VIEW)
    assert found.item() == pytest.approx(reference(module, student, teacher, kept), rel=1e-4)


def test_the_order_of_the_rows_does_not_matter():
    student, teacher = features(12, seed=1), features(12, seed=2)
    module = made(student, teacher)
    turned = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    found = module(student.take(turned), teacher.take(turned), LABELS[turned], ROTATION[turned], VIEW[turned])
    torch.testing.assert_close(found, module(student, teacher, LABELS, ROTATION, VIEW))


def test_a_student_that_is_its_teacher_costs_nothing():
    teacher = features(12, seed=2)
    module = made(teacher, teacher)
    module.head.load_state_dict(module.teacher_parts.state_dict())
    assert module(teacher, teacher, LABELS, ROTATION, VIEW).item() == pytest.approx(0.0, abs=1e-5)


def test_the_gradient_reaches_student_and_head_and_not_the_teacher():
    student, teacher = features(12, seed=1, grad=True), features(12, seed=2, grad=True)
    module = made(student, teacher)
    module(student, teacher, LABELS, ROTATION, VIEW).backward()
    assert student.before_relu[-1].grad.abs().sum() > 0
    assert all(p.grad is not None for p in module.head.parameters())
    assert all(p.grad is None for p in module.teacher_parts.parameters())
    assert all(x.grad is None for x in teacher.before_relu)


def test_upright_rows_alone_are_plain_distillation():
    student, teacher = features(3, seed=1), features(3, seed=2)
    s, t = student.logits.double().numpy(), teacher.logits.double().numpy()
    expected = 0.9 * np.mean([divergence(t[i], s[i], 4) for i in range(3)])
    found = made(student, teacher)(student, teacher, LABELS[:3], ROTATION[:3], VIEW[:3])
    assert found.item() == pytest.approx(expected, rel=1e-5)
