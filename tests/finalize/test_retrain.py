"""The way from a run folder to a tested student, on the embedded digits and with trainings of a few steps."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TrialConfig,
)
from autokd.errors import AutokdError, SearchFailed
from autokd.finalize import training
from autokd.finalize.retrain import _seeds, _share_answers, finalize
from autokd.models.build import build
from autokd.models.checkpoint import save_weights
from autokd.seeds import SCHEME, derived
from autokd.track.ledger import FILE, FolderLock, all_events
from autokd.track.recorder import Recorder
from autokd.train import workshop as room
from autokd.train.workshop import Workshop

SPACE = """
name: short
data: {name: digits}
students: [resnet8x0.5]
space: {policy: none, method: {choose: {ce: {}}}}
budgets:
  - {name: tiny, params: 25 k}
  - {name: any}
search: {trials: 2, epochs: 0.2}
finalize: {seeds: 2, epochs: 0.2, formats: [safetensors]}
"""

SEEDS = [derived(0, "finalize", number) for number in range(2)]


def student_config(epochs: float = 0.2, seed: int = 0) -> TrialConfig:
    return TrialConfig(
        data=DataConfig("digits"),
        student=StudentConfig("resnet8x0.5"),
        teacher=None,
        policy=PolicyConfig("none"),
        ratio=0.0,
        method=MethodConfig("ce"),
        loss=LossConfig(1.0, 0.0),
        epochs=epochs,
        seed=seed,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of one finished trial, the best of both its budgets."""
    run = tmp_path / "short-1"
    run.mkdir()
    (run / "space.yaml").write_text(SPACE, encoding="utf-8")
    recorder = Recorder(run)
    budgets = [{"name": "tiny", "params": 25_000, "macs": None}, {"name": "any", "params": None, "macs": None}]
    recorder.emit({"event": "begin", "run": str(run), "name": "short", "budgets": budgets, "seed": 0})
    facts = {"budget": "tiny", "student": "resnet8x0.5", "method": "ce", "policy": "none", "ratio": 0.0, "seed": 0}
    cost = {"params": 19_802, "macs": 193_000}
    config = student_config().to_dict()
    recorder.emit({"event": "trial", "trial": "t00000", "budgets": ["tiny", "any"], **facts, **cost, "config": config})
    recorder.emit(
        {"event": "report", "trial": "t00000", "rung": 0, "final": True, "images": 9, "epochs": 1, "val_top1": 0.5}
    )
    recorder.emit({"event": "end", "trial": "t00000", "status": "done"})
    recorder.emit({"event": "close", "status": "finished", "reason": "1 trial"})
    recorder.close()
    return run


@pytest.fixture(scope="session")
def bench() -> Workshop:
    return Workshop("cpu", threads=1)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # trainings of a few steps are not worth a process each


def metrics_of(folder: Path, budget: str = "tiny") -> dict[str, Any]:
    return json.loads((folder / "final" / budget / "metrics.json").read_text(encoding="utf-8"))


def test_every_budget_gets_weights_metrics_configuration_and_card(folder: Path, bench: Workshop):
    heard: list[dict[str, Any]] = []
    finals = finalize(folder, workshop=bench, on_event=heard.append, command="autokd finalize")
    assert list(finals) == ["tiny", "any"]
    for name, final in finals.items():
        assert final.folder == folder / "final" / name
        told = metrics_of(folder, name)
        assert told["budget"] == name
        assert [seed["seed"] for seed in told["seeds"]] == SEEDS
        weights = final.folder / "student.safetensors"
        assert hashlib.sha256(weights.read_bytes()).hexdigest() == told["weights"]["sha256"]
        kept = TrialConfig.from_dict(json.loads((final.folder / "config.json").read_text(encoding="utf-8")))
        assert kept == student_config().fresh(told["exported_seed"])
        card = (final.folder / "card.md").read_text(encoding="utf-8")
        assert f'"seed": {told["exported_seed"]}' in card and "1 channel, " in card
        assert told["weights"]["sha256"] in card and "resnet8x0.5" in card and "| scored on the test split | once |" in card
    assert any(event["text"].startswith(f"tiny and any: seed {SEEDS[0]} at") for event in heard)


