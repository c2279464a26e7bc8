from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def make_run():
    """Writes a run folder of five known trials: see made_run.py."""
    spec = importlib.util.spec_from_file_location("made_run", Path(__file__).with_name("made_run.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_run


@pytest.fixture
def made_run(make_run, tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs" / "made-20260101-000000-abcd")


@pytest.fixture(scope="session")
def report_runs():
    """The module that writes runs for the report: see report_runs.py."""
    spec = importlib.util.spec_from_file_location("report_runs", Path(__file__).with_name("report_runs.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
