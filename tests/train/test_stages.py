"""Turned views in a trial, and what a method adds to its teacher: trained once, remembered, frozen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTraining,
    TrialConfig,
)
from autokd.errors import AutokdError
from autokd.rooms import catalogue, load
from autokd.train import stages
from autokd.train.batches import turned
from autokd.train.teachers import train_teacher
from autokd.train.trial import Trial
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2)
RECIPE = RecipeConfig(lr=0.05, batch=64)
TEACHER = TeacherConfig("big", "resnet14", training=TeacherTraining(epochs=2, recipe=RecipeConfig(lr=0.1, batch=64)))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(threads=1, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def teacher(workshop, tmp_path_factory):
    path = train_teacher(DIGITS, TEACHER, tmp_path_factory.mktemp("teachers"), workshop=workshop)
    return replace(TEACHER, training=None, checkpoint=str(path))


def config(teacher, method, **settings):
    return TrialConfig(
        data=DIGITS,
        student=StudentConfig("resnet8"),
        teacher=teacher,
        ratio=0.0,
        method=MethodConfig(method, {"head_epochs": 1.0, **settings}),
        loss=LossConfig(1.0, 1.0),
        recipe=RECIPE,
        epochs=0.3,
        seed=7,
    )


def numbers(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def test_a_view_is_turned_four_ways_counter_clockwise():
    image = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    assert [x.flatten().tolist() for x in turned(image, 4)] == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    with pytest.raises(AutokdError, match="cannot be turned"):
        turned(torch.zeros(1, 1, 2, 3), 4)


def test_the_turned_views_count_as_views_and_labels_are_read_upright(workshop, teacher):
    trial = Trial(workshop, config(teacher, "sskd"))
    assert trial.division.plain == 16 and trial.batch == 64  # 16 views, four ways each
    seen, shown = [], []
    trial.student.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].detach()))
    call = trial.method._call
    trial.method._call = lambda **signals: seen.append(signals) or call(**signals)
    trial.student.train()
    total = trial.loss(0)
    batch = trial.order.step(0)
    pixels = trial.views.render(batch.rows, batch.passes, False).pixels
    images = (pixels.float() / 255 - trial.loaded.mean[0]) / trial.loaded.std[0]
    for turn in range(4):
        rows = slice(16 * turn, 16 * turn + 16)
        torch.testing.assert_close(shown[0][rows], images.rot90(turn, (2, 3)))
        assert (seen[0]["rotation"][rows] == turn).all() and seen[0]["view"][rows].tolist() == list(range(16))
        assert torch.equal(seen[0]["labels"][rows], trial.loaded.labels[batch.rows])
    asked = workshop.teacher(DIGITS, teacher).logits(pixels.rot90(3, (2, 3)))
    torch.testing.assert_close(seen[0]["teacher_features"].logits[48:], asked, rtol=1e-3, atol=1e-3)
    own = seen[0]["student_features"].logits[:16]
    ce = -own.double().log_softmax(1).gather(1, trial.loaded.labels[batch.rows][:, None]).mean()
    assert total.item() == pytest.approx(ce.item() + call(**seen[0]).item(), rel=1e-4)


def test_a_batch_that_four_turns_do_not_divide_is_refused(workshop, teacher):
    with pytest.raises(AutokdError, match="multiple of 4"):
        Trial(workshop, replace(config(teacher, "sskd"), recipe=replace(RECIPE, batch=66)))


@pytest.mark.parametrize("method", ["sskd", "hsakd"])
def test_what_is_added_to_the_teacher_is_trained_once_and_remembered(workshop, teacher, method, monkeypatch):
    one = Trial(workshop, config(teacher, method))
    monkeypatch.setattr(stages, "_train", lambda *_: pytest.fail("trained again"))
    other = Trial(workshop, replace(config(teacher, method), seed=8))  # in the process
    later = Trial(Workshop(threads=1, cache_dir=workshop.cache_dir), config(teacher, method))  # from the folder
    for trial in (other, later):
        assert torch.equal(numbers(one.extra.teacher_parts), numbers(trial.extra.teacher_parts))
    assert not any(p.requires_grad for p in one.extra.teacher_parts.parameters())
    before = numbers(one.extra.teacher_parts)
    one.advance(256)
    assert torch.equal(before, numbers(one.extra.teacher_parts))  # batch norms included


@pytest.mark.parametrize("method", ["sskd", pytest.param("hsakd", marks=pytest.mark.slow)])
def test_the_stage_lowers_its_own_loss(workshop, teacher, method):
    long, short = (Trial(workshop, config(teacher, method, head_epochs=epochs)) for epochs in (4.0, 0.01))
    chance = []
    for trial in (long, short):
        pixels = turned(trial.loaded.pixels[:64], 4)
        features = workshop.teacher(DIGITS, teacher).features(pixels)
        place = torch.arange(256)
        labels = trial.loaded.labels[:64].repeat(4)
        with torch.no_grad():
            chance.append(trial.extra.teacher_loss(features, labels, place // 64, place % 64).item())
    assert chance[0] < chance[1]


@pytest.mark.parametrize(
    ("method", "settings", "epochs", "falls", "nesterov"),
    [
        ("hsakd", {}, 100, (30, 60, 90), True),  # --freezed of the published code, and without it
        ("hsakd", {"teacher_mode": "joint"}, 240, (150, 180, 210), True),
        ("sskd", {}, 60, (30, 45), False),
    ],
)
def test_the_stage_is_trained_as_published(teacher, method, settings, epochs, falls, nesterov, monkeypatch):
    """Every step's rate and the kind of momentum, of a whole stage in which nothing is computed."""
    seen = []

    class Recorded(stages.SGD):
        def __init__(self, weights, **options):
            super().__init__(weights, **options)
            assert (options["lr"], options["momentum"], options["weight_decay"]) == (0.05, 0.9, 5e-4)
            assert options["nesterov"] == nesterov

        def step(self, *args):
            seen.append(self.param_groups[0]["lr"])

    monkeypatch.setattr(stages, "SGD", Recorded)
    monkeypatch.setattr(stages, "forward_features", lambda *_: None)
    kind = load(catalogue("methods")[method])
    monkeypatch.setattr(kind, "teacher_loss", lambda self, *_: next(self.teacher_parts.parameters()).sum())
    few = replace(DIGITS, fraction=0.01)  # 14 images: a step an epoch
    asked = config(teacher, method, **settings)
    asked.method.settings.pop("head_epochs")
    Trial(Workshop(threads=1), replace(asked, data=few))
    assert len(seen) == epochs
    assert seen == [pytest.approx(0.05 * 0.1 ** sum(epoch >= fall for fall in falls)) for epoch in range(epochs)]