def test_the_test_accuracy_is_what_the_exported_weights_give_on_the_test_split(folder: Path, bench: Workshop):
    """From the file on the disk, by a loop of our own: float64 statistics, plain torch."""
    import torch

    from autokd.data.held_out import open_test
    from autokd.models.build import build
    from autokd.models.checkpoint import load_weights

    finalize(folder, workshop=bench)
    told = metrics_of(folder)
    test = open_test("digits", root=None, options={})
    assert told["test"]["images"] == len(test) == 359  # 1797 digits, of which 1438 are the training part
    model = build("resnet8x0.5", classes=10, channels=1, size=8)
    load_weights(model, folder / "final" / "tiny" / "student.safetensors")
    model.eval()
    mean, std = np.array(told["mean"])[:, None, None], np.array(told["std"])[:, None, None]
    images = torch.from_numpy(((test.pixels / 255.0 - mean) / std).astype(np.float32))
    with torch.no_grad():
        right = model(images).argmax(dim=1).numpy() == test.labels
    (exported,) = (seed for seed in told["seeds"] if seed["seed"] == told["exported_seed"])
    assert exported["test_top1"] == pytest.approx(right.mean(), abs=1e-12)
    kept = np.load(folder / "final" / "tiny" / "test_correct.npz")
    assert (kept["correct"][list(kept["seeds"]).index(told["exported_seed"])] == right).all()
    each = [seed["test_top1"] for seed in told["seeds"]]
    assert told["test"]["mean"] == pytest.approx(np.mean(each))
    assert told["test"]["std"] == pytest.approx(np.std(each, ddof=1))
    assert told["test"]["low"] <= told["test"]["mean"] <= told["test"]["high"]


def test_the_test_split_is_opened_once_for_all_budgets_and_seeds(folder: Path, bench: Workshop, monkeypatch):
    import autokd.data.held_out as held_out

    opened = []
    truly = held_out.open_test
    monkeypatch.setattr(held_out, "open_test", lambda *a, **k: opened.append(a) or truly(*a, **k))
    finalize(folder, workshop=bench)
    assert len(opened) == 1
    assert metrics_of(folder)["test_looks"] == metrics_of(folder, "any")["test_looks"] == 1


def test_a_repetition_trains_nothing_twice_and_its_look_is_counted(folder: Path, bench: Workshop):
    first = finalize(folder, workshop=bench)["tiny"].metrics
    heard: list[dict[str, Any]] = []
    second = finalize(folder, workshop=bench, on_event=heard.append)["tiny"].metrics
    assert sum("was trained before" in event["text"] for event in heard) == 2
    assert (first["test_looks"], second["test_looks"], len(second["looks"])) == (1, 2, 2)
    assert second["test"] == first["test"] and second["weights"]["sha256"] == first["weights"]["sha256"]
    assert "2 times" in (folder / "final" / "tiny" / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", [".safetensors", pytest.param(".json", marks=pytest.mark.slow)])
def test_a_training_that_is_no_longer_as_it_was_written_is_made_again(folder: Path, bench: Workshop, damage: str):
    first = finalize(folder, workshop=bench, budgets=["tiny"])["tiny"].metrics
    path = next(path for path in (folder / "trained").iterdir() if path.suffix == damage)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 128]) + good[len(good) // 2 + 1 :])
    heard: list[dict[str, Any]] = []
    again = finalize(folder, workshop=bench, budgets=["tiny"], on_event=heard.append)["tiny"].metrics
    assert sum("was trained before" in event["text"] for event in heard) == 1  # the other seed
    assert again["test"] == first["test"] and again["weights"]["sha256"] == first["weights"]["sha256"]


def test_two_processes_do_not_finish_one_run_at_once(folder: Path, bench: Workshop):
    (folder / "trained").mkdir()
    with FolderLock(folder / "trained"), pytest.raises(AutokdError, match="another process .* is writing this run"):
        finalize(folder, workshop=bench)
    assert not (folder / "final").exists()


PLACES = ["trained/", "test_looks.jsonl"]
MORE_PLACES = [".student.safetensors", ".student.onnx", "any/.metrics.json"]


@pytest.mark.parametrize("place", [*PLACES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_PLACES)])
def test_a_full_disk_is_told_in_words_leaves_no_half_file_and_the_next_finalize_ends_as_if_there_had_been_room(
    folder: Path, bench: Workshop, monkeypatch, place: str
):
    real = os.fsync
    monkeypatch.setattr("autokd.finalize.retrain.FolderLock", lambda folder: nullcontext())  # writes a note of its own

    def full(handle: int) -> None:
        if place in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    formats = ["safetensors", *(["onnx"] if "onnx" in place else [])]
    with monkeypatch.context() as patch, pytest.raises(AutokdError, match="the disk is full: ") as fault:
        patch.setattr("os.fsync", full)
        finalize(folder, workshop=bench, formats=formats)
    assert fault.value.fix.endswith(f"make room, then go on: autokd finalize {folder}")
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"]  # nothing half written
    finals = finalize(folder, workshop=bench, formats=formats)
    assert set(finals["any"].metrics["exports"]) == set(formats) and "failed" not in str(finals["any"].metrics["exports"])
    assert metrics_of(folder)["test_looks"] == (2 if "metrics" in place else 1)  # only where the split had been opened


