"""What every file of the room must keep. A new method is visited without an edit here."""

from __future__ import annotations

import pytest
import torch
from feature_fakes import features

from autokd.methods.build import SIGNALS, build_method
from autokd.models.features import Features
from autokd.rooms import catalogue, complain

METHODS = catalogue("methods")
ROWS, CLASSES, IMAGES = 8, 7, 40
STUDENT = ((4, 8), (6, 8), (8, 4), (10, 2))
TEACHER = ((5, 8), (8, 8), (12, 4), (16, 2))
TURNS = 4


def signals(name, rows=ROWS, seed=0, dtype=torch.float32, teacher_shapes=TEACHER):
    """Every signal for `rows` rows. Rows in fours are one view turned to its four sides, for methods that ask for them."""
    generator = torch.Generator().manual_seed(seed)
    student = features(rows, STUDENT, CLASSES, seed=seed + 1, grad=True, dtype=dtype)
    teacher = features(rows, teacher_shapes, CLASSES, seed=seed + 2, dtype=dtype)
    labels = torch.randint(0, CLASSES, (rows,), generator=generator)
    known = {
        "student_logits": student.logits,
        "teacher_logits": teacher.logits,
        "plain_teacher_logits": teacher.logits + torch.randn(rows, CLASSES, generator=generator).to(dtype),
        "augmented": torch.arange(rows) % 2 == 1,
        "labels": labels,
        "targets": torch.nn.functional.one_hot(labels, CLASSES).float(),
        "index": torch.arange(rows) * 3,
        "student_features": student,
        "teacher_features": teacher,
        "teacher_pooled": teacher.pooled,
        "rotation": torch.arange(rows) % TURNS,
        "view": torch.arange(rows) // TURNS,
        "epoch": 1.0,
    }
    assert set(known) == set(SIGNALS)
    return known


def made(name):
    """The method with its defaults, its learnable parts built and what it keeps of the training images opened."""
    torch.manual_seed(0)
    method = build_method(name)
    if method.module is not None:
        known = signals(name)
        if hasattr(method.module, "build_parts"):
            method.module.build_parts(known["student_features"], known["teacher_features"])
        if hasattr(method.module, "know_data"):
            method.module.know_data(torch.arange(IMAGES), torch.arange(IMAGES) % CLASSES)
        method.module.eval()
    return method


def call(method, known):
    torch.manual_seed(1)
    return method({key: known[key] for key in method.reads})


def leaf(known):
    """What the student's answers come from."""
    return known["student_features"].before_relu


def permuted(value, order):
    if isinstance(value, torch.Tensor):
        return value[order]
    return value.take(order) if isinstance(value, Features) else value


@pytest.mark.parametrize("name", METHODS)
def test_the_file_describes_the_method(name):
    entry = METHODS[name]
    assert entry.summary and entry.source, "the docstring has a sentence and a line 'Source: …'"
    assert set(entry.reads) <= set(SIGNALS)
    assert entry.facts["LEVEL"] in ("labels", "logits", "features", "relation")
    assert set(entry.facts["WEIGHTS"]) == {"ce_weight", "kd_weight"}
    for key, range_ in entry.search.items():
        setting = entry.setting(key)
        assert setting is not None, f"SEARCH names {key}, which is no setting"
        ((word, bounds),) = ((w, b) for w, b in range_.items() if w != "prior")
        assert word in ("uniform", "log", "int", "choose")
        for value in bounds:
            assert complain(setting, value) is None
        prior = range_.get("prior", setting.default)
        assert prior in bounds if word == "choose" else bounds[0] <= prior <= bounds[1], f"the prior of {key}"


@pytest.mark.parametrize("name", METHODS)
def test_it_is_a_finite_scalar_with_a_gradient_to_the_student_and_none_to_the_teacher(name):
    method, known = made(name), signals(name)
    known["teacher_logits"].requires_grad_(True)
    for value in known["teacher_features"].stages:
        value.requires_grad_(True)
    loss = call(method, known)
    assert loss.shape == () and torch.isfinite(loss)
    loss.backward()
    reached = [x.grad for x in leaf(known) if x.grad is not None]
    assert reached and any(grad.abs().sum() > 0 for grad in reached)
    assert all(torch.isfinite(grad).all() for grad in reached)
    assert known["teacher_logits"].grad is None or not known["teacher_logits"].grad.any()
    assert all(value.grad is None for value in known["teacher_features"].stages)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_answers_are_taken(name, dtype):
    method = made(name)
    whole, half = call(method, signals(name)), call(method, signals(name, dtype=dtype))
    assert torch.isfinite(half) and half.dtype == torch.float32
    torch.testing.assert_close(half, whole, rtol=0.15, atol=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_the_smallest_batch_works(name):
    rows = TURNS if "rotation" in METHODS[name].reads else 1
    loss = call(made(name), signals(name, rows=rows))
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", METHODS)
def test_a_student_that_is_its_teacher_is_no_special_case(name):
    method = build_method(name)
    known = signals(name, teacher_shapes=STUDENT)
    known["teacher_logits"] = known["student_logits"].detach().clone()
    known["teacher_features"] = features(ROWS, STUDENT, CLASSES, seed=1)
    known["teacher_pooled"] = known["teacher_features"].pooled
    if method.module is not None:
        if hasattr(method.module, "build_parts"):
            method.module.build_parts(known["student_features"], known["teacher_features"])
        if hasattr(method.module, "know_data"):
            method.module.know_data(torch.arange(IMAGES), torch.arange(IMAGES) % CLASSES)
        method.module.eval()
    loss = call(method, known)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(x.grad).all() for x in leaf(known) if x.grad is not None)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_the_batch_is_free(name):
    known = signals(name)
    order = torch.tensor([4, 5, 6, 7, 0, 1, 2, 3]) if "rotation" in METHODS[name].reads else torch.randperm(ROWS)
    turned = {key: permuted(value, order) for key, value in known.items()}
    torch.testing.assert_close(call(made(name), turned), call(made(name), known), rtol=1e-3, atol=1e-4)
