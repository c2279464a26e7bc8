"""What is published: a wheel that works where nothing of the repository lies, and a source archive that makes the same wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # of apache.org/licenses/LICENSE-2.0.txt


def run(*words: object, **settings) -> str:
    made = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600, **settings)
    assert made.returncode == 0, f"{words}\n{made.stdout}\n{made.stderr}"
    return made.stdout + made.stderr


def test_the_licence_is_the_published_text_and_no_address_is_promised():
    assert sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0" and "urls" not in project


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that `python -m build` makes by way of the source archive."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_source_archive_makes_the_same_wheel_as_the_checkout(wheel, tmp_path):
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT)
    (other,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(other) as two:
        assert {name: one.read(name) for name in one.namelist()} == {name: two.read(name) for name in two.namelist()}
        names = set(one.namelist())
        told = Parser().parsestr(one.read(next(name for name in names if name.endswith("/METADATA"))).decode())
    (source,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "search_spaces/digits.yaml"} <= inside
    for path in (ROOT / "search_spaces").rglob("*.yaml"):
        assert f"autokd/{path.relative_to(ROOT).as_posix()}" in names
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "autokd").rglob("*") if path.suffix in (".py", ".css", ".js")}
    assert ours <= names and not any(name.startswith(("tests/", "benchmarks/", "docs/")) for name in names)
    assert told["License-Expression"] == "Apache-2.0" and any(name.endswith("licenses/LICENSE") for name in names)
    assert told["Project-URL"] is None and "License :: " not in str(told.get_all("Classifier"))


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_by_name_from_an_environment_that_has_the_wheel_alone(wheel, tmp_path):
    """The packages autokd requires are this environment's own, by a path file; nothing of the checkout is seen."""
    place = tmp_path / "env"
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (site,) = place.glob("lib/python*/site-packages")
    theirs = next(path for path in sys.path if path.endswith("site-packages") and Path(path, "torch").is_dir())
    (site / "packages.pth").write_text(theirs + "\n")
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    empty = tmp_path / "empty"
    empty.mkdir()
    ask = "import autokd, importlib.metadata as m; print(autokd.__file__, m.version('autokd'))"
    assert str(site / "autokd") in run(python, "-c", ask, cwd=empty, env=known)
    short = ["--trials", 2, "--set", "search.epochs=0.3", "--set", "search.rungs.count=0", "--set", "tracking.mlflow=false"]
    short += ["--set", "teachers={wide: {model: resnet8, train: {epochs: 1}}}"]
    told = run(place / "bin" / "autokd", "search", "digits", *short, cwd=empty, env=known)
    assert f"space digits: {site / 'autokd/search_spaces/digits.yaml'}, which comes with autokd" in told
    assert "search finished: 2 trials" in told and str(ROOT) not in told
    ask = "import autokd; print(autokd.load_space('cifar100-small').name)"  # it names a file of the examples
    assert "cifar100-small" in run(python, "-c", ask, cwd=empty, env=known)
