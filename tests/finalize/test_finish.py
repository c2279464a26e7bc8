"""What is written of finished students, re-derived from the files on the disk by code of our own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from autokd.cli.main import main
from autokd.errors import AutokdError
from autokd.finalize.export import FORMATS
from autokd.finalize.finish import _costs
from autokd.finalize.retrain import finalize
from autokd.finalize.student import open_student
from autokd.models.fuse import fused
from autokd.train.workshop import Workshop


def _runs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finish_runs", Path(__file__).with_name("finish_runs.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One student finished in every form, once for all tests of this file."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        patch.setenv("AUTOKD_CACHE", str(place / "cache"))
        import autokd.data.held_out as held_out

        opened: list[Any] = []
        truly = held_out.open_test
        patch.setattr(held_out, "open_test", lambda *a, **k: opened.append(a) or truly(*a, **k))
        runs = _runs()
        run, scans = runs.write_run(place / "runs"), runs.write_scans(place / "scans")
        bench = Workshop("cpu", threads=1)
        finalize(run, workshop=bench, budgets=["tiny"], target=0.6)
        yield SimpleNamespace(
            run=run, opened=opened, test=truly("digits", root=None, options={}), scans=scans, bench=bench
        )


@pytest.fixture(scope="module")
def pair(done) -> SimpleNamespace:
    """Both students, their weights alone, with images from elsewhere."""
    run = done.run.with_name("two-2")
    shutil.copytree(done.run, run)
    said: list[str] = []
    finalize(
        run,
        workshop=done.bench,
        formats="safetensors",
        external={"scans": done.scans},
        on_event=lambda event: said.append(event["text"]),
    )
    return SimpleNamespace(run=run, said=said)


def told_of(done: SimpleNamespace, budget: str) -> dict[str, Any]:
    return json.loads((done.run / "final" / budget / "metrics.json").read_text(encoding="utf-8"))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_test_split_is_opened_once_however_many_files_are_measured(done):
    assert len(done.opened) == 1 and told_of(done, "tiny")["test_looks"] == 1


@pytest.mark.parametrize("form", FORMATS)
def test_every_file_gives_the_accuracy_that_is_told_of_it(done, form: str):
    told = told_of(done, "tiny")["exports"][form]
    file = done.run / "final" / "tiny" / told["file"]
    data = file.read_bytes()
    assert (told["bytes"], told["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    right = open_student(file).logits(done.test.pixels).argmax(axis=1) == done.test.labels
    assert told["test_top1"] == pytest.approx(right.mean(), abs=1e-12)
    module = next(s for s in told_of(done, "tiny")["seeds"] if s["seed"] == told_of(done, "tiny")["exported_seed"])
    assert told["test_top1_lost"] == pytest.approx(module["test_top1"] - right.mean(), abs=1e-12)
    assert form == "int8" or told["largest_difference"] <= 1e-4
    assert 0 < told["latency"]["median_ms"] <= told["latency"]["p90_ms"] and told["latency"]["threads"] == 1


def test_calibration_classes_and_threshold_are_those_of_the_exported_file(done):
    told = told_of(done, "tiny")
    test, labels = done.test, done.test.labels
    student = open_student(done.run / "final" / "tiny" / "student.onnx")
    logits = student.logits(test.pixels)
    chances = softmax(logits)
    assert told["calibration"]["nll"] == pytest.approx(
        -np.log(chances[np.arange(len(labels)), labels]).mean(), rel=1e-4
    )
    brier = ((chances - np.eye(10)[labels]) ** 2).sum(axis=1).mean()
    assert told["calibration"]["brier"] == pytest.approx(brier, rel=1e-4)
    for number, row in enumerate(told["per_class"]):
        assert row["class"] == str(number) and row["images"] == (labels == number).sum()
        assert row["recall"] == pytest.approx((logits.argmax(axis=1)[labels == number] == number).mean())
    threshold = told["threshold"]
    loaded = done.bench.data(done_config(done, "tiny").data)
    val = softmax(student.logits(loaded.val_pixels.numpy()))
    right = val.argmax(axis=1) == loaded.val_labels.numpy()
    kept = val.max(axis=1) >= threshold["value"] - 1e-5
    assert right[kept].mean() >= 0.6 and threshold["validation"]["coverage"] == pytest.approx(kept.mean(), abs=0.01)
    assert student.facts.threshold == threshold["value"]
    above = chances.max(axis=1) >= threshold["value"] - 1e-5
    assert threshold["test"]["coverage"] == pytest.approx(above.mean(), abs=0.01)


def done_config(done: SimpleNamespace, budget: str):
    from autokd.config.trial import TrialConfig

    return TrialConfig.from_dict(json.loads((done.run / "final" / budget / "config.json").read_text(encoding="utf-8")))


def test_agreement_with_the_teacher_is_of_the_test_images(done):
    told = told_of(done, "tiny")["teacher_agreement"]
    import torch

    from autokd.models.build import build
    from autokd.models.checkpoint import load_weights

    teacher = build("resnet8", classes=10, channels=1, size=8)
    load_weights(teacher, done.run / "teacher.safetensors")
    mean, std = (np.array(told_of(done, "tiny")[word])[:, None, None] for word in ("mean", "std"))
    with torch.no_grad():
        theirs = teacher.eval()(torch.from_numpy(((done.test.pixels / 255 - mean) / std).astype(np.float32))).numpy()
    ours = open_student(done.run / "final" / "tiny" / "student.onnx").logits(done.test.pixels)
    assert told["same_top1"] == pytest.approx((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    assert told["teacher_top1"] == pytest.approx((theirs.argmax(axis=1) == done.test.labels).mean())
    p, q = softmax(theirs), softmax(ours)
    assert told["kl"] == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-3)


def test_outside_images_are_scored_and_the_ranking_is_told(done, pair):
    from PIL import Image

    files = sorted(done.scans.rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file))[None] for file in files])
    labels = np.array([int(file.parent.name) for file in files])
    means = {}
    for budget in ("tiny", "any"):
        told = told_of(pair, budget)["external"]["scans"]
        exported = str(told_of(pair, budget)["exported_seed"])
        right = (
            open_student(pair.run / "final" / budget / "student.safetensors").logits(pixels).argmax(axis=1) == labels
        )
        assert told["seeds"][exported] == pytest.approx(right.mean()) and told["images"] == 60
        assert told["mean"] == pytest.approx(np.mean(list(told["seeds"].values())))
        means[budget] = (told_of(pair, budget)["test"]["mean"], told["mean"])
    (tiny_test, tiny_there), (any_test, any_there) = means["tiny"], means["any"]
    ranking = told_of(pair, "tiny")["external"]["scans"]["ranking"]
    assert ranking["changes"] is ((tiny_test - any_test) * (tiny_there - any_there) < 0)
    assert ranking["text"] in pair.said and ranking["text"] in (pair.run / "final" / "any" / "card.md").read_text()
    assert told_of(pair, "any")["teacher_agreement"] is None  # trained on labels alone


def test_the_card_tells_every_file_and_how_far_to_trust_the_student(done):
    card = (done.run / "final" / "tiny" / "card.md").read_text(encoding="utf-8")
    told = told_of(done, "tiny")
    for form, file in FORMATS.items():
        assert f"| {file} | {told['exports'][form]['bytes'] / 1e3:,.1f} kB |" in card
    assert "expected calibration error" in card and "as its teacher big does" in card and "## Each class" in card
    assert "smallest that reaches 60.00 % accuracy" in card
    assert told["graph_input"].startswith("uint8 [N, C, H, W]") and "| normalisation | part of the graph" in card
    assert not list((done.run / "final").glob(".making*"))


def test_a_later_finalize_leaves_no_file_of_an_earlier_student(done, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    copy = tmp_path / "two-1"
    shutil.copytree(done.run, copy)
    heard: list[str] = []
    monkeypatch.setattr("autokd.finalize.finish._teacher", lambda *rest: "its weights are gone")
    final = finalize(
        copy, workshop=done.bench, budgets=["tiny"], formats="safetensors", train_on="train+validation", seeds=1, epochs=0.2,
        on_event=lambda event: heard.append(event["text"]),
    )["tiny"]  # fmt: skip
    assert sorted(path.name for path in final.folder.iterdir()) == [
        "card.md", "config.json", "metrics.json", "student.safetensors", "test_correct.npz"
    ]  # fmt: skip
    assert (
        final.metrics["threshold"]["value"] is None and "nothing was held out" in (final.folder / "card.md").read_text()
    )
    assert final.metrics["teacher_agreement"] == {"failed": "its weights are gone"}
    assert list(final.metrics["exports"]) == ["safetensors"] and "external" not in final.metrics


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"formats": "onx"}, "not written as 'onx' (did you mean 'onnx'?)"),
        ({"target": 1.2}, "no share of answers is 1.2"),
        ({"register": "x", "formats": "pt2"}, "the registry is given the ONNX file"),
        ({"external": {"far": "nowhere"}}, "the outside set 'far': there is no such folder or table"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_training(tmp_path: Path, asked: dict[str, Any], words: str):
    run = _runs().write_run(tmp_path)
    with pytest.raises(AutokdError) as fault:
        finalize(run, workshop=Workshop("cpu", threads=1), **asked)
    assert words in str(fault.value)
    assert not (run / "final").exists() and not (run / "trained").exists()


def test_a_student_that_cannot_be_written_costs_no_look_at_the_test_split(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    run = _runs().write_run(tmp_path)

    def broken(*rest: Any, **more: Any) -> Any:
        raise AutokdError("the exported student answers differently")

    monkeypatch.setattr("autokd.finalize.export._read_back", broken)
    with pytest.raises(AutokdError, match="answers differently"):
        finalize(run, workshop=Workshop("cpu", threads=1), budgets=["any"], seeds=1, epochs=0.1, formats="safetensors")
    assert not (run / "final" / "test_looks.jsonl").exists()


class Branches(nn.Module):
    """3x3 and 1x1 convolutions of one channel to two, on 8 x 8; deployed as one 3x3 convolution; then three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.thin, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 1), nn.Linear(128, 3)

    def forward(self, x):
        return self.head((self.wide(x) + self.thin(x) if hasattr(self, "thin") else self.wide(x)).flatten(1))

    def reparameterize(self):
        self.wide.weight.data += nn.functional.pad(self.thin.weight, [1, 1, 1, 1])
        self.wide.bias.data += self.thin.bias
        del self.thin