def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(folder: Path, bench: Workshop, tmp_path: Path):
    from autokd.finalize.training import train

    def cut(text: str) -> None:
        raise KeyboardInterrupt  # after the first of four checkpoints

    config, place = student_config(seed=SEEDS[0]), tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train(bench, config, "train", place, cut)
    heard: list[str] = []
    went_on = train(bench, config, "train", place, heard.append)
    assert len(heard) == 3
    whole = train(bench, config, "train", tmp_path / "whole", lambda text: None)
    assert went_on.path.read_bytes() == whole.path.read_bytes()
    assert not list(place.glob("*.partial"))


def test_a_training_is_kept_by_the_content_of_what_its_configuration_names(tmp_path: Path, monkeypatch):
    (tmp_path / "nets.py").write_text("from autokd.models.build import build\n\ndef net(classes): return build('resnet8x0.5', "
                                      "classes=classes, channels=1)\n")  # fmt: skip
    weights = tmp_path / "teacher.safetensors"
    save_weights(build("resnet8", classes=10, channels=1, seed=0), weights)
    config = replace(student_config(), student=StudentConfig(f"{tmp_path}/nets.py:net"),
                     teacher=TeacherConfig("big", "resnet8", checkpoint=str(weights)))  # fmt: skip
    names = [training._made_of(Workshop(), config), training._made_of(Workshop(), config)]
    assert names[0] == names.pop()
    truly = room.open_training

    def other(change: Any) -> str:
        def opened(*asked: Any, **how: Any) -> Any:
            found = truly(*asked, **how)
            return replace(found, train=change(found.train))

        with monkeypatch.context() as patch:
            patch.setattr(room, "open_training", opened)
            return training._made_of(Workshop(), config)

    names.append(other(lambda one: replace(one, pixels=255 - one.pixels)))
    names.append(other(lambda one: replace(one, classes=tuple(reversed(one.classes)))))
    names.append(other(lambda one: replace(one, labels=one.labels[::-1].copy())))
    save_weights(build("resnet8", classes=10, channels=1, seed=1), weights)
    names.append(training._made_of(Workshop(), config))
    (tmp_path / "nets.py").write_text((tmp_path / "nets.py").read_text().replace("channels=1)", "channels=1).eval()"))
    names.append(training._made_of(Workshop(), config))
    assert len(set(names)) == 6
    assert len({training._files(config, "train", tmp_path, name)[0] for name in names}) == 6


def test_a_run_that_was_finished_by_an_earlier_version_goes_on_with_the_seeds_it_had(folder: Path):
    assert _seeds(folder, 2) == SEEDS  # not finished before
    (folder / "trained").mkdir()
    for number, seed in enumerate((SEEDS[0], 0)):  # of this version, and of the search
        (folder / "trained" / f"{number}.json").write_text(json.dumps({"seed": seed}))
    assert _seeds(folder, 2) == SEEDS
    (folder / "trained" / "2.json").write_text('{"seed": 1002}')
    assert _seeds(folder, 3) == [1001, 1002, 1003]
    ledger = folder / FILE
    begin, *rest = all_events(ledger)
    ledger.write_text("".join(json.dumps(event) + "\n" for event in ({**begin, "seeds": SCHEME}, *rest)))
    assert _seeds(folder, 2) == SEEDS  # of this version: its seeds do not depend on what lies there


@pytest.mark.parametrize(
    ("views_seeds", "students", "teachers", "kept"),
    [((None,), 1, 1, False), ((None,), 2, 1, True), ((None,), 2, 2, False), ((0,), 1, 1, True), ((None,), 1, 0, False)],
)
def test_answers_are_kept_where_two_trainings_read_them(views_seeds, students, teachers, kept):
    given = [TeacherConfig(str(n), "resnet8", checkpoint="x") for n in range(teachers)] or [None]
    configs = [
        replace(student_config(), data=DataConfig("digits", views_seed=seed), teacher=given[n % len(given)])
        for seed in views_seeds
        for n in range(students)
    ]
    assert _share_answers(configs) is kept


