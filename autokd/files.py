"""Where autokd keeps what it can make again, and how a file is written so that nobody ever reads half of one."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import re
import shlex
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from autokd.machine import aside, expanded, home, writable

__all__ = ["cache_root", "full_disk", "in_file_name", "in_shell", "intact_zip", "locked", "sha256_of", "uncollected", "vouched",
           "whole", "write_text"]


def cache_root() -> Path:
    """$AUTOKD_CACHE, or ~/.cache/autokd; the same below this user's temporary folder where no home folder can be written."""
    named = os.environ.get("AUTOKD_CACHE")
    if named:
        return expanded(named)
    own = home()
    usual = own / ".cache" / "autokd" if own is not None else None
    return usual if usual is not None and writable(usual) else aside() / ".cache" / "autokd"


@contextmanager
def uncollected() -> Iterator[None]:
    """Where very many objects are made that all stay, as from a long ledger: the garbage collector would look through all of
    them again and again (a third of the time of a resume of ten thousand trials), and waits."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def whole(path: Path) -> Iterator[IO[Any]]:
    """A binary file that is there whole or not at all: written aside, flushed to the disk, then renamed into place.

    Its folder is made where it is missing. Where the writing fails, what lay at `path` stays and nothing is left beside it; a
    full disk is an OSError with the file's name, also where a library between told something else of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except Exception as fault:
        full = full_disk(fault)
        if full is None or (full is fault and full.filename is not None):
            raise
        raise OSError(full.errno, full.strerror or os.strerror(full.errno or 0), os.fspath(path)) from fault
    finally:
        aside.unlink(missing_ok=True)


def full_disk(fault: BaseException | None) -> OSError | None:
    """The full disk (or quota) that a fault comes from, itself or what was raised before it; None where it is another fault."""
    seen: set[int] = set()
    while fault is not None and id(fault) not in seen:
        if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
            return fault
        seen.add(id(fault))
        fault = fault.__cause__ or fault.__context__
    return None


def intact_zip(file: Path | IO[bytes]) -> bool:
    """Whether the bytes of every member of a zip archive are those that were written, by their CRC-32; True for what is none.

    torch.save writes such archives, and torch.load does not look at their checksums: a flipped bit would be a weight.
    """
    try:
        if not zipfile.is_zipfile(file):
            return True
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error):
        return False


def vouched(path: Path) -> bool:
    """Whether a file has the "sha256" that the `.json` beside it tells; True where none is told."""
    try:
        told = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    if not isinstance(told, dict) or "sha256" not in told:
        return True
    return bool(told["sha256"] == sha256_of(path))


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


def in_file_name(name: str) -> str:
    """A name as part of one file's: what would leave the folder, hide the file or trouble a shell becomes an underscore."""
    return re.sub(r"^\.|[^\w. -]", "_", name)


def in_shell(path: str | os.PathLike[str]) -> str:
    """A path as it is typed in a command."""
    return shlex.quote(os.fspath(path))


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
