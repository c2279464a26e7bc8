"""A trial on the embedded digits: exact resume, failure told with a reason, and losses that are what the formula says."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTraining,
    TrialConfig,
)
from autokd.errors import AutokdError, TrialFailed
from autokd.train.teachers import teacher_path, train_teacher
from autokd.train.trial import Trial, run, train_in_parts
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2)
RECIPE = RecipeConfig(lr=0.05, batch=64, ema=0.9, clip=5.0)
TEACHER = TeacherConfig("big", "resnet14", training=TeacherTraining(epochs=2, recipe=RecipeConfig(lr=0.1, batch=64)))


@pytest.fixture(scope="module")
def workshop():
    return Workshop(threads=1, signals="live")


@pytest.fixture(scope="module")
def teacher(workshop, tmp_path_factory):
    path = train_teacher(DIGITS, TEACHER, tmp_path_factory.mktemp("teachers"), workshop=workshop)
    return replace(TEACHER, training=None, checkpoint=str(path))


def trial_config(teacher, method="ccd", **changes):
    method = method if isinstance(method, MethodConfig) else MethodConfig(method)
    config = TrialConfig(
        data=DIGITS,
        student=StudentConfig("resnet8"),
        teacher=teacher,
        policy=PolicyConfig("jda_cifar10"),
        ratio=0.5,
        method=method,
        recipe=RECIPE,
        epochs=1,
        seed=7,
    )
    return replace(config, **changes)


def weights(trial):
    return torch.cat([value.flatten().double() for value in trial.scored.state_dict().values()])


@pytest.mark.parametrize("method", ["ce", "kd", "ccd"])
def test_a_resumed_trial_ends_with_the_weights_of_an_uninterrupted_one(workshop, teacher, method, tmp_path):
    config = trial_config(teacher, method)
    whole = Trial(workshop, config)
    whole.advance(whole.total_images)
    first = Trial(workshop, config)
    first.advance(first.total_images // 3)
    first.save(tmp_path)
    again = Trial(workshop, config)
    again.load(tmp_path)
    report = again.advance(again.total_images)
    assert report.images == whole.images
    assert torch.equal(weights(whole), weights(again))


def test_two_seeds_begin_with_different_weights_and_one_seed_with_the_same(workshop, teacher):
    one, same = (Trial(workshop, trial_config(teacher)) for _ in range(2))
    other = Trial(workshop, trial_config(teacher, seed=8))
    assert torch.equal(weights(one), weights(same))
    assert not torch.equal(weights(one), weights(other))


def test_a_diverging_trial_fails_with_a_reason(workshop, teacher):
    config = trial_config(teacher, recipe=replace(RECIPE, lr=1e18, clip=None))
    with pytest.raises(TrialFailed, match="not finite"):
        run(config, workshop=workshop)


def test_the_loss_of_a_step_is_the_formula_of_its_parts(workshop, teacher):
    """total = ce_weight x CE(all views) + kd_weight x 16 x KL(all views), worked in float64 from logits of our own asking."""
    config = trial_config(
        teacher, "kd", loss=LossConfig(ce_weight=0.3, kd_weight=0.7), recipe=replace(RECIPE, ema=None)
    )
    trial = Trial(workshop, config)
    batch = trial.order.step(0)
    half = trial.division.plain
    views = [trial.views.render(batch.rows[:half], batch.passes[:half], flag).pixels for flag in (False, True)]
    pixels = torch.cat(views)
    mean = torch.tensor(trial.loaded.mean).view(1, -1, 1, 1)
    std = torch.tensor(trial.loaded.std).view(1, -1, 1, 1)
    student = trial.student.train()((pixels.float() / 255 - mean) / std).double()
    asked = workshop.teacher(DIGITS, teacher).logits(pixels).double()
    labels = trial.loaded.labels[batch.rows[:half]].repeat(2)
    ce = -student.log_softmax(1).gather(1, labels[:, None]).mean()
    p, q = (asked / 4).log_softmax(1), (student / 4).log_softmax(1)
    kl = (p.exp() * (p - q)).sum(1).mean()
    fresh = Trial(workshop, config)
    fresh.student.train()
    assert fresh.loss(0).item() == pytest.approx((0.3 * ce + 0.7 * 16 * kl).item(), rel=1e-4)


def gradient(trial):
    trial.student.train()
    trial.loss(0).backward()
    return torch.cat([p.grad.flatten().double() for p in trial.student.parameters()])


@pytest.mark.parametrize(
    ("precision", "found"), [("auto", "float32"), ("float32", "float32"), ("tf32", "float32"), ("bf16", "bf16")]
)
def test_a_precision_is_what_the_student_is_trained_in_and_what_the_report_says(workshop, precision, found):
    """Against float64: float32 keeps 24 bits of a number, bfloat16 8. A processor has no TF32."""
    config = TrialConfig(
        data=DIGITS, student=StudentConfig("resnet8"), method=MethodConfig("ce"), ratio=0.0, epochs=0.2,
        recipe=RecipeConfig(batch=64, precision=precision),
    )  # fmt: skip
    trial = Trial(workshop, config)
    rows = trial.order.step(0)
    pixels = trial.views.render(rows.rows, rows.passes, False).pixels
    model = workshop.model(DIGITS, config.student, seed=None).double().train()
    model.load_state_dict(trial.student.state_dict())
    logits = model((pixels.double() / 255 - trial.loaded.mean[0]) / trial.loaded.std[0])
    nn.functional.cross_entropy(logits, trial.loaded.labels[rows.rows]).backward()
    exact = torch.cat([p.grad.flatten() for p in model.parameters()])
    error = ((gradient(trial) - exact).norm() / exact.norm()).item()
    assert error < 1e-4 if found == "float32" else 1e-3 < error < 0.3
    assert trial.advance(64).precision == trial.precision == found


def test_torchs_switches_are_a_trials_own_while_it_trains(workshop, teacher):
    def switches():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before, seen = switches(), []
    try:
        torch.set_float32_matmul_precision("high")
        for precision in ("float32", "auto", "bf16"):
            trial = Trial(workshop, trial_config(teacher, recipe=replace(RECIPE, precision=precision)))
            trial.student.register_forward_pre_hook(lambda *_: seen.append(switches()))
            trial.advance(64)
            assert set(seen) == {("highest", False) if precision == "float32" else ("high", True)}
            assert switches() == ("high", True)
            seen.clear()
        diverging = replace(RECIPE, lr=1e18, clip=None, precision="float32")
        with pytest.raises(TrialFailed):
            run(trial_config(teacher, recipe=diverging), workshop=workshop)
        assert switches() == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert switches() == before


def test_what_a_teacher_answers_in_one_precision_serves_no_other(teacher, tmp_path, monkeypatch):
    """On a CPU there is but one; here it is made to tell them apart as a GPU does."""
    bench = Workshop(threads=1, cache_dir=tmp_path, signals="cached")
    few, student = replace(DIGITS, fraction=0.05), StudentConfig("resnet8x0.5")

    def kept():
        for precision in ("auto", "float32", "tf32"):
            recipe = replace(RECIPE, precision=precision, batch=32)
            small = {"data": few, "student": student, "recipe": recipe}
            Trial(bench, trial_config(teacher, "energy_kd", **small)).parts(0)
            Trial(bench, trial_config(teacher, method=MethodConfig("sskd", {"head_epochs": 0.1}), ratio=0.0, **small))
        files = [len(list(tmp_path.rglob(f"*.{kind}"))) for kind in ("arrow", "pt")]
        return files, len(bench._energies), len(bench._teachers)

    assert kept() == ([2, 1], 1, 1)  # answers to plain and augmented views; a head
    monkeypatch.setattr("autokd.train.workshop.of_teacher", lambda precision, device: precision)
    assert kept() == ([6, 3], 3, 3)  # auto is what it was


def test_a_precision_left_open_says_nothing_and_a_configuration_of_before_keeps_its_key(teacher):
    config = trial_config(teacher).with_(teacher=TEACHER)
    told = config.to_dict()
    assert "precision" not in told["recipe"] and "precision" not in told["teacher"]["training"]["recipe"]
    assert TrialConfig.from_dict(told) == config
    asked = config.with_(recipe=replace(RECIPE, precision="float32"))
    assert asked.key != config.key and TrialConfig.from_dict(asked.to_dict()) == asked


def test_training_learns_the_digits(workshop):
    config = TrialConfig(
        data=DIGITS, student=StudentConfig("resnet8"), method=MethodConfig("ce"), recipe=RECIPE, epochs=6, ratio=0.0
    )
    seen = []
    trial, report = run(config, lambda r: bool(seen.append(r)) or True, checkpoints=[2000], workshop=workshop)
    assert [r.images for r in seen] == [math.ceil(2000 / 64) * 64, trial.total_images]
    assert report.val_top1 > 0.9  # chance is 0.1
    assert report.lr == pytest.approx(0.0, abs=1e-6)
    assert report.epochs == pytest.approx(6, abs=0.1)


def test_a_report_can_end_a_trial(workshop, teacher):
    trial, report = run(trial_config(teacher), lambda r: False, checkpoints=[128], workshop=workshop)
    assert report.images == 128 < trial.total_images


def test_a_checkpoint_of_another_configuration_is_refused(workshop, teacher, tmp_path):
    Trial(workshop, trial_config(teacher)).save(tmp_path)
    with pytest.raises(AutokdError, match="another configuration"):
        Trial(workshop, trial_config(teacher, seed=9)).load(tmp_path)
    for word, told in (("data", "other images, labels or class names"), ("network", "the code of the checkpoint's network")):
        state = torch.load(tmp_path / "trial.pt", weights_only=True)
        torch.save({**state, word: "another"}, tmp_path / "trial.pt")
        with pytest.raises(AutokdError, match=told):
            Trial(workshop, trial_config(teacher)).load(tmp_path)
        torch.save({name: value for name, value in state.items() if name != word}, tmp_path / "trial.pt")  # as before
        Trial(workshop, trial_config(teacher)).load(tmp_path)
        torch.save(state, tmp_path / "trial.pt")
    (tmp_path / "trial.pt").write_bytes(b"torn")
    with pytest.raises(AutokdError, match="the checkpoint is damaged"):
        Trial(workshop, trial_config(teacher)).load(tmp_path)


def flip(path, at):
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)


def place_of(path, tensor):
    """Where the numbers of a tensor lie in a file."""
    place = path.read_bytes().find(tensor.detach().contiguous().numpy().tobytes())
    assert place > 0
    return place


def test_a_flipped_bit_of_a_weight_is_told_and_not_trained_on(workshop, tmp_path):
    config = trial_config(None, "ce")
    trial = Trial(workshop, config)
    name, weight = next(iter(trial.student.state_dict().items()))
    path = trial.save(tmp_path)
    place = place_of(path, torch.load(path, weights_only=True)["student"][name])
    flip(path, place + 2)
    assert not torch.equal(torch.load(path, weights_only=True)["student"][name], weight)  # torch does not notice
    with pytest.raises(AutokdError, match="the checkpoint is damaged"):
        Trial(workshop, config).load(tmp_path)


def test_a_training_whose_checkpoint_is_damaged_begins_anew_with_a_warning(workshop, tmp_path):
    config = trial_config(None, "ce", epochs=0.5)
    whole, cut, again = (Trial(workshop, config) for _ in range(3))
    whole.advance(whole.total_images)
    cut.advance(128)
    path = cut.save(tmp_path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.warns(UserWarning, match="the training begins anew"):
        train_in_parts(again, tmp_path, 2)
    assert torch.equal(weights(whole), weights(again))


def test_a_teacher_whose_file_is_no_longer_as_it_was_written_is_trained_again(workshop, tmp_path):
    config = replace(TEACHER, training=replace(TEACHER.training, epochs=0.2))
    path = train_teacher(DIGITS, config, tmp_path, workshop=workshop)
    good = path.read_bytes()
    assert json.loads(path.with_suffix(".json").read_text())["sha256"] == hashlib.sha256(good).hexdigest()
    flip(path, -9)
    with pytest.warns(UserWarning, match="trained again"):
        assert train_teacher(DIGITS, config, tmp_path, workshop=workshop) == path
    assert path.read_bytes() == good


def test_a_method_without_its_teacher_is_refused(workshop):
    with pytest.raises(AutokdError, match="needs a teacher"):
        Trial(workshop, trial_config(None, "kd"))


def test_a_teacher_is_trained_once_and_never_on_validation_images(workshop, teacher, tmp_path, monkeypatch):
    path = teacher_path(workshop, DIGITS, TEACHER, tmp_path)
    monkeypatch.setattr(workshop, "trial", lambda *_: pytest.fail("trained again"))
    made = Path(teacher.checkpoint)
    assert path.name == made.name
    for ending in (".safetensors", ".json"):
        shutil.copy(made.with_suffix(ending), path.with_suffix(ending))
    assert train_teacher(DIGITS, TEACHER, tmp_path, workshop=workshop) == path
    path.with_suffix(".json").unlink()
    with pytest.raises(AutokdError, match="nothing beside the teacher 'big' says how good it was"):
        train_teacher(DIGITS, TEACHER, tmp_path, workshop=workshop)
    training = workshop.data(DIGITS).training
    assert not set(training.train.index.tolist()) & set(training.validation.index.tolist())


def test_the_moving_average_follows_the_formula(workshop):
    trial = Trial(workshop, trial_config(None, "ce", epochs=0.2))
    expected = [p.detach().clone() for p in trial.student.parameters()]
    for step in range(3):
        trial._train_step()
        decay = min(0.9, (1 + step) / (10 + step)) if step else 0.0
        for mean, now in zip(expected, trial.student.parameters(), strict=True):
            mean.mul_(decay).add_(now.detach(), alpha=1 - decay)
    assert trial.average is not None
    for mean, kept in zip(expected, trial.average.module.parameters(), strict=True):
        torch.testing.assert_close(kept, mean)


def test_a_student_of_ones_own_class_trains(workshop, monkeypatch):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            return self.fc(x.flatten(1))

    monkeypatch.setattr(workshop, "model", lambda *_, **__: Plain())
    report = Trial(workshop, trial_config(None, "ce", epochs=1)).advance(10**6)
    assert 0 <= report.val_top1 <= 1


def test_on_mixed_views_the_teacher_sees_what_the_student_sees_and_labels_are_shared(workshop, teacher):
    """CutMix on every augmented row: the loss is rebuilt from the rendered pixels, with each label shared by area."""
    loss = LossConfig(ce_weight=0.4, kd_weight=0.6)
    config = trial_config(teacher, "kd", policy=PolicyConfig("cutmix"), ratio=1.0, loss=loss, recipe=replace(RECIPE, ema=None))
    trial = Trial(workshop, config)
    batch = trial.order.step(3)
    view = trial.views.render(batch.rows, batch.passes, True)
    assert view.share.min() < 0.9 and (view.partner != batch.rows).any()
    loaded = workshop.data(DIGITS)
    images = (view.pixels.double() / 255 - loaded.mean[0]) / loaded.std[0]
    labels = nn.functional.one_hot(loaded.labels, 10).double()
    share = view.share.double()[:, None]
    targets = share * labels[batch.rows] + (1 - share) * labels[view.partner]
    trial.student.train()
    told = trial.loss(3).item()
    student = trial.student(images.float()).double().detach()
    taught = workshop.teacher(DIGITS, teacher).model(images.float()).double()
    p, q = (taught / 4).log_softmax(1), (student / 4).log_softmax(1)
    expected = 0.4 * -(targets * student.log_softmax(1)).sum(1).mean() + 0.6 * 16 * (p.exp() * (p - q)).sum(1).mean()
    assert told == pytest.approx(expected.item(), rel=1e-3)


def test_a_teacher_with_its_own_normalisation_is_asked_in_its_own(workshop, teacher):
    own = replace(teacher, name="other", mean=(0.1,), std=(0.7,))
    pixels = workshop.data(DIGITS).val_pixels[:16]
    made = workshop.teacher(DIGITS, own)
    images = (pixels.double() / 255 - 0.1) / 0.7
    torch.testing.assert_close(made.logits(pixels), made.model(images.float()), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(made.logits(pixels), workshop.teacher(DIGITS, teacher).logits(pixels), atol=0.05)
