"""Parquet and Arrow files with an image column and a label column, read as one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.decode import Encoded
from autokd.errors import AutokdError, did_you_mean, refused

__all__ = ["Columns", "encode"]

_IMAGE_NAMES = ("image", "img", "image_path", "path", "file_name", "filename", "file")
_BATCH = 512


class Columns:
    """One or more files of one schema: Parquet, Arrow IPC (file or stream) or Feather, told apart by their first bytes.

    Opening reads the schema and the number of rows. Raises AutokdError where a file is missing or is none of these.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self._files = [_open(path) for path in self.paths]
        self._schema = self._files[0].schema
        for path, file in zip(self.paths, self._files, strict=True):
            if file.schema.names != self._schema.names:
                raise AutokdError(f"its columns differ from those of {self.paths[0].name}", where=str(path))
        told = (self._schema.metadata or {}).get(b"huggingface", b"{}")
        try:
            self._features = json.loads(told).get("info", {}).get("features") or {}
        except (ValueError, AttributeError):
            self._features = {}

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self._files)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._schema.names)

    def require(self, name: str, what: str) -> str:
        if name not in self.names:
            raise AutokdError(
                f"there is no column {name!r} for the {what}",
                where=str(self.paths[0]),
                fix=f"columns: {', '.join(self.names)}{did_you_mean(name, self.names)}",
            )
        return name

    def image_column(self, named: str | None = None) -> str:
        """The column of images: `named`, or the one that can only be it. AutokdError where none or several could be."""
        kinds = {field.name: _image_kind(field.type) for field in self._schema}
        if named is not None:
            self.require(named, "images")
            if kinds[named] is None:
                raise AutokdError(
                    f"column {named!r} holds {self._schema.field(named).type}, not images",
                    where=str(self.paths[0]),
                    fix="an image column holds encoded bytes, paths, or struct{bytes, path}",
                )
            return named
        marked = [
            name for name, told in self._features.items() if isinstance(told, dict) and told.get("_type") == "Image"
        ]
        likely = [name for name, kind in kinds.items() if kind in ("struct", "bytes")]
        called = [name for name in _IMAGE_NAMES if kinds.get(name)]
        for candidates in ([name for name in marked if kinds.get(name)], likely, called[:1]):
            if len(candidates) == 1:
                return candidates[0]
        raise AutokdError(
            "which column holds the images is not clear",
            where=str(self.paths[0]),
            fix=f"name it with the option `image`; columns: {', '.join(self.names)}",
        )

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """The names that the file's metadata give to the whole numbers of a label column, if they do."""
        told = self._features.get(column)
        names = told.get("names") if isinstance(told, dict) else None
        return tuple(str(name) for name in names) if names else None

    def values(self, column: str) -> list[Any]:
        """Every value of one column; the other columns are not read."""
        found: list[Any] = []
        for path, file in zip(self.paths, self._files, strict=True):
            with _reading(path):
                for batch in file.batches(column, 65536):
                    found += batch.to_pylist()
        return found

    def images(self, column: str, rows: np.ndarray | None = None, *, batch: int = _BATCH) -> Iterator[Encoded]:
        """(where it stands, its bytes or file, or the fault of having none) of each image, in order.

        rows (ascending) picks some. batch: so many are read at once; with 1, no more of a file than the first image takes.
        """
        wanted = None if rows is None else set(rows.tolist())
        start = 0
        for path, file in zip(self.paths, self._files, strict=True):
            here = 0
            with _reading(path):
                for found in file.batches(column, batch):
                    for offset in range(len(found)):
                        if wanted is None or start + here in wanted:
                            where = f"{path}: row {here}"
                            yield where, _encoded(found[offset].as_py(), path.parent, where)
                        here += 1
            start += here

    def where(self, row: int) -> str:
        """The file and the row in it of a row counted over all files."""
        for path, file in zip(self.paths, self._files, strict=True):
            if row < file.rows:
                return f"{path}: row {row}"
            row -= file.rows
        raise IndexError(row)


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        # unbuffered ahead: the first image of a large row group is had by reading one page
        self.file = pyarrow.parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False)
        self.schema, self.rows = self.file.schema_arrow, self.file.metadata.num_rows

    def batches(self, column: str, size: int) -> Iterator[Any]:
        for batch in self.file.iter_batches(batch_size=size, columns=[column], use_threads=False):
            yield batch.column(column)


