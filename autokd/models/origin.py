"""Which code a network is built by, told without running it: what is kept of a network holds as long as that is the same."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from autokd.models.sources import code, source_files
from autokd.models.zoo import resolve

# No `__all__`: the catalogue of this room lists network families, and this file offers none.


def library_of(model: str) -> str | None:
    """torch's version, and that of the library a network comes from. None for one of a person's own."""
    kind = resolve(model).kind if ":" in model else "zoo"
    if kind == "own":
        return None
    names = ["torch"] if kind == "zoo" else ["torch", kind]
    return ", ".join(f"{name} {_version(name)}" for name in names)


def origin(model: str, options: Mapping[str, Any] | None = None) -> str | None:
    """As `library_of`; of a person's own network what its source files say (autokd.models.sources), and torch's version.

    None where that does not tell all of it: they cannot be read, or an option names a file, which decides what is built as well.
    """
    told = library_of(model)
    if told is not None:
        return told
    if not source_files(resolve(model)) or any(map(_is_file, (options or {}).values())):
        return None
    return f"torch {_version('torch')}, code {code(model)}"


def _is_file(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value) and Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


@lru_cache(maxsize=None)  # as long as the process: looking it up takes some milliseconds
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