@pytest.mark.slow
def test_a_training_in_a_process_of_its_own_gives_the_same_weights(bench: Workshop, tmp_path: Path):
    from autokd.finalize.training import train_seeds

    heard: list[str] = []
    seeds = SEEDS
    apart, failed = train_seeds(bench, student_config(), seeds, "train", tmp_path / "apart", heard.append, processes=2)
    near, _ = train_seeds(bench, student_config(), seeds, "train", tmp_path / "near", heard.append, processes=1)
    assert failed == [] and len(heard) == 16  # four checkpoints each
    assert [one.path.read_bytes() for one in apart] == [one.path.read_bytes() for one in near]


def test_trained_on_everything_no_validation_score_is_told(folder: Path, bench: Workshop):
    told = finalize(folder, workshop=bench, budgets=["tiny"], train_on="train+validation", seeds=1)["tiny"].metrics
    assert told["train_images"] == 1438
    assert told["val"] is None and told["seeds"][0]["val_top1"] is None
    assert told["exported_because"].startswith("the first seed")
    assert not (folder / "final" / "any").exists()


def test_a_seed_that_diverges_is_left_out_and_named(folder: Path, bench: Workshop, monkeypatch):
    from autokd.errors import TrialFailed

    truly = training.train

    def sometimes(bench: Any, config: TrialConfig, *rest: Any) -> Any:
        if config.seed == SEEDS[0]:
            raise TrialFailed("the loss is not finite at step 3 of 10")
        return truly(bench, config, *rest)

    monkeypatch.setattr(training, "train", sometimes)
    told = finalize(folder, workshop=bench, budgets=["tiny"])["tiny"].metrics
    assert told["failed_seeds"] == [{"seed": SEEDS[0], "reason": "the loss is not finite at step 3 of 10"}]
    assert [seed["seed"] for seed in told["seeds"]] == SEEDS[1:]
    assert "failed: the loss" in (folder / "final" / "tiny" / "card.md").read_text(encoding="utf-8")
    with pytest.raises(SearchFailed, match="every training of resnet8x0.5 failed") as fault:
        finalize(folder, workshop=bench, budgets=["tiny"], seeds=1)
    assert fault.value.exit_code == 4
    assert metrics_of(folder)["test_looks"] == 1  # nothing was looked at for it


def test_a_student_that_diverged_is_finished_and_named_and_seeds_without_finite_logits_are_left_out(
    folder: Path, bench: Workshop, monkeypatch, capsys
):
    """The weights at the end are made such as a diverging training leaves: no numbers, too large for their logits, and large."""
    import torch

    from autokd.cli.finals import print_finals
    from autokd.train import trial as trials

    truly = trials.train_in_parts
    values = {derived(0, "finalize", number): value for number, value in enumerate((torch.nan, 3e38, 1e6))}

    def diverged(trial: Any, *rest: Any) -> Any:
        report = truly(trial, *rest)
        with torch.no_grad():
            list(trial.scored.parameters())[-2].fill_(values[trial.config.seed])
        return report

    monkeypatch.setattr(trials, "train_in_parts", diverged)
    heard: list[str] = []
    asked = {"workshop": bench, "budgets": ["tiny"], "on_event": lambda event: heard.append(event["text"])}
    finals = finalize(folder, seeds=3, **asked)
    told, (broken, endless, large) = finals["tiny"].metrics, values
    reasons = {broken: "its weights are not finite at the end", endless: "it diverged: its logits are not finite"}
    assert told["failed_seeds"] == [{"seed": seed, "reason": reason} for seed, reason in reasons.items()]
    assert [seed["seed"] for seed in told["seeds"]] == [large]
    assert list(told["diverged"]) == [str(large)] and 1e5 < told["diverged"][str(large)] < 1e9
    assert any(f"seed {large} diverged: its logits reach" in text and "lower learning rate" in text for text in heard)
    assert f"**The training diverged**: seed {large}" in (folder / "final" / "tiny" / "card.md").read_text(encoding="utf-8")
    print_finals(finals)
    assert f"tiny: the training diverged (seed {large}: logits of" in capsys.readouterr().out
    with pytest.raises(AutokdError, match="every training of resnet8x0.5 diverged: its logits are not finite"):
        values[broken] = 3e38
        finalize(folder, seeds=1, **asked)
    assert metrics_of(folder)["test_looks"] == 1  # the last had no score


