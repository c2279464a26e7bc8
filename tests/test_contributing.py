"""The worked examples of CONTRIBUTING.md, put where it says into a copy of the package, and run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = re.compile(r"^<!-- example: (\S+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPACE = """\
name: added
data: {name: checkers, options: {images: 80}, validation: 0.25}
teachers:
  big: {model: resnet14, train: {epochs: 1}}
students: [resnet8x0.5]
space:
  policy: {gentle: search}
  method: {choose: {reverse_kd: search, ce: {}}}
budgets:
  - {name: tiny, macs: 1 M}
search: {trials: 2, epochs: 1}
"""
TRIAL = """\
from dataclasses import replace
from pathlib import Path
import torch
from autokd.config.search_space import load_space
from autokd.train.teachers import train_teacher
from autokd.train.trial import run
from autokd.train.workshop import Workshop
space = load_space("added.yaml")
class Middle:
    def choose(self, path, options): return "reverse_kd" if path == "method" else options[0]
    def log(self, path, low, high): return (low * high) ** 0.5
workshop = Workshop(threads=1, signals="live")
teacher = space.teachers["big"]
path = train_teacher(space.data, teacher, Path("teachers"), workshop=workshop)
config = space.sample(Middle(), space.pairs(), 0)
config = replace(config, teacher=replace(teacher, training=None, checkpoint=str(path)))
print(config.data.name, config.method.name, config.policy.name, run(config, workshop=workshop)[-1].val_loss)
"""


def examples() -> dict[str, str]:
    return dict(EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with the examples' files in it; a path that begins with tests/ goes beside the package."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "autokd", folder / "autokd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    for name, text in examples().items():
        path = folder / name if name.startswith("tests/") else folder / "autokd" / name
        assert not path.exists(), f"{name} is there already: the example shows something that is not new"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "added.yaml").write_text(SPACE, encoding="utf-8")
    return folder


def call(copy: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "AUTOKD_CACHE": str(copy / "cache")}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended.stdout


def test_there_is_an_example_with_its_test_for_a_method_a_data_set_and_a_policy():
    found = list(examples())
    for room in ("methods", "data", "augment"):
        code = [name for name in found if name.startswith(f"{room}/")]
        assert len(code) == 1 and f"tests/{room}/test_{Path(code[0]).name}" in found
    fenced = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").count("```python")
    assert fenced == len(found), "a fenced block without a mark is not tested"


LISTS = """\
from autokd.cli.main import main
for word in ("methods", "policies", "datasets"):
    try:
        main([word])
    except SystemExit as end:
        assert not end.code
from autokd.config.search_space import load_space
print(*[knob.path for knob in load_space("added.yaml").knobs()])
"""


def test_what_is_added_is_known_to_the_lists_and_to_a_space_file_with_no_other_file_touched(copy):
    told = call(copy, "-c", LISTS).splitlines()
    assert all(any(line.startswith(name) for line in told) for name in ("reverse_kd", "gentle", "checkers"))
    assert told[-1].split() == ["method", "method.reverse_kd.temperature", "policy.gentle.probability"]


@pytest.mark.slow
def test_a_space_of_what_is_added_can_be_checked_before_it_is_searched(copy):
    told = call(copy, "-m", "autokd.cli.main", "validate", "added.yaml", "--no-time")
    assert "60 training images of 1x8x8, 2 classes" in told  # 80 but a quarter
    assert "method.reverse_kd.temperature" in told and "policy.gentle.probability" in told


@pytest.mark.slow
def test_the_tests_of_the_examples_pass_in_the_copy(copy):
    told = call(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rp", "tests")
    count = sum(text.count("\ndef test_") for name, text in examples().items() if name.startswith("tests/"))
    assert count >= 6 and told.count("PASSED ") == count


@pytest.mark.slow
def test_the_conformance_tests_find_what_is_added(copy):
    for room, name in (("methods", "reverse_kd"), ("augment", "gentle")):
        suite = ROOT / "tests" / room / "test_conformance.py"
        if not suite.exists():
            continue
        for path in suite.parent.glob("*.py"):
            if not (copy / "tests" / room / path.name).exists():
                shutil.copy(path, copy / "tests" / room / path.name)
        call(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{room}/test_conformance.py", "-k", name)


@pytest.mark.slow
def test_the_three_together_make_a_trial(copy):
    name, method, policy, loss = call(copy, "-c", TRIAL).split()
    assert (name, method, policy) == ("checkers", "reverse_kd", "gentle")
    assert 0 < float(loss) < 100
