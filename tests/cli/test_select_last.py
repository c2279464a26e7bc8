"""A search without a validation split (search.select: last), through the commands, on digits."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from autokd.search import run as searching
from autokd.search.inline_engine import InlineEngine
from autokd.track.ledger import FILE, read_events
from autokd.track.table import read_table

SPACE = """
name: last
data: {name: digits, validation: 0, fraction: 0.2}
teachers:
  big: {model: resnet8, train: {epochs: 1, lr: 0.05, schedule: step, nesterov: false}}
students: [resnet8x0.5]
space:
  method: kd
  recipe: {batch: 64, lr: 0.05, schedule: step, nesterov: false, precision: {choose: [float32, bf16]}}
budgets: [{name: any}]
search: {select: last, epochs: 2, trials: 2}
tracking: {mlflow: false}
finalize: {seeds: 2, formats: [safetensors]}
"""


@pytest.fixture(autouse=True)
def inline(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(searching, "_engine", lambda engine, space: InlineEngine(searching.bench_settings(space)))


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "last.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.mark.slow
def test_every_trial_runs_to_its_end_none_is_ranked_and_finalize_tests_the_last_epochs_once(run, space, tmp_path):
    code, out, _ = run("validate", space)
    assert code == 0 and "none is ranked; autokd finalize tests the last epoch of each, once" in " ".join(out.split())

    code, out, error = run("search", space, "--runs", tmp_path / "runs")
    assert code == 0, error
    (folder,) = (tmp_path / "runs").glob("last-*")
    assert "training loss" in out and " val " not in out and "autokd confirm" not in out
    assert "none is the best, no image was held out" in out

    events = list(read_events(folder / FILE))
    assert [event["select"] for event in events if event["event"] == "begin"] == ["last"]
    assert not any("rung" in str(event.get("reason")) for event in events)
    rows = read_table(folder).to_pylist()
    lasts = {row["trial"]: row for row in rows}
    assert {row["status"] for row in lasts.values()} == {"done"} and len(lasts) == 2
    assert all(row["val_top1"] is None and row["val_loss"] is None for row in rows)
    assert {row["precision"] for row in lasts.values()} == {"float32", "bf16"}
    # 20 % of 1438 images, 2 epochs in batches of 64
    assert {row["images"] for row in lasts.values()} == {64 * -(-2 * round(0.2 * 1438) // 64)}

    code, out, _ = run("status", folder, "--json")
    assert code == 0 and json.loads(out)["best"] == {"any": None} and json.loads(out)["select"] == "last"
    told = json.loads(run("report", folder, "--json")[1])
    names = [f"any-{trial}" for trial in lasts]
    assert list(told["finished"]["any"]) == names and told["front"] == [] and told["best"] == {"any": None}
    found = list(csv.DictReader(io.StringIO(run("report", folder, "--format", "csv")[1])))
    assert [(row["part"], row["val_top1"]) for row in found] == [("finished", "")] * 2
    assert "| any-" in run("report", folder, "--format", "md")[1]
    page = Path(run("report", folder, "--format", "html")[1].strip()).read_text(encoding="utf-8")
    assert "nothing here ranks the trainings" in page and ">nan" not in page
    assert run("runs", "list", "--runs", tmp_path / "runs")[0] == 0
    assert run("show", folder, next(iter(lasts)))[0] == 0

    for words in (("confirm", folder), ("simulate", folder)):
        code, out, error = run(*words)
        assert code == 2 and "Traceback" not in error, words

    code, out, error = run("finalize", folder, "--device", "cpu")
    assert code == 0, error
    assert "No validation ranked these students" in out
    for name, row in zip(names, lasts.values(), strict=True):
        made = json.loads((folder / "final" / name / "metrics.json").read_text(encoding="utf-8"))
        first, second = made["seeds"]
        assert (first["seed"], first["train_loss"]) == (row["seed"], row["train_loss"])  # the search's own training
        assert second["train_loss"] != first["train_loss"] and made["exported_seed"] == first["seed"]
        assert made["val"] is None and made["threshold"]["value"] is None and made["search_val_top1"] is None
        assert made["test_looks"] == 1 and first["val_top1"] is None and first["test_top1"] is not None
        assert made["precision"] == row["precision"] and made["train_images"] == round(0.2 * 1438)
        card = (folder / "final" / name / "card.md").read_text(encoding="utf-8")
        assert "a search that ranked none: no image was held out" in card
    said = run("report", folder)[1]
    assert "Tested: the last epoch of each seed by autokd finalize" in said and "Front" not in said


@pytest.mark.slow
def test_one_student_goes_by_the_name_of_its_budget_and_a_longer_run_goes_on_from_the_last_epoch(run, space, tmp_path):
    alone = ("--set", "space.recipe.precision=float32", "--trials", 1, "--set", "search.epochs=1", "--runs", tmp_path / "runs")
    assert run("search", space, *alone, "--quiet")[0] == 0
    (folder,) = (tmp_path / "runs").glob("last-*")
    code, out, error = run("resume", folder, "--longer", 2)
    assert code == 0, error
    told = json.loads(run("report", folder, "--json")[1])
    assert list(told["finished"]["any"]) == ["any"] and told["finished"]["any"]["any"]["epochs"] >= 2
    code, out, error = run("finalize", folder, "--device", "cpu", "--budget", "any", "--seeds", 1)
    assert code == 0, error
    assert "was trained before" in out and "No validation ranked" not in out
    assert run("finalize", folder, "--budget", "other")[0] == 2


@pytest.mark.parametrize(
    "words",
    [("search", "--confirm"), ("study", "--dry-run")],
)
def test_what_compares_by_validation_is_refused_before_anything_is_written(run, space, tmp_path, words):
    code, _, error = run(words[0], space, *words[1:], "--runs", tmp_path / "runs")
    assert code == 2 and "nothing is held out (search.select: last)" in error
    assert not list((tmp_path / "runs").glob("*"))
