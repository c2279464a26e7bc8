from __future__ import annotations

import json
from pathlib import Path

import pytest

from autokd.cli.main import main

SPACE = """
name: taught
data: {name: digits}
teachers:
  small: {model: resnet8x0.5, train: {epochs: 1}}
  later: {model: resnet8, train: {epochs: 1}}
students: [resnet8x0.5]
pairs: [[later, resnet8x0.5]]
space: {policy: none, method: {choose: {kd: {temperature: 4}}}}
budgets: [{name: any}]
search: {trials: 1, epochs: 1}
"""


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["teacher", *words])
        said = capsys.readouterr()
        assert not end.value.code, said.err
        return said.out

    return run


def test_a_teacher_is_trained_once_kept_and_measured(call, tmp_path: Path, capsys):
    told = call("train", "space.yaml", "--teacher", "small", "--device", "cpu")
    assert "small: resnet8x0.5, 1 epochs" in told and "small: val " in told
    (weights,) = (tmp_path / "runs" / "teachers").glob("small-*.safetensors")
    before = weights.stat().st_mtime_ns
    (again,) = json.loads(call("train", "space.yaml", "--teacher", "small", "--device", "cpu", "--json"))
    assert Path(again["checkpoint"]).name == weights.name and weights.stat().st_mtime_ns == before
    with pytest.raises(SystemExit) as end:  # the other diverges; this one is had all the same
        main(["teacher", "train", "space.yaml", "--device", "cpu", "--set", "teachers.later.train.lr=1e20"])
    said = capsys.readouterr()
    assert end.value.code == 2 and f"small: val {100 * again['val_top1']:.2f} %" in said.out
    assert "autokd: teacher later: the loss is not finite at step" in said.err and "lower its learning rate" in said.err
    with pytest.raises(SystemExit) as end:
        main(["teacher", "train", "space.yaml", "--device", "cpu", "--teacher", "later", "--set", "teachers.later.train.lr=1e20"])
    assert end.value.code == 4 and "no teacher was trained (teacher later: the loss is not finite" in capsys.readouterr().err
    small, later = json.loads(call("check", "space.yaml", "--device", "cpu", "--json"))
    assert small["val_top1"] == pytest.approx(again["val_top1"], abs=1e-6)
    assert small["params"] == 19_810  # `autokd validate` counts the same
    assert later["note"].startswith("not trained yet")
    words = call("check", "space.yaml", "--device", "cpu")
    assert "not trained yet" in words and max(map(len, words.splitlines())) <= 100
