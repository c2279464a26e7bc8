"""Arrow files named by what their content depends on: found, checked, bounded and cleared. Knows nothing of networks."""

from __future__ import annotations

import json
import os
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

from autokd.signals.filling import Columns, Compute, Filling, row_bytes

__all__ = ["Held", "Key", "Store"]

Key = Mapping[str, Any]  # JSON values; two keys that differ anywhere name two files

_STALE = 86_400.0  # seconds after which an unfinished file that nobody touched is taken for abandoned
_SEAL, _DIGITS = b"autokd blake2b ", b"0" * 32  # before and in place of the checksum while it is not known
_TRIES = 4  # a file may be deleted or damaged between its making and its opening; not for ever
_in_use: Counter[str] = Counter()  # files mapped by this process: never deleted by it
_verified: set[tuple[str, int, int]] = set()  # (path, inode, size) whose checksum this process has compared


class Held:
    """A file's columns, mapped: `columns[name]` is a read-only array [rows, width] in the file's own pages."""

    def __init__(self, path: Path, columns: dict[str, np.ndarray]) -> None:
        self.path, self.columns = path, columns
        _in_use[str(path)] += 1
        weakref.finalize(self, _let_go, str(path))


class Store:
    """A folder of at most `max_gb` (10^9 bytes each): what was used longest ago is deleted first."""

    def __init__(self, folder: str | os.PathLike[str], *, max_gb: float = 20.0) -> None:
        self.folder, self.max_bytes = Path(folder).absolute(), int(max_gb * 1e9)

    def path(self, key: Key) -> Path:
        """Where the file of this key lies or will lie."""
        return self.folder / f"{blake2b(_told(key).encode(), digest_size=16).hexdigest()}.arrow"

    def open(self, key: Key, rows: int, columns: Columns) -> Held | None:
        """The file's columns without a copy, or None where it is absent. A damaged or foreign one is deleted with a warning."""
        path = self.path(key)
        try:
            held = Held(path, _read(path, _told(key), rows, columns))
        except FileNotFoundError:
            return None
        except _Unfit as fault:
            warnings.warn(f"{path}: {fault}; it is computed again", RuntimeWarning, stacklevel=2)
            path.unlink(missing_ok=True)
            return None
        try:
            os.utime(path)
        except OSError:  # somebody else's folder: it is read all the same
            pass
        return held

    def fill(self, key: Key, rows: int, columns: Columns, compute: Compute) -> Held:
        """The file's columns, computed where they do not lie there yet: together with whoever else computes them now.

        compute(first, last) gives the columns of the rows first <= row < last. Raises OSError where nothing can be written.
        """
        path = self.path(key)
        for _ in range(_TRIES):
            held = self.open(key, rows, columns)
            if held is not None:
                return held
            try:
                self._make(path, key, rows, columns, compute)
            except FileNotFoundError:  # the folder was cleared meanwhile
                continue
        raise OSError(f"{path} does not keep what is written")

    def _make(self, path: Path, key: Key, rows: int, columns: Columns, compute: Compute) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.make_room(rows * row_bytes(columns))
        with Filling(path.with_suffix(".part"), rows, columns) as filling:
            if filling.complete(compute, path.exists):
                _publish(filling.columns(), path, _told(key))
            filling.discard()

    def make_room(self, size: int) -> None:
        """Delete what was used longest ago until `size` more bytes fit. Raises OSError where they never will."""
        if size > self.max_bytes:
            raise OSError(f"a view takes {size / 1e9:.3g} GB, and max_gb is {self.max_bytes / 1e9:.3g}")
        files = sorted(self._files(), key=lambda file: file[1])
        total = sum(used for _, _, used in files)
        for path, touched, used in files:
            left_over = path.suffix != ".arrow"
            if left_over and time.time() - touched < _STALE or _in_use[str(path)]:
                continue
            if left_over or total + size > self.max_bytes:
                path.unlink(missing_ok=True)
                total -= used

    def info(self) -> dict[str, Any]:
        """Folder, number of files, bytes they take and bytes they may take."""
        files = list(self._files())
        return {
            "folder": self.folder,
            "files": len(files),
            "bytes": sum(used for _, _, used in files),
            "max_bytes": self.max_bytes,
        }

    def clear(self) -> int:
        """Delete every file; what is mapped stays readable to who maps it. Returns the bytes freed."""
        freed = 0
        for path, _, used in self._files():
            path.unlink(missing_ok=True)
            freed += used
        return freed

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        """(path, when last used, bytes on the disk) of what this class has written."""
        for suffix in ("arrow", "part", "aside"):
            for path in self.folder.glob(f"*.{suffix}"):
                try:
                    facts = path.stat()
                except FileNotFoundError:  # another process tidied up
                    continue
                yield path, facts.st_mtime, facts.st_size


