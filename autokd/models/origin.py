"""Versions and source code that a network is built from, without running it: part of the key of cached results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any

from autokd.machine import expanded
from autokd.models.sources import code, source_files
from autokd.models.zoo import resolve

# No `__all__`: the catalogue of this room lists network families, and this file offers none.


def library_of(model: str) -> str | None:
    """The versions of torch and of the network's library. None for a user's own network."""
    kind = resolve(model).kind if ":" in model else "zoo"
    if kind == "own":
        return None
    names = ["torch"] if kind == "zoo" else ["torch", kind]
    return ", ".join(f"{name} {_version(name)}" for name in names)


def origin(model: str, options: Mapping[str, Any] | None = None) -> str | None:
    """As `library_of`; for a user's own network torch's version and a hash of its source files (autokd.models.sources).

    None if its source files cannot be read, or if an option names a file, whose content may change the network.
    """
    told = library_of(model)
    if told is not None:
        return told
    if not source_files(resolve(model)) or any(map(_is_file, (options or {}).values())):
        return None
    return f"torch {_version('torch')}, code {code(model)}"


def _is_file(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value) and expanded(value).exists()
    except (OSError, RuntimeError, ValueError):
        return False


@lru_cache(maxsize=None)  # a lookup takes some milliseconds
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
