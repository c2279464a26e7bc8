"""Ctrl-C once, twice, and before anything began: exit code 130, and the last line printed is the command to go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from autokd.cli.main import main
from autokd.search.inline_engine import InlineEngine
from autokd.search.run import Run
from autokd.track.ledger import all_events

SPACE = """
name: short
data: {name: digits, fraction: 0.2}
students: [resnet8x0.25]
space: {policy: none, method: {choose: {ce: {}}}, recipe: {lr: {log: [0.01, 0.1]}}}
budgets:
  - {name: any}
search: {trials: 3, epochs: 1, rungs: {count: 1}}
tracking: {mlflow: false}
"""


class Pressed(InlineEngine):
    """Ctrl-C is pressed so many times when a trial has come to its first mark."""

    times = 1

    def run(self, brain: Any, run: Any, tick: Any = lambda: None) -> None:
        left = [self.times]

        def press() -> None:
            while left[0]:
                left[0] -= 1
                os.kill(os.getpid(), signal.SIGINT)
            tick()

        super().run(brain, run, press)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "space.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


def called(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.mark.parametrize(("times", "state"), [(1, "paused"), (2, "cancelled")])
def test_the_last_line_is_the_command_that_goes_on(space, tmp_path, monkeypatch, capsys, times, state):
    import autokd.search.run as room

    monkeypatch.setattr(Pressed, "times", times)
    monkeypatch.setattr(room, "_engine", lambda engine, space: Pressed({"threads": 1}))
    assert called("search", space, "--runs", tmp_path / "runs") == 130
    said = capsys.readouterr()
    (folder,) = (tmp_path / "runs").glob("short-*")
    assert said.err.splitlines()[-1].strip() == f"autokd resume {folder}"
    assert Run(folder).status()["state"] == state
    assert list(folder.glob("ray/checkpoints/t00000/mark-*/report.json"))  # what it goes on from
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    monkeypatch.setattr(room, "_engine", lambda engine, space: InlineEngine({"threads": 1}))
    assert called(*said.err.splitlines()[-1].split()[1:]) == 0
    assert Run(folder).status()["state"] == "finished"
    told = [(event["trial"], event["mark"]) for event in all_events(folder / "ledger.jsonl") if event["event"] == "report"]
    assert len(told) == len(set(told)) and {trial for trial, _ in told} == {"t00000", "t00001", "t00002"}


def test_before_the_run_began_nothing_is_left_and_that_is_said(space, tmp_path, monkeypatch, capsys):
    import autokd.search.run as room

    def pressed(space: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(room, "environment", pressed)
    assert called("search", space, "--runs", tmp_path / "runs") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped before the run began; nothing was written"
    assert list((tmp_path / "runs").iterdir()) == []
