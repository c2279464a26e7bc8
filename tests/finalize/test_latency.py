"""The latency of a finished student under its budget's conditions: what the search trusted, or measured again."""

from __future__ import annotations

from autokd.config.limits import Budget, Deployment
from autokd.config.trial import TrialConfig
from autokd.cost.latency import Estimate, Timing
from autokd.errors import AutokdError
from autokd.finalize.card import _latency
from autokd.finalize.latency import under_budgets
from autokd.search import timed as timing_room
from autokd.search.timed import Asked
from autokd.track.recorder import Recorder

BUDGETS = [
    Budget("prompt", latency_ms=2.0),
    Budget("batch", latency_ms=20.0, statistic="p90", deployment=Deployment(batch=64)),
    Budget("half", of_teacher={"latency_ms": 0.5}),
    Budget("small", params=1e6),
]
IMAGE = {"classes": 10, "channels": 1, "size": 8}
CONFIG = TrialConfig.from_dict(
    {"data": {"name": "digits"}, "student": {"name": "resnet8"}, "teacher": {"name": "big", "model": "resnet14"}}
)


def took(ms, doubt=""):
    return Timing(Estimate(ms, 0.9 * ms, 1.1 * ms), Estimate(2 * ms, 2 * ms, 2 * ms), 9, doubt)


def asked(name="resnet8", **deployment):
    called = {"resnet8": "resnet8", "big": "resnet14"}[name]
    return Asked(name, called, {}, **IMAGE, deployment=Deployment(**deployment))


def run_with(folder, *timings):
    entries = [{"network": one.key, **timing.to_dict()} for one, timing in timings]
    recorder = Recorder(folder)
    latencies = {"machine": {}, "timings": entries}
    budgets = [one.to_dict() for one in BUDGETS]
    recorder.emit({"event": "begin", "run": "r", "name": "r", "budgets": budgets, "latencies": latencies})
    recorder.close()
    return folder


def test_what_the_search_trusted_holds_and_the_rest_is_measured_again(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    measured, said = [], []

    def process(deployment, some, tell):
        measured.extend((one.name, deployment.batch) for one in some)
        return {one.key: took(15.0) for one in some}

    monkeypatch.setattr(timing_room, "_in_a_process", process)
    run = run_with(tmp_path, (asked(), took(1.5)), (asked(batch=64), took(3.0, "others ran")), (asked("big"), took(2.0)))
    told = under_budgets(run, ["prompt", "batch", "half", "small"], CONFIG, IMAGE, said.append)
    assert measured == [("resnet8", 64)] and list(told) == ["prompt", "batch", "half"]
    assert (told["prompt"]["ms"], told["prompt"]["kept"], told["prompt"]["again"]) == (1.5, True, False)
    assert (told["batch"]["ms"], told["batch"]["kept"], told["batch"]["again"]) == (30.0, False, True)  # p90
    assert (told["half"]["limit_ms"], told["half"]["kept"]) == (1.0, False)  # of 2 ms
    assert said[-1] == "latency measured again for batch: 30 ms (30 to 30) (above its limit of 20 ms)"
    (line,) = _latency(told["batch"])
    assert line == "| latency | 30 ms (30 to 30; p90, batch 64, cpu, 1 thread, torch, float32; limit 20 ms, not kept) |"
    assert _latency(None) == []


def test_a_latency_that_is_still_not_trusted_says_nothing_of_the_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(timing_room, "_in_a_process", lambda deployment, some, tell: {one.key: took(9.0, "busy") for one in some})
    said = []
    told = under_budgets(run_with(tmp_path), ["prompt", "half"], CONFIG, IMAGE, said.append)
    assert told["prompt"]["kept"] is None and told["half"]["limit_ms"] is None
    assert "latency measured again for prompt: 9 ms (8.1 to 9.9) (not trustworthy: busy)" in said
    assert "not trustworthy: busy" in _latency(told["prompt"])[0]


def test_a_machine_that_cannot_measure_it_does_not_stop_finalize(tmp_path, monkeypatch):
    def process(deployment, some, tell):
        raise AutokdError("there is no GPU here to time students on")

    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(timing_room, "_in_a_process", process)
    said = []
    assert under_budgets(run_with(tmp_path), ["prompt"], CONFIG, IMAGE, said.append) == {}
    assert said == ["latency not measured for prompt: there is no GPU here to time students on"]
