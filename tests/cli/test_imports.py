"""What a command may import. Each command runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "ray", "optuna", "mlflow", "pyarrow", "pandas", "sklearn", "timm", "numpy")


def python(code: str, repository: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout + done.stderr  # with --json standard output is the document alone


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["search", "--help"],
        ["models"],
        ["methods"],
        ["policies"],
        ["datasets", "--json"],
        ["version"],
        ["doctor", "--json"],
        ["runs", "--json"],
    ],
)
def test_lists_and_help_import_nothing_heavy(arguments: list[str], repository: Path):
    code = f"""
import sys
from autokd.cli.main import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    assert python(code, repository).splitlines()[-1] == "HEAVY []"


def test_importing_the_package_imports_nothing_heavy(repository: Path):
    code = f"import sys, autokd; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code, repository).strip() == "[]"
