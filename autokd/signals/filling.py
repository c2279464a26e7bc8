"""An unfinished file that several processes complete together, chunk by chunk, each chunk computed once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["CHUNK", "Columns", "Compute", "Filling", "row_bytes"]

Columns = Mapping[str, tuple[str, int]]  # name -> (numpy dtype, width)
Compute = Callable[[int, int], Mapping[str, np.ndarray]]  # (first, last) -> the columns of these rows

CHUNK = 512  # rows: the unit of work. Part of every key, as the last bits of an answer depend on the batch it was in
_MARK = 16  # bytes of the digest that stands for a finished chunk; all zero: not finished
_LOOK = 0.05  # seconds between looks at what another process is computing
_PATIENCE = 120.0  # seconds without anybody's progress after which its chunk is computed here as well


def row_bytes(columns: Columns) -> int:
    return sum(np.dtype(dtype).itemsize * width for dtype, width in columns.values())


class Filling:
    """`path` holds the columns one after the other, then a digest for each finished chunk.

    A chunk is claimed by a lock on its own byte, which the kernel lifts when its holder dies; a killed process costs the
    chunk it was at, and the next one goes on from there. Writing is by pwrite: a full disk is an error, not a signal.
    """

    def __init__(self, path: Path, rows: int, columns: Columns) -> None:
        if fcntl is None:
            raise OSError("this system has no locks on parts of a file")
        self.path, self.rows = path, rows
        self._columns = dict(columns)
        self._chunks = -(-rows // CHUNK)
        self._offsets, offset = {}, 0
        for name, (dtype, width) in columns.items():
            self._offsets[name] = offset
            offset += rows * width * np.dtype(dtype).itemsize
        self._marks, self._size = offset, offset + self._chunks * _MARK
        self._done: set[int] = set()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._file).st_size != self._size:
            os.ftruncate(self._file, self._size)

    def __enter__(self) -> Filling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)  # and with it all locks

    def complete(self, compute: Compute, published: Callable[[], bool], patience: float = _PATIENCE) -> bool:
        """Compute what is missing, waiting for what others compute. True: it is now ours to publish; False: it is published.

        Raises OSError where the disk is full.
        """
        since, left = time.monotonic(), -1
        while True:
            missing = [chunk for chunk in range(self._chunks) if not self._finished(chunk)]
            if published():
                return False
            if not missing:
                if self._claim(self._chunks):
                    return not published()
            else:
                chunk = next((chunk for chunk in missing if self._claim(chunk)), None)
                if chunk is not None:
                    if not self._finished(chunk):  # between the look and the claim another may have finished it
                        self._write(chunk, compute)
                    self._release(chunk)
                    continue
            if len(missing) != left:
                since, left = time.monotonic(), len(missing)
            if time.monotonic() - since > patience:
                if not missing:
                    return True
                self._write(missing[0], compute)
            else:
                time.sleep(_LOOK)

    def columns(self) -> dict[str, np.ndarray]:
        """The finished columns, [rows, width] each, mapped. (Not opened by name: closing that would lift the locks.)"""
        data = mmap(self._file, self._size, access=ACCESS_READ)
        return {
            name: np.frombuffer(data, dtype, self.rows * width, self._offsets[name]).reshape(self.rows, width)
            for name, (dtype, width) in self._columns.items()
        }

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)

    def _places(self, chunk: int) -> list[tuple[str, int, int]]:
        """(column, offset, bytes) of a chunk."""
        first, last = chunk * CHUNK, min(self.rows, (chunk + 1) * CHUNK)
        places = []
        for name, (dtype, width) in self._columns.items():
            row = np.dtype(dtype).itemsize * width
            places.append((name, self._offsets[name] + first * row, (last - first) * row))
        return places

    def _write(self, chunk: int, compute: Compute) -> None:
        values = compute(chunk * CHUNK, min(self.rows, (chunk + 1) * CHUNK))
        digest = blake2b(digest_size=_MARK)
        for name, offset, size in self._places(chunk):
            dtype, _ = self._columns[name]
            data = np.ascontiguousarray(values[name], dtype).tobytes()
            if len(data) != size:
                raise ValueError(f"{len(data)} bytes for {name}, where {size} are due")
            digest.update(data)
            _write_all(self._file, data, offset)
        _write_all(self._file, digest.digest(), self._marks + chunk * _MARK)

    def _finished(self, chunk: int) -> bool:
        if chunk in self._done:
            return True
        mark = os.pread(self._file, _MARK, self._marks + chunk * _MARK)
        if not any(mark):
            return False
        digest = blake2b(digest_size=_MARK)
        for _, offset, size in self._places(chunk):
            digest.update(os.pread(self._file, size, offset))
        if digest.digest() == mark:
            self._done.add(chunk)
        return chunk in self._done

    def _claim(self, chunk: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, chunk)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks: work may be done twice
            return True
        return True

    def _release(self, chunk: int) -> None:
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, chunk)


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done