def test_costs_are_those_of_the_form_that_is_exported():
    loaded: Any = SimpleNamespace(channels=1, size=8, classes=3)
    model = nn.Sequential(Branches())
    assert _costs(model, loaded) == {"params": 20 + 4 + 387, "macs": 64 * 2 * (9 + 1) + 128 * 3}
    assert _costs(fused(model), loaded) == {"params": 20 + 387, "macs": 64 * 2 * 9 + 128 * 3}


def test_the_card_alone_gives_the_answers_of_predict(done, odd_images, tmp_path: Path, capsys):
    """Its script, where neither autokd nor torch can be imported, on images that programs read in different ways."""
    final = done.run / "final" / "tiny"
    files = odd_images.write_odd(tmp_path / "odd")
    shutil.copy(final / "student.onnx", tmp_path)
    card = (final / "card.md").read_text(encoding="utf-8")
    alone = odd_images.answers_alone(odd_images.script_of(card), tmp_path, files)
    with pytest.raises(SystemExit) as end:
        main(["predict", str(final / "student.onnx"), *map(str, files), "--top", "3", "--json"])
    assert not end.value.code
    told = [[(top["class"], top["probability"]) for top in one["top"]] for one in json.loads(capsys.readouterr().out)]
    assert len(told) == len(files) == len(alone)
    for ours, theirs in zip(told, alone, strict=True):
        assert [name for name, _ in ours] == [name for name, _ in theirs]
        assert [chance for _, chance in ours] == pytest.approx([chance for _, chance in theirs], abs=1e-6)
    assert "in the order of the logits: 0: 0, 1: 1, 2: 2" in card and "| orientation | turned as its EXIF" in card


