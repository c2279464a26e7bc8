from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from autokd.config.limits import Deployment
from autokd.cost import timing as timing_room
from autokd.cost.latency import Pass
from autokd.cost.timing import time_network
from autokd.errors import AutokdError

SMALL = {"classes": 10, "channels": 1, "size": 8}


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_hundred_times_the_work_takes_longer():
    """Of magnitudes alone: wrn_40_2 on 32x32 has 330 M multiply-accumulates, resnet8 on 8x8 fewer than one."""
    little = time_network("resnet8", Deployment(), **SMALL, cap=0.3)
    much = time_network("wrn_40_2", Deployment(), classes=10, channels=3, size=32, cap=0.3)
    assert 0 < little.median.value < much.median.value
    assert little.median.low <= little.median.value <= little.median.high and little.repetitions >= 12


def test_the_conditions_reach_the_network(tmp_path):
    (tmp_path / "own.py").write_text(
        """
import torch

class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.classes, self.layer = classes, torch.nn.Linear(1, 1)

    def forward(self, x):
        assert not self.training and torch.is_inference_mode_enabled()
        seen = tuple(x.shape), x.dtype, self.layer.weight.dtype, torch.get_num_threads()
        assert seen == ((3, 1, 8, 16), torch.bfloat16, torch.bfloat16, 2), seen
        return x.new_zeros(len(x), self.classes)

def net(classes):
    return Net(classes)
"""
    )
    name = f"{tmp_path}/own.py:net"
    wide = {**SMALL, "size": (8, 16)}
    assert time_network(name, Deployment(batch=3, threads=2, dtype="bfloat16"), **wide, cap=0.1).median.value > 0
    with pytest.raises(AutokdError, match="does not run with batch 1, cpu, 1 thread, torch, float32") as fault:
        time_network(name, Deployment(), **SMALL, cap=0.1)
    assert "runtime: torch" in fault.value.fix


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(AutokdError, match="no GPU here"):
        time_network("resnet8", Deployment(device="cuda"), **SMALL)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_waited_for():
    """Eight thousand images take longer than one, which the launch alone would not show."""
    one = time_network("wrn_16_2", Deployment(device="cuda"), classes=10, channels=3, size=32, cap=1.0)
    many = time_network("wrn_16_2", Deployment(device="cuda", batch=8192), classes=10, channels=3, size=32, cap=1.0)
    assert many.median.value > 2 * one.median.value


def test_a_job_is_answered_line_by_line_and_a_fault_does_not_end_it():
    wide = {**SMALL, "size": (8, 16)}
    networks = [{"key": key, "model": model, "options": {}, **wide} for key, model in (("a", "resnet8"), ("b", "resnet9"))]
    job = {"deployment": {"batch": 2}, "cap": 0.1, "networks": networks}
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    made = subprocess.run(
        [sys.executable, "-m", "autokd.cost.timing"], input=json.dumps(job), capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    told = list(map(json.loads, made.stdout.splitlines()))
    answers = {one["key"]: one for one in told if "begun" not in one}
    assert len(answers) == 2 and answers["a"]["timing"]["median"][0] > 0 and "resnet9" in answers["b"]["fault"][0]


@pytest.mark.parametrize(("runtime", "built"), [("torch", ["quick", "slow", "steady", "quick", "steady"]),
                                               ("compiled", ["quick", "slow", "steady"])])  # fmt: skip
def test_all_are_timed_one_after_the_other_and_then_again_unless_that_takes_long(monkeypatch, runtime, built):
    """In seconds a call: of four calls in each of three rounds, those of the slow one take more than the cap alone."""
    takes = {"quick": [0.01, 0.02], "slow": [0.5], "steady": [0.01, 0.01]}
    ready, said = [], []
    monkeypatch.setattr(timing_room, "_ready", lambda model, *_, **__: ready.append(model) or (lambda: None))
    monkeypatch.setattr(
        timing_room, "_pass_of", lambda infer, model, *_: Pass([[takes[model].pop(0)] * 4] * 3)
    )
    networks = [{"key": name, "model": name, "options": {}, **SMALL} for name in takes]
    timing_room._serve({"deployment": {"runtime": runtime}, "cap": 4.0, "networks": networks}, said.append)
    begun = [(one["key"], one["begun"]) for one in said if "begun" in one]
    assert begun == [("quick", 0), ("slow", 0), ("steady", 0), ("quick", 1), ("steady", 1)] and ready == built
    timings = {one["key"]: one["timing"] for one in said if "timing" in one}
    assert timings["quick"]["doubt"] == "two passes disagree: 10 and 20 ms" and timings["quick"]["repetitions"] == 24
    assert timings["slow"]["doubt"] == timings["steady"]["doubt"] == "" and timings["slow"]["repetitions"] == 12
