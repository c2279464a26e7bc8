from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autokd.finalize.looks import FILE, looks, note_look


def test_looks_are_counted_by_budget_and_never_forgotten(tmp_path: Path):
    assert looks(tmp_path, "tiny") == []
    note_look(tmp_path / "final", ["tiny", "small"], seeds=3)
    note_look(tmp_path / "final", ["tiny"], seeds=3)
    assert [len(looks(tmp_path / "final", name)) for name in ("tiny", "small", "large")] == [2, 1, 0]
    assert looks(tmp_path / "final", "small")[0]["seeds"] == 3


def test_a_torn_line_counts_as_a_look_and_hurts_nothing_after_it(tmp_path: Path):
    note_look(tmp_path, ["tiny"])
    with open(tmp_path / FILE, "a", encoding="utf-8") as file:
        file.write('{"time": "2026')
    note_look(tmp_path, ["tiny"])
    assert len(looks(tmp_path, "tiny")) == 3
    with open(tmp_path / FILE, "a", encoding="utf-8") as file:
        file.write("3\n")
    assert len(looks(tmp_path, "tiny")) == 4


def test_a_look_that_could_not_be_written_down_is_not_counted(tmp_path: Path, monkeypatch):
    note_look(tmp_path, ["tiny"])
    before = (tmp_path / FILE).read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as fault:
        patch.setattr("os.fsync", full)
        note_look(tmp_path, ["tiny"])
    assert fault.value.filename == str(tmp_path / FILE) and fault.value.errno == errno.ENOSPC
    assert (tmp_path / FILE).read_bytes() == before


SPACE = """
name: killed
data: {name: digits}
students: ["nets.py:net"]
space: {policy: none, method: {ce: {}}, recipe: {batch: 64}}
budgets: [{name: any}]
search: {trials: 1, epochs: 0.2, rungs: {count: 0}, sampler: random}
finalize: {seeds: 1, formats: [safetensors]}
tracking: {mlflow: false}
"""
NETS = """
import os, signal
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.flat = nn.Linear(64, classes)

    def forward(self, images):
        if len(images) == 359 and "DIE" in os.environ:  # the test images: 359 digits
            os.kill(os.getpid(), signal.SIGKILL)
        return self.flat(images.flatten(1))

def net(classes):
    return Net(classes)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_pays_for_a_look_only_once_its_scores_exist(tmp_path: Path, monkeypatch):
    from autokd.search.run import search

    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "nets.py").write_text(NETS)
    run = search("space.yaml", engine="inline").folder
    command = [sys.executable, "-m", "autokd.cli.main", "finalize", str(run)]
    died = subprocess.run(command, env={**os.environ, "DIE": "1"}, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL and "writing safetensors" in died.stdout and "test " not in died.stdout
    assert looks(run / "final", "any") == [] and len(list((run / "trained").glob("*.safetensors"))) == 1

    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    path, end = run / "final" / FILE, time.monotonic() + 120
    while not (path.exists() and path.read_bytes().endswith(b"\n")) and time.monotonic() < end:
        time.sleep(0.001)
    process.kill()  # the report, which is written last, takes a second and more
    assert process.wait() == -signal.SIGKILL
    (look,) = looks(run / "final", "any")
    assert look["test"]["images"] == 359 and look["test"]["low"] < look["test"]["mean"] < look["test"]["high"]

    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=True).stdout)
    assert told["any"]["test_looks"] == 2 and told["any"]["test"] == look["test"]
    assert list(look["test_top1"].values()) == [look["test"]["mean"]] == [told["any"]["seeds"][0]["test_top1"]]
