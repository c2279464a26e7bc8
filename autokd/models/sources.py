"""The source files that a network of one's own is made of, read and never run: its file, and what that imports from beside it.

What is installed (torch and other packages) is not followed, but for the package that the network itself is of; an import that
only running would reveal is not seen.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from autokd.machine import expanded
from autokd.models.zoo import Resolved, is_file, resolve

_FOREIGN = {"autokd", "torch", "torchvision", "timm", "numpy", "scipy", "PIL"}  # not followed, wherever they are installed
_INSTALLED = ("site-packages", "dist-packages", os.path.dirname(os.__file__))


def source_files(found: Resolved) -> list[Path]:
    """The files, the network's own first; empty where there is none to be read (a compiled module)."""
    if is_file(found.place):
        waiting = [expanded(found.place).resolve()]
    else:
        words = found.place.split(".")
        root = _root_of(words[0], installed=True)
        there = _modules(root, words) if root is not None else []
        if root is not None and _installed(root):
            return [*there[-1:], *sorted((root / words[0]).rglob("*.py"))]  # all of it: too much to be followed
        waiting = there[::-1]
    files: dict[Path, None] = {}
    while waiting:
        path = waiting.pop(0)
        if path not in files and path.is_file():
            files[path] = None
            waiting += _imported(path)
    return list(files)


def code(model: str) -> str:
    """16 hexadecimal digits of what the files of one's own network say; "" for a network of the zoo or of a library.

    Comments, docstrings, layout and the folder they lie in do not matter.
    """
    found = resolve(model) if ":" in model else None
    if found is None or found.kind != "own":
        return ""
    digest = blake2b(found.attribute.encode(), digest_size=8)
    for path in source_files(found):
        digest.update(f"\0{path.name}\0".encode())
        try:
            if _installed(path):
                digest.update(path.read_bytes())
                continue
            digest.update(json.dumps(_told(ast.parse(path.read_bytes()))).encode())
        except (OSError, SyntaxError, ValueError, RecursionError):
            digest.update(path.read_bytes() if path.is_file() else b"gone")
    return digest.hexdigest()


def _told(node: Any) -> Any:
    """A syntax tree in plain values, the same in every Python that reads it alike."""
    if isinstance(node, list):
        return [_told(item) for item in node if not _is_docstring(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if name not in _MUTE and value not in (None, [])]
    return [type(node).__name__, *((name, _told(value)) for name, value in fields)]


_MUTE = ("ctx", "kind", "type_comment", "type_ignores")


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported(path: Path) -> Iterator[Path]:
    """The files that the import statements of a file name, at its top or deeper."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield from _found(path, one.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            words = node.module.split(".") if node.module else []
            for one in node.names:
                yield from _found(path, [*words, one.name], node.level)


def _found(path: Path, words: list[str], level: int = 0) -> list[Path]:
    """The modules `words` names, seen from a file: beside it, or in a folder of sources that Python looks in."""
    if level:
        folder = path.parent
        for _ in range(level - 1):
            folder = folder.parent
        return _modules(folder, words)
    if words[0] in _FOREIGN or words[0] in sys.stdlib_module_names:
        return []
    for folder in (path.parent, *_packages_around(path)):
        if there := _modules(folder, words):
            return there
    root = _root_of(words[0])
    return _modules(root, words) if root is not None else []


def _packages_around(path: Path) -> Iterator[Path]:
    """The folder that holds the outermost package a file belongs to, from within which its own imports start."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    if folder != path.parent and not _installed(folder):
        yield folder


def _root_of(top: str, *, installed: bool = False) -> Path | None:
    """The folder in which Python finds a top-level module; None for an installed package, unless that is the network's own."""
    here = Path.cwd()
    if (here / f"{top}.py").is_file() or (here / top).is_dir():
        return here
    try:
        spec = importlib.util.find_spec(top)  # finds, and does not import
    except (ImportError, ValueError, AttributeError):
        return None
    places = [*(spec.submodule_search_locations or ())] if spec is not None else []
    origin = places[0] if places else spec.origin if spec is not None else None
    if origin is None or (_installed(Path(origin)) and not installed):
        return None
    return Path(origin).resolve().parent


def _installed(path: Path) -> bool:
    return any(part in str(path) for part in _INSTALLED)


def _modules(root: Path, words: list[str]) -> list[Path]:
    """root/a/__init__.py, root/a/b.py … as far as they exist; nothing where not even the first does."""
    files: list[Path] = []
    folder = root
    for word in words:
        if (folder / f"{word}.py").is_file():
            return [*files, (folder / f"{word}.py").resolve()]
        folder = folder / word
        if not folder.is_dir():
            break
        if (folder / "__init__.py").is_file():
            files.append((folder / "__init__.py").resolve())
    return files
