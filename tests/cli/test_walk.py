"""The main job as a person types it, from the search to the tested students, over Ray and with MLflow, on the digits."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

SPACE = """
name: walk
data: {name: digits}
teachers:
  big: {model: resnet14, train: {epochs: 1}}
students: [resnet8x0.5, resnet8]
space:
  policy: none
  method: {choose: {kd: {temperature: {log: [1, 20]}}, ce: {}}}
budgets:
  - {name: tiny, params: 25 k}
  - {name: any}
search: {trials: 3, epochs: 1, rungs: {count: 1}, concurrent: 2}
finalize: {epochs: 0.5, seeds: 2}
"""


@pytest.mark.slow
@pytest.mark.ray
def test_search_status_report_resume_and_finalize_say_what_they_do_and_nothing_else(tmp_path: Path, repository: Path):
    environment = {**os.environ, "PYTHONPATH": str(repository), "AUTOKD_CACHE": str(tmp_path / "cache")}

    def autokd(*words: object) -> str:
        command = [sys.executable, "-m", "autokd.cli.main", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=500)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # no library talks to a person who searches
        assert max(map(len, done.stdout.splitlines())) <= 160
        return done.stdout

    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    said = autokd("search", "space.yaml")
    told, _, result = said.partition("\n\n")
    assert all(re.match(r"\[ *[\d:]+\] \S", line) for line in told.splitlines())
    assert len(re.findall(r"trial t0000\d starts", told)) == 3
    assert "Best student of each budget" in result and "autokd finalize runs/walk-" in result

    status = json.loads(autokd("status", "--json"))
    assert status["state"] == "finished" and sum(status["trials"].values()) == 3
    folder = tmp_path / status["run"]
    assert set(status["best"]) == {"tiny", "any"} and all(status["best"].values())
    assert status["best"]["any"]["val_top1"] >= status["best"]["tiny"]["val_top1"]
    trial = status["best"]["tiny"]["trial"]
    assert json.loads(autokd("show", folder.name, trial, "--json"))["config"]["student"]["name"] == "resnet8x0.5"

    longer = autokd("resume", folder.name, "--add-trials", "1")
    assert len(re.findall(r"trial t0000\d starts", longer)) == 1
    report = json.loads(autokd("report", "--json"))
    assert sum(report["counts"].values()) == 4

    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as store:
        children = store.execute(
            "select r.status from runs r join tags t on t.run_uuid = r.run_uuid where t.key = 'mlflow.parentRunId'"
        ).fetchall()
        assert [state for (state,) in children] == ["FINISHED"] * 4
        assert store.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)

    final = json.loads(autokd("finalize", folder.name, "--json"))
    for name in ("tiny", "any"):
        metrics = json.loads((folder / "final" / name / "metrics.json").read_text(encoding="utf-8"))
        assert metrics == final[name] and metrics["test_looks"] == 1
        assert metrics["command"] == f"autokd finalize {folder.name} --json"
        assert (folder / "final" / name / "student.safetensors").stat().st_size == metrics["weights"]["bytes"]

    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number in range(20):
        (tmp_path / "photos" / str(digits.target[number])).mkdir(parents=True, exist_ok=True)
        file = tmp_path / "photos" / str(digits.target[number]) / f"{number}.png"
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(file)
    student = folder / "final" / "any" / "student.int8.onnx"
    answers = json.loads(autokd("predict", student, "photos", "--json"))
    score = json.loads(autokd("evaluate", student, "--data", "photos", "--json"))
    assert score["images"] == len(answers) == 20
    assert score["top1"] == sum(one["class"] == Path(one["image"]).parent.name for one in answers) / 20
