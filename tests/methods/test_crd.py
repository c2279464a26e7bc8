"""CRD against its published starting value, a float64 loop written here, and what its memory must hold."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from feature_fakes import features

from autokd.errors import AutokdError
from autokd.methods.crd import crd

INDEX = torch.arange(40) * 3 + 1  # positions in the published training part, some of which are validation images
LABELS = torch.arange(40) % 4


def made(student, teacher, seed=0, **settings):
    torch.manual_seed(seed)
    module = crd(**{"negatives": 6, "width": 8, **settings})
    module.build_parts(student, teacher)
    module.know_data(INDEX, LABELS)
    return module


def call(module, student, teacher, rows, seed=5):
    torch.manual_seed(seed)
    return module(student, teacher.pooled, INDEX[rows], LABELS[rows])


def test_equal_scores_give_the_published_starting_value():
    """P = 1/n everywhere: log(K + 1) + K log((K + 1) / K) a side, 10.704 at K = 16384; the epsilon of the code takes 3e-3 off."""
    module = crd(negatives=16384, width=4)
    assert math.log(16385) + 16384 * math.log(16385 / 16384) == pytest.approx(10.704, abs=1e-3)
    count = 20000
    labels = torch.zeros(count, dtype=torch.long)
    labels[0] = 1
    module.build_parts(features(1), features(1))
    module.know_data(torch.arange(count), labels)
    module.student_memory = torch.full((count, 4), 0.5)  # equal rows score equally
    module.teacher_memory = torch.full((count, 4), 0.5)
    value = module(features(1), features(1).pooled, torch.tensor([0]), torch.tensor([1]))
    assert value.item() == pytest.approx(2 * 10.704, abs=1e-2)


def reference(module, student, teacher, rows, picked):
    """Both sides in float64 loops over images and negatives. Returns the loss and the two memories after it."""

    def embed(linear, x):
        y = x.double().numpy() @ linear.weight.detach().double().numpy().T + linear.bias.detach().double().numpy()
        return y / np.linalg.norm(y, axis=1, keepdims=True)

    student = embed(module.of_student, student.pooled)
    teacher = embed(module.of_teacher, teacher.pooled)
    memories = [module.student_memory.double().numpy().copy(), module.teacher_memory.double().numpy().copy()]
    n, loss = len(memories[0]), 0.0
    for own, other in ((student, memories[1]), (teacher, memories[0])):
        scores = np.array([[math.exp(own[i] @ other[k] / 0.07) for k in picked[i]] for i in range(len(own))])
        q = (picked.shape[1] - 1) / n
        p = scores / (scores.mean() * n)
        for row in p:
            loss -= math.log(row[0] / (row[0] + q + 1e-7)) / len(own)
            loss -= sum(math.log(q / (x + q + 1e-7)) for x in row[1:]) / len(own)
    for memory, vectors in zip(memories, (student, teacher), strict=True):
        for row in set(rows.tolist()):
            mean = vectors[(rows == row).numpy()].mean(0)
            moved = 0.5 * memory[row] + 0.5 * mean
            memory[row] = moved / np.linalg.norm(moved)
    return loss, memories


@pytest.mark.parametrize("positives", ["exact", "relaxed"])
def test_loss_and_memory_agree_with_a_float64_reference(positives):
    student, teacher = features(seed=1), features(shapes=[(3, 8), (20, 2)], seed=2)
    rows = torch.tensor([4, 9, 4, 30, 17])  # image 4 twice: a plain and an augmented view
    module = made(student, teacher, positives=positives)
    torch.manual_seed(5)
    picked = module._contrast(rows)
    loss, memories = reference(module, student, teacher, rows, picked.numpy())
    assert call(module, student, teacher, rows).item() == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(module.student_memory.numpy(), memories[0], atol=1e-6)
    np.testing.assert_allclose(module.teacher_memory.numpy(), memories[1], atol=1e-6)


@pytest.mark.parametrize("negatives", [3, 6, 16384])
def test_negatives_are_of_other_classes_and_none_stands_twice(negatives):
    module = made(features(), features(), negatives=negatives)
    rows = torch.tensor([0, 5, 10, 39])
    picked = module._contrast(rows)
    assert picked.shape == (4, 1 + min(negatives, 30))  # 30 of the 40 images are of other classes
    for row, found in zip(rows.tolist(), picked.tolist(), strict=True):
        assert found[0] == row
        assert len(set(found)) == len(found)
        assert all(LABELS[k] != LABELS[row] for k in found[1:])


def test_a_relaxed_positive_is_any_image_of_the_class():
    module = made(features(), features(), positives="relaxed")
    torch.manual_seed(0)
    seen = {module._contrast(torch.tensor([8]))[0, 0].item() for _ in range(200)}
    assert seen == set(range(0, 40, 4))


def test_the_scale_is_fixed_by_the_first_batch_and_updated_rows_have_norm_one():
    student, teacher = features(seed=1), features(seed=2)
    module = made(student, teacher)
    call(module, student, teacher, torch.arange(5))
    scale = module.scale.clone()
    call(module, student, teacher, torch.arange(5, 10))
    assert torch.equal(module.scale, scale) and (scale > 0).all()
    norms = torch.stack([module.student_memory.norm(dim=1), module.teacher_memory.norm(dim=1)])
    torch.testing.assert_close(norms[:, :10], torch.ones(2, 10))
    assert (norms[:, 10:] < 1 - 1e-3).any()


def test_the_order_of_the_batch_does_not_matter():
    student, teacher = features(seed=1), features(seed=2)
    rows, turned = torch.tensor([4, 9, 4, 30, 17]), torch.tensor([3, 0, 4, 2, 1])
    one, other = made(student, teacher), made(student, teacher)
    first = call(one, student, teacher, rows)
    second = call(other, student.take(turned), teacher.take(turned), rows[turned])
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(one.student_memory, other.student_memory)


def test_gradients_reach_the_student_and_both_projections_and_not_the_teacher():
    student, teacher = features(seed=1, grad=True), features(seed=2, grad=True)
    module = made(student, teacher)
    call(module, student, teacher, torch.arange(5)).backward()
    assert student.before_relu[-1].grad.abs().sum() > 0
    assert module.of_student.weight.grad.abs().sum() > 0 and module.of_teacher.weight.grad.abs().sum() > 0
    assert all(x.grad is None for x in teacher.before_relu)


def test_a_loaded_state_goes_on_exactly():
    student, teacher = features(seed=1), features(seed=2)
    module = made(student, teacher)
    call(module, student, teacher, torch.arange(5))
    state = copy.deepcopy(module.state_dict())
    again = made(student, teacher, seed=99)
    again.load_state_dict(state)
    rows = torch.tensor([3, 3, 8, 20, 1])
    assert torch.equal(call(module, student, teacher, rows), call(again, student, teacher, rows))
    assert torch.equal(module.teacher_memory, again.teacher_memory)


def test_an_unknown_image_is_refused():
    module = made(features(), features())
    with pytest.raises(AutokdError, match="not among the training images"):
        module(features(), features().pooled, torch.tensor([1, 4, 7, 10, 2]), torch.zeros(5, dtype=torch.long))
