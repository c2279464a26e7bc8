"""What a search measures of a teacher before its first trial."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autokd.config.sections import ConfirmSettings
from autokd.config.trial import DataConfig, RecipeConfig, TeacherConfig, TeacherTraining
from autokd.errors import AutokdError, SearchFailed
from autokd.finalize.retrain import finalize
from autokd.models.build import build
from autokd.models.checkpoint import save_weights
from autokd.search.confirm import confirm
from autokd.search.run import resume, search
from autokd.search.teachers import compare, known_teachers, trained_before
from autokd.search.work import _BENCHES, guessing, prepare_teacher, teacher_from, teacher_here
from autokd.signals.teacher import Teacher
from autokd.track.ledger import FILE, read_events
from autokd.train.workshop import Workshop

DIGITS = DataConfig("digits", validation=0.2)
TRAINING = TeacherTraining(epochs=1, recipe=RecipeConfig(lr=0.1), policy="jda_cifar10", ratio=0.5)
TEACHER = TeacherConfig("big", "resnet8", training=TRAINING)


PROGRESS: list[dict[str, Any]] = []


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("teachers"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autokd.train.trial._TOLD_EVERY", 0.0)
        return folder, prepare_teacher({"threads": 1}, asdict(DIGITS), asdict(TEACHER), folder, PROGRESS.append)


def test_a_teacher_that_diverges_is_told_with_the_way_out_and_exit_code_4(tmp_path):
    wild = replace(TEACHER, training=replace(TRAINING, recipe=RecipeConfig(lr=1e20)))
    with pytest.raises(SearchFailed, match="the teacher 'big' could not be trained: the loss is not finite at step") as fault:
        prepare_teacher({"threads": 1}, asdict(DIGITS), asdict(wild), str(tmp_path))
    assert fault.value.exit_code == 4 and fault.value.fix == "lower its learning rate"


def test_while_a_teacher_trains_its_progress_is_told(facts):
    epochs = [one["epochs"] for one in PROGRESS]
    assert epochs == sorted(epochs) and {one["total_epochs"] for one in PROGRESS} == {1}
    looks = [one for one in PROGRESS if one["look"]]
    assert len(looks) == 5 and len(PROGRESS) == 5 + round(1150 / 64) and looks[-1]["epochs"] == pytest.approx(1, abs=0.06)
    assert PROGRESS[0]["val_top1"] is None and PROGRESS[-1]["seconds_left"] == 0
    lefts = [one["seconds_left"] for one in PROGRESS[2:]]
    assert all(one["val_top1"] is not None for one in looks) and all(left >= 0 for left in lefts)


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


@pytest.fixture
def taught(tmp_path):
    """A space on two classes of twelve images, its teacher from a file, and the run of its search, which has ended."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(("apple", "pear")):
        (tmp_path / "images" / "train" / name).mkdir(parents=True)
        (tmp_path / "images" / "test" / name).mkdir(parents=True)
        for one in range(14):
            pixels = (draw.integers(0, 120, (8, 8, 3)) + 100 * number).astype(np.uint8)
            part = "train" if one < 12 else "test"
            Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{one:02d}.png")
    save_weights(build("resnet8", classes=2, seed=0), tmp_path / "weights.safetensors")
    values = {
        "name": "taught",
        "data": {"name": "folder", "root": str(tmp_path / "images"), "validation": 0.25},
        "teachers": {"given": {"model": "resnet8", "checkpoint": str(tmp_path / "weights.safetensors")}},
        "students": ["resnet8x0.5"],
        "space": {"policy": "none", "method": "kd", "recipe": {"batch": 8, "lr": 0.05}},
        "search": {"trials": 1, "epochs": 1, "rungs": {"count": 0}, "sampler": "random"},
        "finalize": {"seeds": 1, "formats": ["safetensors"]},
        "tracking": {"mlflow": False},
    }
    return tmp_path, search(values, runs=tmp_path / "runs", engine="inline").folder


def swap_weights(place):
    save_weights(build("resnet8", classes=2, seed=1), place / "weights.safetensors")


def rename_class(place):
    for part in ("train", "test"):
        (place / "images" / part / "apple").rename(place / "images" / part / "zucchini")


def go_on(run):
    resume(run, add_trials=1, engine="inline")


def confirm_it(run):
    confirm(run, settings=ConfirmSettings(top=1, seeds=2, controls=[]), engine="inline")


def finish(run):
    finalize(run, workshop=Workshop(threads=1))


