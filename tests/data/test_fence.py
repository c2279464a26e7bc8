"""The test part of every set is read in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import autokd

ROOT = Path(autokd.__file__).parent


def importers(*modules):
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            if any(name == module or name.startswith(module + ".") for name in names for module in modules):
                yield path.relative_to(ROOT).parts


def test_only_finalize_imports_held_out():
    assert {parts[0] for parts in importers("autokd.data.held_out")} <= {"finalize"}


def test_a_part_is_asked_for_by_name_inside_the_data_room_alone():
    assert {parts[0] for parts in importers("autokd.data._sets", "autokd.data.sets")} <= {"data"}


def test_training_never_names_the_test_part():
    tree = ast.parse((ROOT / "data" / "training.py").read_text(encoding="utf-8"))
    asked = [
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open_part"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    ]
    assert asked == ["train"]


def test_the_test_part_is_asked_for_in_two_places_and_one_of_them_tells_its_faults_alone():
    names = {path.name for path in sorted((ROOT / "data").glob("*.py")) if '"test"' in path.read_text(encoding="utf-8")}
    assert names == {"check.py", "held_out.py"}
    from dataclasses import fields

    from autokd.data.check import PartReport

    assert {one.name for one in fields(PartReport)} == {"images", "faulty", "kinds", "passed_over"}  # and no label
