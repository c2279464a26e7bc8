"""The search spaces that come with autokd, found by name from anywhere."""

from __future__ import annotations

from pathlib import Path

from autokd.errors import SpaceError, did_you_mean

__all__ = ["base_of", "find_space", "shipped"]

_FOLDER, _ENDING = "search_spaces", ".yaml"


def _base() -> Path | None:
    """The folder that spaces and examples lie in: the package's own, or a checkout's."""
    package = Path(__file__).resolve().parents[1]
    return next((one for one in (package, package.parent) if (one / _FOLDER).is_dir()), None)


def base_of(space: Path) -> Path | None:
    """Where the relative paths in a space that comes with autokd begin; None for one's own."""
    base = _base()
    return base if base is not None and space.is_relative_to(base / _FOLDER) else None


def shipped() -> dict[str, Path]:
    """Every space that comes with autokd, by name: "digits", or "published/…" for those of a folder."""
    base = _base()
    if base is None:
        return {}
    root = base / _FOLDER
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob(f"*{_ENDING}"))}


def find_space(word: str | Path) -> Path:
    """The file that a word means: one's own where there is one, else the space of that name that comes with autokd.

    The name may end in .yaml and begin with search_spaces/, as in a checkout. Raises SpaceError for a bare name that is neither.
    """
    path = Path(word)
    if path.is_file():
        return path
    known, name = shipped(), path.as_posix()
    found = known.get(name.removeprefix(f"{_FOLDER}/").removesuffix(_ENDING))
    if found is not None:
        return found
    if not path.exists() and not path.suffix and "/" not in name:
        own = [one.name for one in Path().glob("*.y*ml")]
        near = did_you_mean(name, [*known, *own])
        fix = f"name a YAML file, or a space that comes with autokd: {', '.join(known)}{near}"
        raise SpaceError("there is no such file, and no space of this name comes with autokd", where=name, fix=fix)
    return path