@pytest.mark.parametrize("then", [go_on, confirm_it, finish])
def test_a_run_goes_on_with_the_teacher_and_the_data_it_began_with_or_says_why_not(taught, then):
    place, run = taught
    swap_weights(place)
    with pytest.raises(AutokdError, match="the weights of 'given' are not those that this run began with") as caught:
        then(run)
    assert "weights.safetensors" in caught.value.where and "begin a new search" in caught.value.fix
    save_weights(build("resnet8", classes=2, seed=0), place / "weights.safetensors")
    rename_class(place)
    with pytest.raises(AutokdError, match="the data is not what this run began with"):
        then(run)
    began = sum(event["event"] == "trial" for event in read_events(run / FILE))
    assert began == 1 and not list(run.glob("trained/*.safetensors")) and not (run / "test_looks.jsonl").exists()
    for part in ("train", "test"):
        (place / "images" / part / "zucchini").rename(place / "images" / part / "apple")
    then(run)


def test_a_run_whose_teacher_is_unchanged_measures_it_and_records_it_once(taught):
    _, run = taught
    heard = []
    resume(run, add_trials=1, engine="inline", on_event=heard.append)
    assert "measuring given" in [event.get("text") for event in heard]
    (event,) = [event for event in read_events(run / FILE) if event["event"] == "teacher"]
    assert (event["val_images"], event["trained"], len(event["data"])) == (6, False, 2)
    assert event["sha256"] == hashlib.sha256(Path(event["checkpoint"]).read_bytes()).hexdigest()


def test_a_search_does_not_begin_with_a_trained_teacher_that_answers_otherwise_than_it_did(taught, monkeypatch):
    place, run = taught
    changes = ["teachers.given.checkpoint=null", "teachers.given.train.epochs=4", "teachers.given.train.batch=8"]
    first = search(run / "space.yaml", runs=place / "runs", engine="inline", overrides=changes).folder
    made = [event for event in read_events(first / FILE) if event["event"] == "teacher"]
    assert made[0]["trained"]
    again = search(run / "space.yaml", runs=place / "runs", engine="inline", overrides=changes).folder
    kept = [event for event in read_events(again / FILE) if event["event"] == "teacher"]
    assert not kept[0]["trained"] and kept[0]["sha256"] == made[0]["sha256"]
    ask = Teacher.logits
    monkeypatch.setattr(Teacher, "logits", lambda self, pixels: -ask(self, pixels))  # what no key could tell
    with pytest.raises(AutokdError, match="the teacher 'given' is not what it was") as caught:
        search(run / "space.yaml", runs=place / "runs", engine="inline", overrides=changes, name="third")
    (third,) = (place / "runs").glob("third-*")
    assert not [event for event in read_events(third / FILE) if event["event"] == "trial"]
    assert f"{made[0]['val_top1'] * 100:.2f} %" in str(caught.value) and "--again" in caught.value.fix


@pytest.mark.parametrize(
    ("top1", "classes", "images", "told"),
    [
        (0.10, 10, 10_000, True),  # chance is 10 %, its standard error 0.3 points
        (0.105, 10, 10_000, True),
        (0.107, 10, 10_000, False),
        (0.60, 2, 10_000, False),
        (0.59, 2, 100, True),  # 50 %, and twice 5 points
        (0.61, 2, 100, False),
    ],
)
def test_guessing_is_what_lies_within_two_standard_errors_of_chance(top1, classes, images, told):
    assert bool(guessing("big", SimpleNamespace(top1=top1, classes=classes, images=images))) == told


def test_a_teacher_that_guesses_is_told(taught):
    place, run = taught
    heard = []
    search(run / "space.yaml", runs=place / "runs", engine="inline", on_event=heard.append)
    assert any("as guessing could be" in str(event.get("text")) for event in heard)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, None),
        ({"val_top1": 0.901}, None),
        ({"val_top1": 0.8}, "is not what it was"),
        ({"sha256": "b"}, "weights of 'big' are not those"),
        ({"data": ["x", "z"]}, "the data is not what this run began with"),
        ({"sha256": None, "data": None, "val_top1": None}, None),  # a ledger of an earlier version
    ],
)
def test_what_was_measured_is_compared_with_what_was_recorded(facts, told):
    before = {"val_top1": 0.9, "val_loss": 0.3, "val_images": 1000, "sha256": "a", "data": ["x", "y"]}
    for one, other in ((before, {**before, **facts}), ({**before, **facts}, before)):
        if told is None:
            assert compare("big", one, other, trained_here=False) == ""
        else:
            with pytest.raises(AutokdError, match=told):
                compare("big", one, other, trained_here=False)
    assert compare("big", before, {**before, "sha256": "b"}, trained_here=True) == ""  # the same recipe, trained again
    sentence = compare("big", before, {**before, "sha256": "b", "val_top1": 0.8, "trained": True}, trained_here=True)
    assert "was trained again on this machine" in sentence and "90.00 %" in sentence
