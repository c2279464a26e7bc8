"""The catalogue of a room, read from its files' syntax trees, and the words that limit a setting.

A room (methods, augment policies, data sets, model families) is a folder of small files. `__all__` of a file names what
it offers; positional parameters are what an entry reads, keyword-only parameters are its settings. Reading the syntax tree
instead of importing keeps every list command free of torch.
"""

from __future__ import annotations

import ast
import importlib
import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

__all__ = [
    "Count",
    "Entry",
    "Fraction",
    "Limit",
    "Natural",
    "NonNegative",
    "Positive",
    "Setting",
    "SignedFraction",
    "catalogue",
    "complain",
    "finite",
    "load",
]


@dataclass(frozen=True)
class Limit:
    """Bounds of a number: above `gt`, at least `ge`, below `lt`, at most `le`."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def __str__(self) -> str:
        words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
        return " and ".join(
            f"{word} {getattr(self, key):g}" for key, word in words.items() if getattr(self, key) is not None
        )

    def admits(self, value: float) -> bool:
        return (
            (self.gt is None or value > self.gt)
            and (self.ge is None or value >= self.ge)
            and (self.lt is None or value < self.lt)
            and (self.le is None or value <= self.le)
        )


Positive = Annotated[float, Limit(gt=0)]
NonNegative = Annotated[float, Limit(ge=0)]
Fraction = Annotated[float, Limit(ge=0, le=1)]
SignedFraction = Annotated[float, Limit(ge=-1, le=1)]
Count = Annotated[int, Limit(ge=1)]
Natural = Annotated[int, Limit(ge=0)]

_KINDS: dict[str, tuple[str, Limit]] = {
    "Positive": ("float", Limit(gt=0)),
    "NonNegative": ("float", Limit(ge=0)),
    "Fraction": ("float", Limit(ge=0, le=1)),
    "SignedFraction": ("float", Limit(ge=-1, le=1)),
    "Count": ("int", Limit(ge=1)),
    "Natural": ("int", Limit(ge=0)),
    "float": ("float", Limit()),
    "int": ("int", Limit()),
    "bool": ("bool", Limit()),
    "str": ("str", Limit()),
}


@dataclass(frozen=True)
class Setting:
    """One keyword-only parameter: its kind (float, int, bool, str), limit, allowed words, default, and what it means."""

    name: str
    kind: str
    default: Any = None
    required: bool = False
    limit: Limit = Limit()
    words: tuple[str, ...] = ()  # of a Literal
    optional: bool = False  # None is allowed
    meaning: str = ""  # from the docstring's line `name: meaning`

    def __str__(self) -> str:
        bound = " | ".join(self.words) if self.words else f"{self.kind} {self.limit}".strip()
        default = "null" if self.default is None else str(self.default).lower() if self.kind == "bool" else self.default
        return f"{self.name}: {bound}" + (", required" if self.required else f" = {default}")


@dataclass(frozen=True)
class Entry:
    """One thing a room offers, as its file describes it."""

    name: str
    module: str
    summary: str
    source: str
    reads: tuple[str, ...]
    settings: tuple[Setting, ...]
    search: dict[str, Any] = field(default_factory=dict)  # setting -> range in the words of a space file
    facts: dict[str, Any] = field(default_factory=dict)  # other upper-case literals of the file

    def setting(self, name: str) -> Setting | None:
        return next((s for s in self.settings if s.name == name), None)


def complain(setting: Setting, value: Any) -> str | None:
    """Why `value` cannot be this setting, or None where it can."""
    if value is None:
        return None if setting.optional else f"{setting.name} needs a value"
    if setting.words:
        return None if value in setting.words else f"{setting.name} is one of {', '.join(setting.words)}, not {value!r}"
    if setting.kind == "bool":
        return None if isinstance(value, bool) else f"{setting.name} is true or false, not {value!r}"
    if setting.kind == "str":
        return None if isinstance(value, str) else f"{setting.name} is a word, not {value!r}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{setting.name} is a number, not {value!r}"
    if not finite(value):
        return f"{setting.name} is a finite number, not {value!r}"
    if setting.kind == "int" and value != int(value):
        return f"{setting.name} is a whole number, not {value!r}"
    if not setting.limit.admits(value):
        return f"{setting.name} must be {setting.limit}, not {value:g}"
    return None


def finite(value: float) -> bool:
    """Whether a number has a place among the floats: neither infinite, nor no number, nor a whole one too long."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


