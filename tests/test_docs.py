"""Pages that say what the code says are held to it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from autokd.rooms import catalogue

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def writer():
    path = ROOT / "docs" / "write_methods.py"
    spec = importlib.util.spec_from_file_location("write_methods", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(catalogue("methods")))
def test_every_method_is_on_the_page_with_its_defaults_and_its_source(page, name):
    entry = catalogue("methods")[name]
    start = page.find(f"**{name}.**")
    assert start >= 0, f"{name} is not on the page: run python docs/write_methods.py"
    told = " ".join(re.split(r"\n\*\*|\n###|<!--", page[start:])[0].split())
    for setting in entry.settings:
        default = setting.default
        value = str(default).lower() if isinstance(default, bool) else "null" if default is None else default
        value = f"{value:g}" if isinstance(value, float) else str(value)
        assert f"`{setting.name}` {value}" in told
    assert "Source: " in told


def test_the_page_is_what_its_writer_writes(writer, page):
    assert writer.written(page) == page, "run python docs/write_methods.py"


def test_every_file_that_the_page_names_is_there(page):
    for path in re.findall(r"`((?:autokd|docs|benchmarks)/[\w/.]+\.py)`", page):
        assert (ROOT / path).exists(), path


def test_the_example_of_the_page_is_a_space_that_loads(page, tmp_path):
    from autokd.config.search_space import load_space

    example = re.search(r"```yaml\n(space:.*?)```", page, re.DOTALL).group(1)
    if "dkd" not in catalogue("methods"):
        example = example.replace("      dkd: search\n", "")
    head = "name: page\ndata: {name: digits}\nteachers:\n  big: {model: wrn_16_2, train: {epochs: 3}}\nstudents: [resnet8]\n"
    (tmp_path / "space.yaml").write_text(
        head + example + "budgets:\n  - {name: tiny, params: 100 k}\n", encoding="utf-8"
    )
    space = load_space(tmp_path / "space.yaml")
    assert {"loss.adapt", "method.kd.also.spkd.weight"} <= {knob.path for knob in space.knobs()}
