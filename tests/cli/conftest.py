from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from autokd.cli.main import main


@pytest.fixture
def made_run(tmp_path: Path) -> Path:
    """A run folder of five known trials: see made_run.py."""
    spec = importlib.util.spec_from_file_location("made_run", Path(__file__).parents[1] / "report" / "made_run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_run(tmp_path / "runs" / "made-20260101-000000-abcd")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run a command in this process: (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call