def test_a_damaged_file_is_made_anew_with_a_warning(teacher, tmp_path):
    one = Trial(Workshop(threads=1, cache_dir=tmp_path), config(teacher, "sskd"))
    (path,) = (tmp_path / "stages").iterdir()
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1  # among the weights, where torch does not notice
    for damaged in (b"torn", bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="damaged"):
            again = Trial(Workshop(threads=1, cache_dir=tmp_path), config(teacher, "sskd"))
        assert torch.equal(numbers(one.extra.teacher_parts), numbers(again.extra.teacher_parts))


def test_a_joint_teacher_is_a_copy_that_moved_and_the_given_one_stays(workshop, teacher):
    given = workshop.teacher(DIGITS, teacher)
    before = numbers(given.model)
    trial = Trial(workshop, config(teacher, "hsakd", teacher_mode="joint"))
    assert torch.equal(before, numbers(given.model)) and not given.model.training
    assert not torch.equal(before, numbers(trial.tuned.model))
    seen = []
    call = trial.method._call
    trial.method._call = lambda **signals: seen.append(signals) or call(**signals)
    trial.loss(0)
    batch = trial.order.step(0)
    pixels = turned(trial.views.render(batch.rows, batch.passes, False).pixels, 4)
    torch.testing.assert_close(seen[0]["teacher_features"].logits, trial.tuned.logits(pixels))
    frozen = Trial(workshop, config(teacher, "hsakd"))
    assert frozen.tuned is None