@pytest.mark.slow
def test_registered_students_are_loaded_back_from_the_registry_by_budget(done, tmp_path: Path, monkeypatch):
    import mlflow
    from mlflow.tracking import MlflowClient

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    runs = tmp_path / "runs"
    shutil.copytree(done.run, runs / "two-1")
    before = mlflow.get_tracking_uri()
    finals = finalize(runs / "two-1", workshop=done.bench, formats="onnx", register="digits")
    assert mlflow.get_tracking_uri() == before
    store = f"sqlite:///{runs / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    for version, (budget, student) in enumerate((("tiny", "resnet8x0.5"), ("any", "resnet8")), start=1):
        found = client.get_model_version_by_alias("digits", budget)
        assert found.version == version and found.tags["student"] == student
        told = finals[budget].metrics
        assert told["registered"]["version"] == version
        assert client.get_run(told["registered"]["run"]).data.metrics["test_top1"] == pytest.approx(
            told["test"]["mean"]
        )
        mlflow.set_tracking_uri(store)
        try:
            model = mlflow.pyfunc.load_model(f"models:/digits@{budget}")
        finally:
            mlflow.set_tracking_uri(before)
        answers = model.predict(done.test.pixels)["logits"]
        assert (answers == open_student(finals[budget].folder / "student.onnx").logits(done.test.pixels)).all()