@lru_cache(maxsize=None)
def catalogue(room: str) -> dict[str, Entry]:
    """Every entry of a room, by name. `room` is a package path below autokd: "methods", "augment.policies".

    Files whose names begin with an underscore are not part of the catalogue, nor are files without `__all__`.
    """
    folder = Path(__file__).parent.joinpath(*room.split("."))
    entries: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        for entry in _read(path, f"autokd.{room}.{path.stem}"):
            if entry.name in entries:
                raise ValueError(f"{entry.name!r} stands in {entries[entry.name].module} and in {entry.module}")
            entries[entry.name] = entry
    return entries


def load(entry: Entry) -> Any:
    """The function or class behind an entry (this imports its file, and so perhaps torch)."""
    return getattr(importlib.import_module(entry.module), entry.name)


def _read(path: Path, module: str) -> list[Entry]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    literals: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and (target.id.isupper() or target.id == "__all__"):
            try:
                literals[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for name, item in zip(target.elts, value.elts, strict=True):
                if isinstance(name, ast.Name) and name.id.isupper():
                    literals[name.id] = ast.literal_eval(item)
    names = literals.pop("__all__", [])
    search = literals.pop("SEARCH", {})
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in names:
            make = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            call = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None)
        elif isinstance(node, ast.FunctionDef) and node.name in names:
            make = call = node
        else:
            continue
        text = ast.get_docstring(node) or ast.get_docstring(tree) or ""
        settings = _settings(make)
        meanings = _meanings(text, {setting.name for setting in settings})
        settings = tuple(replace(one, meaning=meanings.get(one.name, "")) for one in settings)
        reads = _positional(call)
        source = _source(text)
        ranges = search.get(node.name, {}) if isinstance(search, dict) else {}
        summary = " ".join(text.split("\n\n")[0].split())
        found.append(Entry(node.name, module, summary, source, reads, settings, ranges, literals))
    return found


def _source(text: str) -> str:
    """What follows "Source:", on further lines too until a sentence or the paragraph ends."""
    found: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("Source:"):
            found = [line.split(":", 1)[1].strip()]
        elif found and line.strip() and not found[-1].endswith("."):
            found.append(line.strip())
        elif found:
            break
    return " ".join(found)


def _meanings(text: str, names: set[str]) -> dict[str, str]:
    """What a docstring says of settings: in lines `name: meaning` (or `name, name: meaning`), each up to the next one or to the
    end of its paragraph."""
    found: dict[str, str] = {}
    current: list[str] = []
    for line in text.splitlines():
        head, colon, rest = line.partition(": ")
        words = [word.strip() for word in head.split(",")]
        if colon and set(words) <= names:
            current = words
            found |= dict.fromkeys(words, rest.strip())
        elif not line.strip():
            current = []
        else:
            found |= {word: f"{found[word]} {line.strip()}" for word in current}
    return found


def _positional(node: ast.FunctionDef | None) -> tuple[str, ...]:
    if node is None:
        return ()
    return tuple(a.arg for a in [*node.args.posonlyargs, *node.args.args] if a.arg != "self")


def _settings(node: ast.FunctionDef | None) -> tuple[Setting, ...]:
    if node is None:
        return ()
    return tuple(
        _setting(arg, default) for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    )


def _setting(arg: ast.arg, default: ast.expr | None) -> Setting:
    kind, limit, words, optional = "str", Limit(), (), False
    node = arg.annotation
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and node.right.value is None:
        node, optional = node.left, True
    if isinstance(node, ast.Name) and node.id in _KINDS:
        kind, limit = _KINDS[node.id]
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        words = tuple(ast.literal_eval(item) for item in inner)
    else:
        raise TypeError(
            f"the catalogue cannot read the type of {arg.arg!r} (line {arg.lineno}): use the words of autokd.rooms"
        )
    value = ast.literal_eval(default) if default is not None else None
    return Setting(arg.arg, kind, value, default is None, limit, words, optional)
