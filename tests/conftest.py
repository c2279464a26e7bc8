"""What every test may ask for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a script: tests interrupt commands
    signal.signal(signal.SIGINT, signal.default_int_handler)
# what a library says of its own future is not ours to mend; our own warnings are errors (pyproject.toml)
settings.register_profile("autokd", derandomize=True, deadline=None, max_examples=50, print_blob=True)
settings.load_profile("autokd")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets and public checkpoints; the test skips where it is absent."""
    named = os.environ.get("AUTOKD_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "cifar100" / "test.parquet").exists():
        pytest.skip("no real data: set AUTOKD_SHARED_DATA to a folder with cifar100/, cifar10/ and the teachers")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def untimed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`autokd validate` times training steps for some seconds; here only where a test is about that (marker `timed`)."""
    if "timed" not in request.keywords:
        from autokd.search import estimate

        def nothing(*_: Any, **__: Any) -> Any:
            raise estimate.Unknown("this is a test")

        monkeypatch.setattr(estimate, "estimate", nothing)


@pytest.fixture(scope="session")
def odd_images() -> ModuleType:
    """tests/finalize/odd_images.py: image files that programs read in different ways, and the card's script on them."""
    spec = importlib.util.spec_from_file_location("odd_images", Path(__file__).parent / "finalize" / "odd_images.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
