from __future__ import annotations

import math
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autokd.config.trial import DataConfig, PolicyConfig, RecipeConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.search.screen import Screened, deviation, screen, screen_study
from autokd.search.study import Study
from autokd.track.recorder import Recorder


def test_a_deviation_worked_by_hand():
    means = torch.tensor([[0.2, 0.8], [0.4, 0.6], [0.6, 0.4]])
    assert deviation(means) == pytest.approx(0.2)  # both classes: 0.2 about the middle, divided by groups - 1
    with pytest.raises(ValueError, match="two groups"):
        deviation(means[:1])


def test_the_screen_agrees_with_its_definition_in_numpy():
    rows, batch, passes, group, seed = 37, 5, 4, 3, 11
    logits = torch.randn(passes, rows, 6, generator=torch.Generator().manual_seed(0))
    shape = {"batch": batch, "passes": passes, "group": group, "seed": seed}
    value, groups = screen(lambda chosen, number: logits[number][chosen], rows, **shape)
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for number in range(passes):
        order = torch.randperm(rows, generator=generator).numpy()
        for start in range(0, rows - batch + 1, batch):  # 7 whole batches of 5; two images are left over
            some = logits[number].double().numpy()[order[start : start + batch]]
            grown = np.exp(some - some.max(1, keepdims=True))
            batches.append((grown / grown.sum(1, keepdims=True)).mean(0))
    means = [np.mean(batches[g * group : (g + 1) * group], axis=0) for g in range(len(batches) // group)]
    assert groups == len(means) == 9  # of 28 batches one is left over
    assert value == pytest.approx(np.std(means, axis=0, ddof=1).mean(), rel=1e-5)


def test_a_teacher_that_says_the_same_of_every_view_does_not_waver():
    value, groups = screen(lambda chosen, number: torch.ones(len(chosen), 3), 40, batch=4, passes=2, group=5)
    assert (value, groups) == (0.0, 4)


def test_too_few_views_have_no_screen():
    value, groups = screen(lambda chosen, number: torch.ones(len(chosen), 3), 12, batch=4, passes=1, group=10)
    assert math.isnan(value) and groups == 0


def test_a_teacher_that_changes_its_mind_from_pass_to_pass_wavers_more():
    certain = torch.eye(2)[torch.arange(40) % 2] * 8
    lean = torch.tensor([4.0, 0.0])
    steady, _ = screen(lambda chosen, number: certain[chosen], 40, batch=10, passes=8, group=4)
    moody, _ = screen(lambda chosen, number: certain[chosen] + number % 2 * 3 * lean, 40, batch=10, passes=8, group=4)
    assert moody > steady


TEACHER = TeacherConfig("big", "resnet8", training=None, checkpoint="big.safetensors")


def study_of(**arms: TrialConfig) -> Study:
    return Study("made", "small", "digits", "resnet8", "big", "jda", 1, (0,), arms, (), {"big": TEACHER}, screened=tuple(arms))


class Signals:
    def __init__(self, wants_pixels):
        self.wants_pixels, self.asked = wants_pixels, []

    def logits(self, rows, view, augmented, pixels):
        assert (pixels is not None) == self.wants_pixels
        self.asked.append((view, augmented))
        return torch.nn.functional.one_hot(rows % 3, 3).float()


@pytest.fixture
def workshop(monkeypatch):
    made = {"kept": Signals(False), "live": Signals(True)}

    class Workshop:
        def __init__(self, **settings):
            self.settings = settings

        def data(self, config):
            return SimpleNamespace(pixels=torch.zeros(96, 1, 4, 4))

        def views_of(self, config):
            return SimpleNamespace(render=lambda rows, view, augmented: SimpleNamespace(pixels=rows))

        def verify(self, *_):
            return SimpleNamespace(top1=0.9, loss=0.3, ece=0.05, images=96, classes=3)

        def signals(self, config):
            assert config.teacher.checkpoint == "big.safetensors"  # as it lies now, not as the study was planned
            return made["kept" if config.policy.name == "none" else "live"]

    monkeypatch.setattr("autokd.train.workshop.Workshop", Workshop)
    return made


def test_every_policy_is_asked_for_its_own_views_and_the_answer_is_kept(workshop, tmp_path, monkeypatch):
    base = TrialConfig(DataConfig("digits"), StudentConfig("resnet8"), TEACHER, recipe=RecipeConfig(batch=8))
    study = study_of(plain=base.with_(policy=PolicyConfig("none")), rich=base.with_(policy=PolicyConfig("jda_cifar100")))
    recorder = Recorder(tmp_path)
    for checkpoint in (None, "big.safetensors"):  # the later word counts
        recorder.emit({"event": "teacher", "teacher": "big", "config": asdict(TEACHER) | {"checkpoint": checkpoint}})
    recorder.close()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big.safetensors").write_bytes(b"")
    found = screen_study(tmp_path, study, passes=3, bench={"cache_dir": None})
    assert [(one.arm, one.policy, one.batch, one.passes, one.groups) for one in found] == [
        ("plain", "none", 8, 3, 3),
        ("rich", "jda_cifar100", 8, 3, 3),
    ]
    assert {augmented for _, augmented in workshop["kept"].asked} == {False}
    assert {augmented for _, augmented in workshop["live"].asked} == {True}
    assert {view for view, _ in workshop["live"].asked} == {0, 1, 2}
    workshop["kept"].asked.clear()
    assert screen_study(tmp_path, study, passes=3) == found
    assert not workshop["kept"].asked
    assert isinstance(found[0], Screened)


def test_without_its_teacher_there_is_no_screen(tmp_path):
    Recorder(tmp_path).close()
    base = TrialConfig(DataConfig("digits"), StudentConfig("resnet8"), TEACHER)
    assert screen_study(tmp_path, study_of(plain=base)) == []
