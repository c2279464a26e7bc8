from __future__ import annotations

import json
from pathlib import Path

import pytest

from autokd.cli.main import main

SPACE = """
name: small
data: {name: digits}
teachers:
  big: {model: wrn_16_2, train: {epochs: 3}}
students: [resnet8, resnet14, resnet20]
space:
  policy: none
  method: {choose: {kd: {temperature: {log: [1, 20]}}, ce: {}}}
  recipe: {lr: {log: [0.01, 0.2]}, batch: {choose: [32, 64]}}
budgets:
  - {name: tiny, params: 100 k}
  - {name: any}
search: {trials: 10, epochs: 4, rungs: {count: 2, eta: 3, grace: 0.25}}
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_costs_budgets_knobs_and_work_are_told(space: Path, capsys):
    code, out, _ = call(capsys, "validate", space, "--json")
    told = json.loads(out)
    assert code == 0
    # resnet8 on 1x8x8 and 10 classes: the public CIFAR-100 one less two input channels of 3x3x16 and 90 classes of 64 + 1
    first = told["students"][0]
    assert (first["name"], first["params"], first["budgets"]) == ("resnet8", 83_892 - 288 - 5_850, ["tiny", "any"])
    assert [student["budgets"] for student in told["students"][1:]] == [["any"], ["any"]]
    assert {knob["path"] for knob in told["knobs"]} >= {"method", "student", "method.kd.temperature", "recipe.lr", "recipe.batch"}
    images = round(1438 * 0.9) * 4
    assert told["work"]["images"] == 10 * images
    assert told["work"]["steps"] == [10 * images // 64, 10 * images // 32]
    # rungs at 1/4 and 1/2, a third goes on at each: 1/4 + (1/4) / 3 + (1/2) / 9
    assert told["work"]["share_left_by_rungs"] == pytest.approx(0.25 + 0.25 / 3 + 0.5 / 9, abs=1e-3)


def test_in_words_it_fits_a_hundred_columns(space: Path, capsys):
    code, out, _ = call(capsys, "validate", space)
    assert code == 0 and "optimizer steps" in out and "tiny" in out
    assert max(map(len, out.splitlines())) <= 100
    assert call(capsys, "validate", space, "--quiet")[1] == "ok\n"


def test_a_budget_that_no_student_meets_is_an_error_that_names_its_line(space: Path, capsys):
    code, out, err = call(capsys, "validate", space, "--set", "budgets.0.params=1 k")
    assert code == 2 and "tiny" in err and "resnet8" in err
    assert "resnet20" in out  # the costs are told all the same
    space.write_text(SPACE.replace("100 k", "1 k"), encoding="utf-8")
    assert f"{space}:12" in call(capsys, "validate", space, "--json")[2]


def test_the_schema_is_printed_as_json(capsys):
    code, out, _ = call(capsys, "schema")
    assert code == 0 and json.loads(out)["properties"]["budgets"]


def test_measured_costs_are_told_with_their_conditions_and_what_is_marginal(space: Path, tmp_path: Path, capsys, monkeypatch):
    from autokd.cost.latency import Estimate, Timing
    from autokd.search import timed

    times = {"resnet8": 1.0, "resnet14": 2.0, "resnet20": 3.0}
    asked, doubt = [], []

    def fake(deployment, some, tell):
        asked.extend(one.name for one in some)
        tell("timing three networks")
        said = doubt[0] if doubt else ""
        return {one.key: Timing(Estimate(t, 0.9 * t, 1.1 * t), Estimate(t, t, t), 50, said)
                for one in some for t in [times[one.name]]}  # fmt: skip

    monkeypatch.setattr(timed, "_in_a_process", fake)
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    space.write_text(SPACE.replace("params: 100 k", "file_size: 800 kB, latency: 2.1 ms"), encoding="utf-8")
    code, out, err = call(capsys, "validate", space)
    assert code == 0 and "timing three networks" in err and "timing" not in out
    assert "Latency: median, batch 1, cpu, 1 thread, torch, float32, on " in out
    assert "≤ 800 kB file, 2.1 ms" in out and "yes (marginal)" in out and "1.8 to 2.2" in out
    assert max(map(len, out.splitlines())) <= 100
    told = json.loads(call(capsys, "validate", space, "--json")[1])
    assert asked == ["resnet8", "resnet14"]  # once, and only what keeps the limit on the file
    second = told["students"][1]
    measured = {"ms": 2.0, "low": 1.8, "high": 2.2, "doubt": ""}
    assert second["latencies"] == {"median, batch 1, cpu, 1 thread, torch, float32": measured}
    assert (second["name"], second["budgets"], second["marginal"]) == ("resnet14", ["tiny", "any"], ["tiny"])
    assert told["machine"]["torch"] and told["budgets"][0]["latency_ms"] == 2.1
    assert call(capsys, "validate", space, "--remeasure", "--quiet")[:2] == (0, "ok\n") and len(asked) == 4
    code, _, err = call(capsys, "validate", space, "--set", "budgets.0.latency=0.5 ms")
    assert code == 2 and "resnet8 needs 1 ms" in err
    doubt.append("others ran")  # then no student is left out, and both the student and the reason are told
    code, out, _ = call(capsys, "validate", space, "--remeasure", "--set", "budgets.0.latency=1 ms")
    assert code == 0 and out.count("yes (not trusted)") == 2 and "not trustworthy:" in out and out.count("others ran") >= 2
    assert "latency not trustworthy (resnet14: others ran; resnet8: others ran); it excludes no student" in " ".join(out.split())


def test_what_ends_the_search_is_told(space: Path, capsys):
    limits = ("--set", "search.hours=2", "--set", "search.gpu_hours=1.5")
    assert "ends after 2 hours or 1.5 GPU hours" in call(capsys, "validate", space, *limits)[1]


NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.f, self.aux = nn.Linear(64 * channels, classes), nn.Linear(64 * channels, classes)

    def forward(self, x):
        x = x.flatten(1)
        return (self.f(x), self.aux(x)) if self.training else self.f(x)

class Half(Net):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.half()
"""


