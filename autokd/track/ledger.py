"""The ledger: one line of JSON for each thing that happened, on the disk before anything else learns of it.

Each line ends with a checksum over itself and the one before it, `"crc"`, so that a flipped bit, a line that is missing and
one that stands elsewhere are told, and not taken for what happened.
"""

from __future__ import annotations

import errno
import json
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from autokd.errors import AutokdError
from autokd.files import full_disk, uncollected

__all__ = ["FolderLock", "Ledger", "all_events", "held", "read_events", "sync_folder", "writer"]

FILE = "ledger.jsonl"
_SEAL, _SEALED = b',"crc":"', 19  # what the checksum follows, and the bytes from there to the line's end
_NEEDED = {  # words without which an event means nothing; looked at where no checksum vouches for the line
    "trial": ("trial",),
    "report": ("trial",),
    "again": ("trial",),
    "requeue": ("trial",),
    "end": ("trial", "status"),
    "close": ("status",),
}


class FolderLock:
    """One writer a run folder. The lock belongs to the process and goes with it, however it ends."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / ".lock"
        self._file: IO[bytes] | None = None

    def acquire(self) -> FolderLock:
        """Take the lock, or raise AutokdError: naming the process that holds it, or why nothing can be written there."""
        try:
            import fcntl
        except ImportError:  # not a POSIX system: one writer is a promise there, not a check
            return self
        try:
            file = open(self.path, "ab+", buffering=0)  # noqa: SIM115
        except OSError as fault:
            rights = "mend the rights of its folder, or copy it to where you may write and name the copy"
            raise AutokdError(
                f"this run cannot be written: {(fault.strerror or str(fault)).lower()}",
                where=str(self.path.parent),
                fix="make room on the disk" if full_disk(fault) else rights,
            ) from fault
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            file.seek(0)
            holder = file.read().decode(errors="replace").strip()
            file.close()
            if fault.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise AutokdError(
                f"another process{f' ({holder})' if holder else ''} is writing this run",
                where=str(self.path.parent),
                fix="wait for it, stop it, or start a new run",
            ) from None
        self._file = file
        try:
            file.truncate(0)
            file.write(f"pid {os.getpid()}".encode())
        except OSError:
            pass  # a full disk: the lock holds without its note
        return self

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> FolderLock:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def held(folder: str | os.PathLike[str]) -> bool:
    """Whether a process holds the lock of a run folder. Writes nothing, and so serves for folders that may only be read."""
    try:
        import fcntl

        file = open(Path(folder) / ".lock", "rb")  # noqa: SIM115
    except (ImportError, OSError):
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as fault:
            return fault.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


def writer(folder: str | os.PathLike[str]) -> int | None:
    """The process that took the lock of a run folder last, as it noted itself; None where nothing is noted."""
    try:
        kind, _, number = (Path(folder) / ".lock").read_text(encoding="utf-8", errors="replace").strip().partition(" ")
    except OSError:
        return None
    return int(number) if kind == "pid" and number.isdecimal() else None


class Ledger:
    """Append-only. `append` returns when the event lies on the disk, and leaves no half line behind where it cannot."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        new = not self.path.exists()
        try:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        except OSError as fault:
            raise _unwritable(self.path, fault) from fault
        self._end, self._crc = _whole(self.path)
        if self._end != self.path.stat().st_size:  # the last line was torn by a kill: nobody was told of it
            self._file.truncate(self._end)
        if new:
            sync_folder(self.path.parent)

    def append(self, event: dict[str, Any]) -> dict[str, Any]:
        """Write one event. Numbers that are not finite become null. Returns the event as it can be read back."""
        event = clean(event)
        told = json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()[:-1]
        crc = zlib.crc32(told, self._crc)
        line = told + _SEAL + b'%08x"}\n' % crc
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
            os.fsync(self._file.fileno())
        except OSError as fault:
            try:
                self._file.truncate(self._end)
            except OSError:
                pass  # the torn line is dropped when the ledger is next opened
            raise _unwritable(self.path, fault) from fault
        self._end, self._crc = self._end + len(line), crc
        return event

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Every whole event of a ledger, first to last; a torn last line is left out.

    Raises AutokdError where an earlier line cannot be read, since what follows it would then mean something else.
    """
    path = Path(path)
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise AutokdError(
            "no ledger here", where=str(path), fix="a run is a folder with a ledger.jsonl in it"
        ) from None
    crc, sealed = 0, False  # of the line before; whether it bears a checksum, as all that follow it then do
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            if line[-_SEALED : -_SEALED + len(_SEAL)] == _SEAL:
                crc, sealed = zlib.crc32(line[:-_SEALED], crc), True
                whole = line[-11:-3] == b"%08x" % crc
            else:
                crc, whole = zlib.crc32(line), not sealed
            try:
                event = json.loads(line) if whole else None
            except (ValueError, RecursionError):
                event = None
            if not isinstance(event, dict) or not isinstance(event.get("event"), str) or not (sealed or _complete(event)):
                keep = f"head -n {number - 1} {path.name} > whole && mv whole {path.name}"
                raise AutokdError(
                    "this line of the ledger cannot be read" if whole else "this line of the ledger is not as it was written",
                    where=f"{path}:{number}",
                    fix="restore the file from a copy" + (f", or keep what is whole: {keep}" if number > 1 else ""),
                )
            event.pop("crc", None)
            yield event


def _complete(event: dict[str, Any]) -> bool:
    return all(isinstance(event.get(key), str) for key in _NEEDED.get(event["event"], ()))


def all_events(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """`read_events` at once."""
    with uncollected():
        return list(read_events(path))


def clean(value: Any) -> Any:
    """The same value in JSON's own types: tuples become lists, numbers that are not finite become None."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):  # a number of numpy or torch
        return clean(value.item())
    return str(value)


def sync_folder(folder: Path) -> None:
    """Make a new or renamed file's name durable."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # not every file system can
    finally:
        os.close(handle)


def _whole(path: Path) -> tuple[int, int]:
    """Bytes up to and with the last line end, and the checksum that the last whole line ends with."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        ends: list[int] = []  # of the last whole line and of the one before it, where they are known
        at = size
        while at > 0 and len(ends) < 2:
            start = max(0, at - 65536)
            file.seek(start)
            block = file.read(at - start)
            found = len(block)
            while len(ends) < 2 and (found := block.rfind(b"\n", 0, found)) >= 0:
                ends.append(start + found + 1)
            at = start
        if not ends:
            return 0, 0
        file.seek(ends[1] if len(ends) > 1 else 0)
        line = file.read(ends[0] - file.tell())
    if line[-_SEALED : -_SEALED + len(_SEAL)] == _SEAL:
        try:
            return ends[0], int(line[-11:-3], 16)
        except ValueError:
            pass  # damaged, as whoever reads it is told
    return ends[0], zlib.crc32(line)


def _unwritable(path: Path, fault: OSError) -> AutokdError:
    return AutokdError(
        f"the ledger cannot be written: {fault.strerror or fault}",
        where=str(path),
        fix="nothing recorded so far is lost; make room or mend the rights, then go on with autokd resume",
    )
