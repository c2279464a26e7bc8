from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from autokd.config.limits import Deployment
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
    begun = [(one["key"], one["begun"]) for one in told if "begun" in one]
    fault, timing = [one for one in told if "begun" not in one]
    assert begun == [("a", 0), ("b", 0), ("a", 1)]  # one after the other, and then once more
    assert timing["key"] == "a" and timing["timing"]["median"][0] > 0
    assert fault["key"] == "b" and "resnet9" in fault["fault"][0]
