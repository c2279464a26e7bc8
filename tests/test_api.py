"""The package as a Python program uses it: one short search on the embedded digits, from the space to the tested student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import autokd

SPACE: dict[str, Any] = {
    "name": "brief",
    "data": {"name": "digits"},
    "students": ["resnet8x0.5"],
    "space": {"policy": "none", "method": {"choose": {"ce": {}}}, "recipe": {"lr": {"log": [0.01, 0.1]}}},
    "budgets": [{"name": "tiny", "params": 25_000}, {"name": "any"}],
    "search": {"trials": 2, "epochs": 0.1, "scheduler": "none"},
    "tracking": {"mlflow": False},
    "finalize": {"seeds": 1},
}


@pytest.fixture(scope="module")
def heard() -> list[dict[str, Any]]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, heard: list[dict[str, Any]]) -> autokd.Run:
    runs = tmp_path_factory.mktemp("runs")
    return autokd.search(SPACE, runs=runs, engine="inline", on_event=heard.append)


def test_a_search_gives_a_run_that_finished(run: autokd.Run, heard: list[dict[str, Any]]):
    assert isinstance(run, autokd.Run)
    assert run.status()["state"] == "finished" and run.status()["trials"]["done"] == 2
    assert [event["event"] for event in heard].count("trial") == 2
    assert run.space.name == "brief"


def test_trials_are_an_arrow_table_and_the_best_is_its_highest_row(run: autokd.Run):
    import pyarrow

    assert isinstance(run.trials, pyarrow.Table)
    rows = [row for row in run.trials.to_pylist() if row["final"]]
    assert len(rows) == 2
    assert run.best("tiny")["val_top1"] == max(row["val_top1"] for row in rows)
    assert run.best() == {"tiny": run.best("tiny"), "any": run.best("tiny")}
    with pytest.raises(autokd.AutokdError, match="no budget 'small'"):
        run.best("small")


def test_a_run_is_opened_by_its_folder_and_a_folder_that_is_none_is_refused(run: autokd.Run, tmp_path: Path):
    assert autokd.Run(run.folder).best() == run.best()
    with pytest.raises(autokd.AutokdError, match="no run here"):
        autokd.Run(tmp_path)


def test_a_file_with_changes_is_searched_like_python_values(tmp_path: Path):
    path = tmp_path / "space.yaml"
    path.write_text(autokd.load_space(SPACE).to_yaml(), encoding="utf-8")
    run = autokd.search(path, runs=tmp_path, engine="inline", overrides=["search.trials=1"], name="once")
    assert run.folder.name.startswith("once-") and len(set(run.trials["trial"].to_pylist())) == 1
    more = autokd.resume(run.folder, engine="inline", overrides=["search.trials=2"])
    assert len(set(more.trials["trial"].to_pylist())) == 2


def test_the_winner_is_retrained_tested_and_written_out(run: autokd.Run):
    finals = run.finalize(epochs=0.1)
    assert list(finals) == ["tiny", "any"]
    final = finals["tiny"]
    assert final.metrics["test"]["images"] == 359 and 0 <= final.metrics["test"]["mean"] <= 1
    assert (final.folder / "student.safetensors").is_file() and final.folder == run.folder / "final" / "tiny"


def test_a_space_that_cannot_be_searched_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(autokd.AutokdError, match="tiny"):
        autokd.search({**SPACE, "budgets": [{"name": "tiny", "params": 10}]}, runs=tmp_path / "runs", engine="inline")
    assert not (tmp_path / "runs").exists()