class _Unfit(Exception):
    """The file is not what its name says."""


def _told(key: Key) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _let_go(path: str) -> None:
    _in_use[path] -= 1
    if _in_use[path] <= 0:
        del _in_use[path]


def _sealed(data: mmap) -> tuple[set[bytes], bytes, list[int]]:
    """The checksums a file bears, the one it should bear, and where it stands (Arrow writes the schema at both ends).

    It is taken over the whole file with its own digits as zeros, so that nothing is parsed before all is known to be sound:
    Arrow crashes on some damaged frames.
    """
    places = sorted({data.find(_SEAL) + len(_SEAL), data.rfind(_SEAL) + len(_SEAL)})
    if places[0] < len(_SEAL):
        raise _Unfit("the file is damaged or not autokd's (it bears no checksum)")
    digest, last = blake2b(digest_size=16), 0
    with memoryview(data) as view:
        for place in places:
            digest.update(view[last:place])
            digest.update(_DIGITS)
            last = place + len(_DIGITS)
        digest.update(view[last:])
    return {data[place : place + len(_DIGITS)] for place in places}, digest.hexdigest().encode(), places


def _publish(columns: dict[str, np.ndarray], path: Path, key: str) -> None:
    """Write aside, fsync, rename: whoever opens the file sees all of it or none."""
    import pyarrow as pa

    arrays = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        for name, values in columns.items()
    }
    batch = pa.record_batch(list(arrays.values()), names=list(arrays))
    batch = batch.replace_schema_metadata({"key": key, "checksum": _SEAL + _DIGITS})
    aside = path.with_name(f"{path.stem}.{os.getpid()}.aside")
    try:
        with open(aside, "w+b") as file:
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            file.flush()
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                _, digits, places = _sealed(data)
            for place in places:
                file.seek(place)
                file.write(digits)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    _fsync_folder(path.parent)


def _read(path: Path, key: str, rows: int, columns: Columns) -> dict[str, np.ndarray]:
    import pyarrow as pa

    facts = path.stat()
    identity = (str(path), facts.st_ino, facts.st_size)
    if identity not in _verified:
        _verify(path)
        _verified.add(identity)
    try:
        with pa.memory_map(str(path), "r") as source:
            batch = pa.ipc.open_file(source).get_batch(0)
        if (batch.schema.metadata or {}).get(b"key") != key.encode():
            raise _Unfit("the file is of another origin")
        return {name: _values(batch.column(name), rows, *columns[name]) for name in columns}
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise _Unfit(f"the file is not as it should be ({str(error).splitlines()[0]})") from error


def _verify(path: Path) -> None:
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise _Unfit("the file is damaged (it is empty)")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            found, due, _ = _sealed(data)
    if found != {due}:
        raise _Unfit("the file is damaged (its checksum does not agree)")


def _values(column: Any, rows: int, dtype: str, width: int) -> np.ndarray:
    """A column's buffer as it lies in the file. (Arrow's `to_numpy` imports pandas where it is installed.)"""
    import pyarrow as pa

    values, kind = column.values, np.dtype(dtype)
    if values.type != pa.from_numpy_dtype(kind) or len(values) != rows * width or column.null_count or values.null_count:
        raise ValueError(f"{values.type} of {len(values)} where {dtype} of {rows} x {width} is due")
    found = np.frombuffer(values.buffers()[1], kind, len(values), values.offset * kind.itemsize)
    return found.reshape(rows, width)


def _fsync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
