"""Which code a network is built by, told without running it: what is kept of a network holds as long as that is the same."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from autokd.models.sources import code, source_files
from autokd.models.zoo import resolve

# No `__all__`: the catalogue of this room lists network families, and this file offers none.


def origin(model: str, options: Mapping[str, Any] | None = None) -> str | None:
    """torch's version, and that of the library, or what the source files of one's own network say (autokd.models.sources).

    None where own code cannot be known so: it cannot be read, or its options name a file, which decides what is built as well.
    """
    found = resolve(model) if ":" in model else None
    kind = found.kind if found is not None else "zoo"
    told = [f"torch {_version('torch')}"]
    if found is not None and kind == "own":
        if not source_files(found) or any(map(_is_file, (options or {}).values())):
            return None
        told.append(f"code {code(model)}")
    elif kind != "zoo":
        told.append(f"{kind} {_version(kind)}")
    return ", ".join(told)


def _is_file(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value) and Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
