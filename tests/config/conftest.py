from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from autokd.config.search_space import SearchSpace, load_space
from autokd.errors import Faults

BASE = """\
name: base
data: {name: digits}
teachers:
  big: {model: wrn_16_2, train: {epochs: 3}}
students: [resnet8, resnet14]
space:
  policy: none
  method: kd
budgets:
  - {name: tiny, params: 100 k}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a space file: `write({"students: [resnet8, resnet14]": "students: [resnet8]"})` changes the base's text."""

    def make(changes: Mapping[str, str] | str = "", more: str = "") -> Path:
        text = changes if isinstance(changes, str) and changes else BASE
        for old, new in changes.items() if isinstance(changes, Mapping) else ():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "space.yaml"
        path.write_text(text + more, encoding="utf-8")
        return path

    return make


@pytest.fixture
def load(write: Callable[..., Path]) -> Callable[..., SearchSpace]:
    def make(changes: Mapping[str, str] | str = "", more: str = "", set: Sequence[str] = ()) -> SearchSpace:
        return load_space(write(changes, more), overrides=set)

    return make


@pytest.fixture
def faults(load: Callable[..., SearchSpace], tmp_path: Path) -> Callable[..., list[str]]:
    """Every fault of a space, "LINE: what\\n  the way out", the file's name taken off."""

    def make(changes: Mapping[str, str] | str = "", more: str = "", set: Sequence[str] = ()) -> list[str]:
        with pytest.raises(Faults) as told:
            load(changes, more, set)
        return [str(fault).removeprefix(f"{tmp_path / 'space.yaml'}:") for fault in told.value.faults]

    return make


@pytest.fixture
def tree(load: Callable[..., SearchSpace]) -> Callable[[str], Any]:
    """The tree of a base space whose section `space` is the given text (flow style)."""

    def make(space: str) -> Any:
        return load({"space:\n  policy: none\n  method: kd": f"space: {space}"}).tree

    return make