def test_every_student_that_is_not_the_zoos_trains_a_step_and_with_deep_the_zoos_too(space: Path, capsys, monkeypatch):
    from autokd.errors import AutokdError
    from autokd.search.run import search

    monkeypatch.chdir(space.parent)
    monkeypatch.setenv("AUTOKD_CACHE", str(space.parent / "cache"))
    (space.parent / "nets.py").write_text(NETS, encoding="utf-8")
    own = ["--set", "students=[resnet8, nets.py:Net]"]
    code, out, err = call(capsys, "validate", space, *own)
    assert code == 0 and "checking that nets.py:Net can be trained" in err and "that resnet8" not in err
    # a linear layer of 64 pixels and 10 classes, which is trained, and another that is not
    assert "nets.py:Net: 650 parameters get no gradient (aux.weight, aux.bias)" in out.replace("\n", " ")
    code, _, err = call(capsys, "validate", space, *own, "--deep")
    assert code == 0 and "checking that resnet8 can be trained" in err
    broken = "students=[resnet8, nets.py:Half]"
    code, _, err = call(capsys, "validate", space, "--set", broken, "--set", "budgets.tiny.params=10")
    assert code == 2 and "nets.py:Half cannot be trained: RuntimeError" in err and "no student fits the budget tiny" in err
    with pytest.raises(AutokdError, match="Half cannot be trained"):
        search(space, runs=space.parent / "runs", overrides=[broken], engine="inline")
    assert not (space.parent / "runs").exists()


@pytest.mark.timed
def test_the_time_of_the_search_is_told_with_its_range_and_what_it_comes_from(space: Path, capsys, monkeypatch):
    from autokd.search import estimate

    def predicted(*asked: object, **how: object) -> estimate.Estimate:
        how["tell"]("timing")  # type: ignore[operator]
        assert asked[3] == round(1438 * 0.9)
        return estimate.Estimate(3700, 1800, 7200, teachers, 2, busy, 4.2, 120, 3, 5, 6, 9.6, 3.2)

    monkeypatch.setattr(estimate, "estimate", predicted)
    teachers, busy = 90, 1.0
    _, out, err = call(capsys, "validate", space)
    assert " ".join(out[out.index("time: ") :].split()) == (
        "time: about 1:01:40 on this machine (30:00 to 2:00:00), 2 trials at once; 1:30 of it to train teachers, where none is "
        "kept. Estimated from 120 training steps (5 of 6 combinations of student and method, 4 s) and simulated searches"
    )
    assert "timing" in err and max(map(len, out.splitlines())) <= 100
    teachers, busy = 0, 2.0
    out = call(capsys, "validate", space, "--set", "search.trials=null", "--set", "search.hours=1")[1]
    assert "about 10 trials begin and 3 come to their end" in " ".join(out.split()) and "teachers, where" not in out
    assert "something else is running here" in out
    told = json.loads(call(capsys, "validate", space, "--json")[1])["time"]
    assert (told["seconds"], told["low"], told["high"], told["places"]) == (3700, 1800, 7200, 2)
    assert json.loads(call(capsys, "validate", space, "--json", "--no-time")[1])["time"] is None
    assert "time:" not in call(capsys, "validate", space, "--no-time")[1]


def test_an_estimate_that_cannot_be_made_is_left_out_with_words(space: Path, capsys):
    assert "time: not estimated, as this is a test" in call(capsys, "validate", space)[1]
    told = json.loads(call(capsys, "validate", space, "--json")[1])
    assert told["time"] == {"skipped": "this is a test"}
    assert json.loads(call(capsys, "validate", space, "--json", "--set", "budgets.0.params=1 k")[1])["time"] is None