class _Arrow:
    def __init__(self, path: Path, stream: bool) -> None:
        import pyarrow

        self.path, self.stream = path, stream
        with pyarrow.memory_map(str(path)) as source:
            if stream:
                reader = pyarrow.ipc.open_stream(source)
                self.schema = reader.schema
                self.rows = sum(batch.num_rows for batch in reader)
            else:
                reader = pyarrow.ipc.open_file(source)
                self.schema = reader.schema
                self.rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))

    def batches(self, column: str, size: int) -> Iterator[Any]:
        import pyarrow

        with pyarrow.memory_map(str(self.path)) as source:
            if self.stream:
                found = iter(pyarrow.ipc.open_stream(source))
            else:
                reader = pyarrow.ipc.open_file(source)
                found = (reader.get_batch(i) for i in range(reader.num_record_batches))
            for batch in found:
                values = batch.column(batch.schema.get_field_index(column))
                for start in range(0, len(values), size):
                    yield values.slice(start, size)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A page that cannot be read, or text in it that is none, said in words."""
    import pyarrow

    try:
        yield
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as fault:
        if told := refused(fault):
            raise AutokdError(f"the file cannot be read: {told}", where=str(path)) from fault
        raise AutokdError(
            f"the file is damaged: {' '.join(str(fault).split())}", where=str(path), fix="copy or download it again"
        ) from fault


def _open(path: Path) -> _Parquet | _Arrow:
    try:
        import pyarrow
    except ImportError:
        raise AutokdError("reading it needs pyarrow", where=str(path), fix="pip install pyarrow") from None
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        return _Parquet(path) if magic[:4] == b"PAR1" else _Arrow(path, stream=magic != b"ARROW1")
    except FileNotFoundError:
        raise AutokdError("there is no such file", where=str(path)) from None
    except (OSError, pyarrow.ArrowException) as fault:
        if told := refused(fault):
            raise AutokdError(f"the file cannot be read: {told}", where=str(path)) from None
        raise AutokdError(f"neither Parquet nor Arrow: {str(fault).splitlines()[0]}", where=str(path)) from None


def _image_kind(kind: Any) -> str | None:
    from pyarrow import types

    if types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        return "struct" if names & {"bytes", "path"} else None
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return "bytes"
    return "path" if types.is_string(kind) or types.is_large_string(kind) else None


def _encoded(value: Any, folder: Path, where: str) -> bytes | Path | AutokdError:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if not value:
        return AutokdError("there is no image", where=where)
    return value if isinstance(value, bytes) else folder / value  # an absolute path stays as it is


def encode(
    values: list[Any], classes: tuple[str, ...] | None, where: str, known: tuple[Any, ...] | None = None
) -> tuple[np.ndarray, tuple[str, ...], tuple[Any, ...]]:
    """Label values to int64 [N], the classes' names, and the values that stand for them, in order.

    Whole numbers with named `classes` are positions in them. Otherwise the classes are the distinct values, sorted (`known`:
    the values of the training part, which a test part has to keep to), and their names are the values as text.
    Raises AutokdError naming the rows of values that are missing or unknown.
    """
    if classes is not None and not isinstance(next((v for v in values if v is not None), 0), str):
        known = tuple(range(len(classes)))
    if known is None:
        kinds = {type(value) for value in values if value is not None}
        if not kinds <= {str} and not kinds <= {int, bool}:
            told = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise AutokdError(f"labels are words or whole numbers, not {told}", where=where)
        known = tuple(sorted({value for value in values if value is not None}))
    position = {value: number for number, value in enumerate(known)}
    labels = np.fromiter((position.get(value, -1) for value in values), dtype=np.int64, count=len(values))
    if (wrong := np.flatnonzero(labels < 0)).size:
        raise _unlabelled(values, wrong.tolist(), where, len(known))
    named = (
        classes if classes is not None and known == tuple(range(len(classes))) else tuple(str(value) for value in known)
    )
    return labels, named, known


def _unlabelled(values: list[Any], rows: list[int], where: str, classes: int) -> AutokdError:
    """Rows without a label, and rows whose label is none of the classes."""
    missing = [row for row in rows if values[row] is None]
    strange = [row for row in rows if values[row] is not None]
    told = []
    if len(missing) == 1:
        told.append(f"row {missing[0]} has no label")
    elif missing:
        told.append(f"{len(missing):,} rows have no label: {_some(missing)}")
    if len(strange) == 1:
        told.append(f"row {strange[0]} has the label {values[strange[0]]!r}, which is none of the classes")
    elif strange:
        names = _some(dict.fromkeys(repr(values[row]) for row in strange))
        told.append(f"{len(strange):,} rows have labels that are none of the classes ({names}): {_some(strange)}")
    return AutokdError("; ".join(told), where=where, fix=f"there are {classes} classes")


def _some(words: Iterable[Any], most: int = 8) -> str:
    told = list(map(str, words))
    return ", ".join(told[:most]) + (f" and {len(told) - most:,} more" if len(told) > most else "")
