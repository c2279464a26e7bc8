"""Where autokd keeps what it can make again, and how a file is written so that nobody ever reads half of one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = ["cache_root", "in_file_name", "locked", "whole", "write_text"]


def cache_root() -> Path:
    """$AUTOKD_CACHE, or ~/.cache/autokd."""
    named = os.environ.get("AUTOKD_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "autokd"


@contextmanager
def whole(path: Path) -> Iterator[IO[Any]]:
    """A binary file that is there whole or not at all: written aside, flushed to the disk, then renamed into place.

    Its folder is made where it is missing. Where the writing fails, what lay at `path` stays and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


def in_file_name(name: str) -> str:
    """A name as part of one file's: what would leave the folder, hide the file or trouble a shell becomes an underscore."""
    return re.sub(r"^\.|[^\w. -]", "_", name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Held by one process at a time. Where the file system knows no locks, held by all (the renames keep that safe)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield  # closing the file frees the lock
