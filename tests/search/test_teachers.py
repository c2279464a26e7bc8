"""What a search measures of a teacher before its first trial."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from autokd.config.trial import DataConfig, RecipeConfig, TeacherConfig, TeacherTraining
from autokd.search.teachers import known_teachers, trained_before
from autokd.search.work import _BENCHES, prepare_teacher, teacher_from, teacher_here
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2)
TRAINING = TeacherTraining(epochs=1, recipe=RecipeConfig(lr=0.1), policy="jda_cifar10", ratio=0.5)
TEACHER = TeacherConfig("big", "resnet8", training=TRAINING)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("teachers"))
    return folder, prepare_teacher({"threads": 1}, asdict(DIGITS), asdict(TEACHER), folder)


def test_a_teacher_s_calibration_is_that_of_a_loop_over_fifteen_spans(facts):
    _, told = facts
    workshop = Workshop(threads=1)
    loaded = workshop.data(DIGITS)
    logits = workshop.teacher(DIGITS, teacher_from(told["config"])).logits(loaded.val_pixels).double()
    shares = torch.softmax(logits, 1).numpy()
    sure, right = shares.max(1), shares.argmax(1) == loaded.val_labels.numpy()
    spans = np.clip(np.ceil(sure * 15), 1, 15)
    expected = sum(
        np.mean(spans == s) * abs(right[spans == s].mean() - sure[spans == s].mean()) for s in np.unique(spans)
    )
    assert told["ece"] == pytest.approx(expected, abs=1e-6)
    assert told["val_top1"] == pytest.approx(right.mean())


def test_one_measured_beside_other_things_leaves_neither_its_threads_nor_what_it_loaded(facts):
    folder, told = facts
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = teacher_here({"threads": 1}, asdict(DIGITS), told["config"], folder)
        assert torch.get_num_threads() == 2 and not _BENCHES
    finally:
        torch.set_num_threads(before)
    assert (again["val_top1"], again["ece"], again["trained"]) == (told["val_top1"], told["ece"], False)


def test_how_it_was_trained_is_told_and_remembered(facts):
    folder, told = facts
    assert told["policy"] == "jda_cifar10" and told["trained"]
    assert trained_before("big", folder) and not trained_before("bi", folder)
    again = teacher_here({"threads": 1}, asdict(DIGITS), asdict(TEACHER), folder)
    assert again is not None and not again["trained"]
    assert again["policy"] == "jda_cifar10"
    assert [again[word] for word in ("ece", "sha256", "data")] == [told[word] for word in ("ece", "sha256", "data")]


def test_a_teacher_whose_file_was_damaged_between_two_sessions_is_not_taken_up_but_made_again(facts):
    folder, told = facts
    path = Path(told["checkpoint"])
    good, past = path.read_bytes(), [{"event": "teacher", "teacher": "big", **told}]
    assert list(known_teachers(past)) == ["big"]
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert known_teachers(past) == {}
    assert teacher_here({"threads": 1}, asdict(DIGITS), asdict(TEACHER), folder) is None  # it would have to be trained
    with pytest.warns(UserWarning, match="trained again"):
        again = prepare_teacher({"threads": 1}, asdict(DIGITS), asdict(TEACHER), folder)
    assert path.read_bytes() == good and again["val_loss"] == told["val_loss"]
