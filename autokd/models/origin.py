"""Which code a network is built by, told without importing it: what is kept of a network holds as long as that is the same."""

from __future__ import annotations

from importlib import metadata

from autokd.models.zoo import resolve

# No `__all__`: the catalogue of this room lists network families, and this file offers none.


def origin(model: str) -> str | None:
    """The library and its version, with torch's; of the zoo torch's alone. None for own code, whose changes nothing tells."""
    kind = resolve(model).kind if ":" in model else "zoo"
    if kind == "own":
        return None
    libraries = ["torch", *([kind] if kind != "zoo" else [])]
    return ", ".join(f"{name} {_version(name)}" for name in libraries)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
