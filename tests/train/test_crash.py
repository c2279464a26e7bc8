"""A process that a signal ended is told by the signal's name and the layer; the next one keeps to the order that survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autokd.config.trial import DataConfig, MethodConfig, RecipeConfig, StudentConfig, TrialConfig
from autokd.errors import AutokdError
from autokd.train import workshop as bench_room
from autokd.train.crash import Crash, crash_in, crash_of_exit, find_crashing_layer
from autokd.train.workshop import Workshop

DUMP = """something else
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/home/me/.venv/lib/python3.12/site-packages/torch/nn/modules/conv.py", line 543 in _conv_forward
  File "/home/me/nets.py", line 12 in forward
  File "/home/me/autokd/train/trial.py", line 218 in parts

Extension modules: numpy (total: 1)
"""
BACKWARD = DUMP.replace('"/home/me/nets.py", line 12 in forward', '"x/torch/autograd/graph.py", line 9 in _engine_run_backward')


def test_a_dump_tells_the_signal_and_the_first_line_that_no_library_wrote():
    assert crash_in(DUMP) == Crash("SIGSEGV", "in forward (nets.py:12)")
    assert crash_in(BACKWARD) == Crash("SIGSEGV", "in the backward pass")
    assert str(crash_in(DUMP)) == "SIGSEGV (segmentation fault) in forward (nets.py:12)"
    assert crash_in(DUMP + DUMP.replace("Segmentation fault", "Aborted")).signal == "SIGABRT"  # the last one
    assert crash_in("Traceback (most recent call last):") is None


def test_an_exit_code_names_the_signal_also_where_nothing_was_written():
    assert crash_of_exit(-signal.SIGSEGV, DUMP) == Crash("SIGSEGV", "in forward (nets.py:12)")
    assert crash_of_exit(-signal.SIGKILL, "") == Crash("SIGKILL") and str(Crash("SIGKILL")) == "SIGKILL"
    assert crash_of_exit(0) is None and crash_of_exit(1, DUMP) is None


def test_a_watched_process_leaves_what_its_successor_needs(tmp_path):
    note = tmp_path / "deep" / "crashed.txt"
    (tmp_path / "job.py").write_text(
        "import os, signal, sys\nfrom pathlib import Path\nfrom autokd.train.crash import watched\n"
        "def inner():\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "with watched(Path(sys.argv[1])):\n    inner()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    made = subprocess.run([sys.executable, tmp_path / "job.py", note], capture_output=True, env=environment, check=False)
    assert made.returncode == -signal.SIGSEGV
    assert crash_in(note.read_text()) == Crash("SIGSEGV", "in inner (job.py:5)")


NET = """
import os, signal
import torch
from torch import nn

class Break(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.last = x.stride(1) == 1
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        if ctx.last:
            os.kill(os.getpid(), signal.SIGSEGV)
        return grad

class Fragile(nn.Module):
    def forward(self, x):
        return Break.apply(x)

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.stem, self.fragile, self.fc = nn.Conv2d(channels, 4, 3), Fragile(), nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.fragile(self.stem(x)).mean((2, 3)))
"""


def test_the_layer_is_found_by_training_a_step_in_another_process(tmp_path):
    (tmp_path / "own.py").write_text(NET)
    network = {"name": f"{tmp_path}/own.py:Net", "classes": 3, "options": {}}
    found = find_crashing_layer(network, (2, 1, 8, 6), channels_last=True, bf16=False, threads=1)
    assert found == Crash("SIGSEGV", "in the backward pass of fragile (Fragile())")


CONFIG = TrialConfig(
    data=DataConfig("digits", fraction=0.1), student=StudentConfig("resnet8x0.5"), method=MethodConfig("ce"),
    recipe=RecipeConfig(batch=32), epochs=0.5,
)  # fmt: skip
BACKWARDS = Crash("SIGSEGV", "in the backward pass")


def after(tmp_path, monkeypatch, *, last=None, first=None, crash=BACKWARDS):
    """What a bench says of a crash, where a step in each order ends so."""
    asked = []

    def look(network, shape, *, channels_last, bf16, threads):
        asked.append((channels_last, bf16, shape))
        return last if channels_last else first

    monkeypatch.setattr(bench_room, "find_crashing_layer", look)
    bench = Workshop(threads=1, cache_dir=tmp_path)
    return bench, bench.after_crash(CONFIG, crash), asked


def test_the_order_that_survives_is_kept_to_by_every_later_bench(tmp_path, monkeypatch):
    layer = Crash("SIGSEGV", "in the backward pass of conv1")
    _, told, asked = after(tmp_path, monkeypatch, last=layer)
    assert told == f"resnet8x0.5: trained channels first, since training channels last crashed with {layer}"
    assert asked[0] == (True, False, (32, 1, 8, 8))
    bench, again, asked = after(tmp_path, monkeypatch, last=layer)
    assert again == "" and asked == []  # looked for once
    trial = bench.trial(CONFIG)
    assert not trial.pace.channels_last
    elsewhere = Workshop(threads=1, cache_dir=tmp_path / "other").trial(CONFIG)
    assert elsewhere.pace.channels_last
    elsewhere.save(tmp_path)
    trial.load(tmp_path)  # a checkpoint of a machine where it did not break
    assert not trial.pace.channels_last


def test_where_no_order_survives_the_trial_fails_with_the_layer(tmp_path, monkeypatch):
    crash = Crash("SIGILL", "in conv1")
    with pytest.raises(AutokdError, match=r"cannot be trained here: SIGILL \(illegal instruction\) in conv1") as fault:
        after(tmp_path, monkeypatch, last=crash, first=crash)
    assert fault.value.what.startswith("resnet8x0.5") and "another version of torch" in fault.value.fix


def test_a_crash_that_nothing_repeats_changes_the_order_only_where_it_was_in_the_training(tmp_path, monkeypatch):
    bench, told, _ = after(tmp_path / "a", monkeypatch)
    assert "channels first" in told and not bench.trial(CONFIG).pace.channels_last
    bench, told, _ = after(tmp_path / "b", monkeypatch, crash=Crash("SIGSEGV", "in decode (decode.py:55)"))
    assert told == "" and bench.order(CONFIG) is None
