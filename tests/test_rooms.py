"""The rooms' import rules, read from the syntax trees, and the catalogue."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

import autokd
from autokd import rooms
from autokd.rooms import Limit, Setting, complain

ROOT = Path(autokd.__file__).parent
LEVELS = [
    ["rooms", "errors"],
    ["machine", "seeds"],
    ["files"],
    ["space", "methods", "augment", "models", "data"],
    ["config"],
    ["cost", "signals"],
    ["train"],
    ["track"],
    ["search", "select"],
    ["finalize", "report"],
    ["cli"],
]
LEVEL = {room: level for level, names in enumerate(LEVELS) for room in names}
FENCES = {
    "typer": {"cli"},
    "rich": {"cli"},
    "onnx": {"finalize"},
    "onnxruntime": {"finalize"},
    "plotly": {"report"},
    "matplotlib": {"report"},
    "ray": {"search"},
    "optuna": {"search"},
    "mlflow": {"track"},
    "pyarrow": {"track", "data", "signals"},
    "pydantic": {"config"},
    "ruamel": {"space"},
    "torchvision": {"augment", "models", "data"},
    "timm": {"models"},
    "sklearn": {"data", "select"},
}


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            names = [alias.name for alias in node.names] if node.module == "autokd" else [""]
            found += [(node.lineno, f"{node.module}.{name}".rstrip(".")) for name in names]
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_its_own_room_and_those_below(path):
    own = room_of(path)
    assert own in LEVEL, f"{own} is not a room"
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "autokd" and len(parts) > 1 and parts[1] in LEVEL:
            assert parts[1] == own or LEVEL[parts[1]] < LEVEL[own], f"{path}:{line}: {own} imports {parts[1]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_is_imported_only_inside_its_fence(path):
    own = room_of(path)
    for line, name in imports(path):
        fence = FENCES.get(name.split(".")[0])
        assert fence is None or own in fence, f"{path}:{line}: {name} belongs in {', '.join(sorted(fence or []))}"


def test_the_test_split_is_opened_in_finalize_alone():
    for path in FILES:
        if room_of(path) in {"finalize", "data"}:
            continue
        opened = [line for line, name in imports(path) if name.startswith("autokd.data.held_out")]
        assert not opened, f"{path}:{opened} opens the test split"


def test_a_file_of_a_room_is_read_without_being_imported(tmp_path, monkeypatch):
    folder = tmp_path / "things"
    folder.mkdir()
    (folder / "one.py").write_text(
        textwrap.dedent(
            '''
            """A file."""
            import nothing_of_this_name
            __all__ = ["one"]
            SEARCH = {"one": {"heat": {"log": [1, 20]}}}
            WEIGHTS = {"ce_weight": 0.1}
            def one(
                student_logits: Tensor, *, heat: Positive = 4.0, mode: Literal["a", "b"] = "a", top: Count | None = None
            ) -> Tensor:
                """Short
                of it.

                Source: somewhere.
                """
            '''
        )
    )
    monkeypatch.setattr(rooms, "__file__", str(tmp_path / "rooms.py"))
    rooms.catalogue.cache_clear()
    entry = rooms.catalogue("things")["one"]
    rooms.catalogue.cache_clear()
    assert entry.summary == "Short of it."
    assert entry.source == "somewhere."
    assert entry.reads == ("student_logits",)
    assert entry.search == {"heat": {"log": [1, 20]}}
    assert entry.facts["WEIGHTS"] == {"ce_weight": 0.1}
    heat, mode, top = entry.settings
    assert (heat.kind, heat.limit, heat.default) == ("float", Limit(gt=0), 4.0)
    assert mode.words == ("a", "b")
    assert top.optional and top.kind == "int"


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        (Setting("heat", "float", limit=Limit(gt=0)), 0.0, "heat must be above 0, not 0"),
        (Setting("heat", "float", limit=Limit(gt=0)), 0.1, None),
        (Setting("heat", "float"), "warm", "heat is a number, not 'warm'"),
        (Setting("heat", "float"), True, "heat is a number, not True"),
        (Setting("count", "int", limit=Limit(ge=1)), 2.5, "count is a whole number, not 2.5"),
        (Setting("on", "bool"), 1, "on is true or false, not 1"),
        (Setting("mode", "str", words=("a", "b")), "c", "mode is one of a, b, not 'c'"),
        (Setting("top", "int", optional=True), None, None),
        (Setting("top", "int"), None, "top needs a value"),
    ],
)
def test_a_setting_says_why_a_value_cannot_be(setting, value, fault):
    assert complain(setting, value) == fault