def test_a_student_that_cannot_be_finished_keeps_no_other_from_it_and_is_told_at_the_end(folder: Path, monkeypatch, capsys):
    from autokd.cli.main import main
    from autokd.errors import TrialFailed
    from autokd.track.ledger import all_events

    recorder = Recorder(folder, past=all_events(folder / "ledger.jsonl"))
    facts = {"student": "resnet8x0.5", "method": "ce", "policy": "none", "ratio": 0.0, "seed": 1, "params": 19_802}
    config = student_config().with_(recipe=RecipeConfig(lr=0.2)).to_dict()
    more = [{"name": "tiny", "params": 25_000}, {"name": "any"}, {"name": "nano", "params": 5}]
    recorder.emit({"event": "resume", "budgets": more})
    recorder.emit({"event": "trial", "trial": "t00001", "budget": "any", "budgets": ["any"], **facts, "config": config})
    recorder.emit({"event": "report", "trial": "t00001", "rung": 0, "final": True, "images": 9, "epochs": 1, "val_top1": 0.9})
    recorder.emit({"event": "end", "trial": "t00001", "status": "done"})
    recorder.emit({"event": "close", "status": "cancelled", "reason": "stopped at once"})
    recorder.close()
    truly = training.train

    def sometimes(bench: Any, config: TrialConfig, *rest: Any) -> Any:
        if config.recipe.lr == 0.2:
            raise TrialFailed("the loss is not finite at step 3 of 10")
        return truly(bench, config, *rest)

    monkeypatch.setattr(training, "train", sometimes)
    monkeypatch.setattr("autokd.cli.results.keep_report", lambda folder, again: None)
    with pytest.raises(SystemExit) as end:
        main(["finalize", str(folder), "--seeds", "1", "--device", "cpu"])
    said = capsys.readouterr()
    assert end.value.code == 2
    assert "autokd: budget any: every training of resnet8x0.5 failed: the loss is not finite at step 3 of 10" in said.err
    assert "the search was cancelled (stopped at once): only trials that have finished are considered" in said.out
    assert "nano: no student: no trial was tried for it" in said.out and "Final students" in said.out
    assert (folder / "final" / "tiny" / "metrics.json").exists() and not (folder / "final" / "any" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"budgets": ["tinny"]}, "no budget 'tinny' (did you mean 'tiny'?)"),
        ({"train_on": "tran"}, "not trained on 'tran'"),
        ({"seeds": 0}, "at least one seed"),
        ({"epochs": -1.0}, "a length above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_training(folder: Path, asked: dict[str, Any], words: str):
    with pytest.raises(AutokdError) as fault:
        finalize(folder, **asked)
    assert words in str(fault.value)
    assert not (folder / "final").exists() and not (folder / "trained").exists()


def test_a_run_without_a_finished_trial_says_how_to_go_on(folder: Path):
    ledger = folder / "ledger.jsonl"
    kept = [line for line in ledger.read_text(encoding="utf-8").splitlines() if '"begin"' in line]
    ledger.write_text("\n".join(kept) + "\n", encoding="utf-8")
    for part in (folder / "trials.parquet").glob("*.parquet"):
        part.unlink()
    with pytest.raises(AutokdError, match="no trial has finished for tiny, any"):
        finalize(folder)


def test_a_signal_to_this_process_alone_ends_the_trainings_beside_it(tmp_path, monkeypatch):
    """As from `kill`: with Ctrl-C they hear it themselves. The pool would wait until they are done."""
    from autokd.finalize import training

    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\necho $$ >> {tmp_path}/children\nexec sleep 300\n")
    program.chmod(0o755)
    monkeypatch.setattr(training.sys, "executable", str(program))

    monkeypatch.setattr(training, "_made_of", lambda bench, config: "")
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.05):
            if children() == 2:
                os.kill(os.getpid(), signal.SIGINT)
                return

    def children() -> int:
        path = tmp_path / "children"
        return len(path.read_text().split()) if path.exists() else 0

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    bench = SimpleNamespace(settings={}, device=SimpleNamespace(type="cpu"))
    try:
        with pytest.raises(KeyboardInterrupt):
            training.train_seeds(bench, student_config(), range(5), "train", tmp_path, lambda text: None, processes=2)
    finally:
        over.set()
        thread.join()
    assert time.monotonic() - began < 100 and children() == 2  # the other seeds were not begun
    for number in (tmp_path / "children").read_text().split():
        assert not Path(f"/proc/{number}").exists()
