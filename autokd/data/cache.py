"""Decoded pixels, kept between processes.

An entry is a folder named by a hash of what it was made from (files with size and time of change, every setting, and the Pillow
that decoded them). It is
written aside and renamed into place, so that a reader sees all of it or nothing; a lock lets one process decode while the
others wait. Entries may be deleted at any time.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from autokd.errors import AutokdError
from autokd.files import cache_root, locked

__all__ = ["cache_folder", "remembered", "seen", "stamp"]

_VERSION = 1  # of what decoding means; raised when the same files come to other pixels


def cache_folder() -> Path:
    """$AUTOKD_CACHE/data, or ~/.cache/autokd/data."""
    return cache_root() / "data"


def stamp(paths: Iterable[Path]) -> str:
    """A hash of where files are, how large, and when they last changed. A missing file counts as such."""
    digest = blake2b(digest_size=16)
    for path in paths:
        try:
            told = path.stat()
            digest.update(os.fsencode(f"{os.path.abspath(path)}\0{told.st_size}\0{told.st_mtime_ns}\n"))
        except OSError:
            digest.update(os.fsencode(f"{os.path.abspath(path)}\0gone\n"))
    return digest.hexdigest()


def seen(name: str, made_of: dict[str, Any]) -> dict[str, Any] | None:
    """What is known of an entry ({shape, mean, std, ...}) if it is there, else None."""
    return _facts(cache_folder() / _key(name, made_of))


def remembered(
    name: str,
    made_of: dict[str, Any],
    make: Callable[[Path], dict[str, Any]],
    outside: Callable[[], list[Path]] | None = None,
    *,
    outlives: bool = False,
) -> tuple[np.ndarray, dict[str, Any]]:
    """The pixels of an entry, uint8 [N, C, H, W], and its facts; made first where it is not there.

    make(path) writes the pixels to a .npy file and returns the facts ({shape, mean, std}). outside() then lists files the
    pixels also came from that `made_of` does not cover; when one of them changes, the entry is made again. outlives: where such
    files are gone altogether, the entry stays.
    The pixels are memory-mapped, copied where they are written to.
    """
    folder = cache_folder() / _key(name, made_of)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(folder.parent, os.W_OK):
            raise PermissionError(f"{folder.parent} cannot be written to")
    except OSError as fault:
        found = _load(folder)
        if found is not None:
            return found
        warnings.warn(f"decoded images are not kept: {fault}. Set AUTOKD_CACHE to a folder of yours", stacklevel=2)
        with tempfile.TemporaryDirectory(prefix="autokd-") as scratch:
            facts = make(Path(scratch) / "pixels.npy")
            return np.load(Path(scratch) / "pixels.npy"), facts
    found = _load(folder)
    if found is None:
        with locked(folder.with_suffix(".lock")):
            found = _load(folder)  # another process may have made it meanwhile
            if found is None:
                _make(folder, make, outside, outlives)
                found = _load(folder)
    if found is None:
        raise OSError(f"{folder} was written and cannot be read")
    return found


@lru_cache(maxsize=1)
def _decoder() -> str:
    """Pillow brings the libraries that decode and scales itself; its third number is of repairs."""
    return ".".join(metadata.version("pillow").split(".")[:2])


def _key(name: str, made_of: dict[str, Any]) -> str:
    told = json.dumps({"version": _VERSION, "name": name, "pillow": _decoder(), **made_of}, sort_keys=True)
    return f"{name}-{blake2b(told.encode(), digest_size=10).hexdigest()}"


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        whole = (folder / "pixels.npy").stat().st_size == facts["bytes"]
        listed = folder / "outside.json"
        if whole and "outside" in facts:
            there = json.loads(listed.read_text(encoding="utf-8"))
            files = [(path, told) for path, told in there.items() if not facts.get("outlives") or os.path.exists(path)]
            whole = all(stamp([Path(path)]) == told for path, told in files)
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return facts if whole else None


def _load(folder: Path) -> tuple[np.ndarray, dict[str, Any]] | None:
    facts = _facts(folder)
    if facts is None:
        return None
    try:
        pixels = np.load(folder / "pixels.npy", mmap_mode="c")
    except (OSError, ValueError):
        return None
    return (pixels.view(np.ndarray), facts) if list(pixels.shape) == facts["shape"] else None


def _make(
    folder: Path, make: Callable[[Path], dict[str, Any]], outside: Callable[[], list[Path]] | None, outlives: bool
) -> None:
    for left in folder.parent.glob(".making-*"):  # by a process that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        facts = make(aside / "pixels.npy")
        files = outside() if outside else []
        if files:
            facts |= {"outside": len(files), "outlives": outlives}
            told = {os.path.abspath(path): stamp([path]) for path in files}
            (aside / "outside.json").write_text(json.dumps(told), encoding="utf-8")
        facts["bytes"] = (aside / "pixels.npy").stat().st_size
        (aside / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        for path in aside.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        if folder.exists():  # damaged, or its outside files changed
            shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(aside, folder)
        except OSError:
            if _facts(folder) is None:
                raise
    except OSError as fault:
        if fault.errno != errno.ENOSPC:
            raise
        fix = "make room, or set AUTOKD_CACHE to a folder on a larger disk"
        raise AutokdError(
            "the disk is full: decoded images cannot be kept", where=str(folder.parent), fix=fix
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
