"""The result table: trials.parquet, a folder of parts that any Parquet reader can open while the search runs.

A row is one (trial, rung). Rows are only ever added; a later row for the same trial and rung replaces the earlier one when
the table is read by `read_table`, and parts are merged as they gather (each row about log8(rows) times), so that an
append costs the same in a search of ten trials and of ten thousand.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError
from autokd.track.ledger import sync_folder

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "Table", "empty_table", "read_table", "rows_to_table"]

FOLDER = "trials.parquet"
_FANOUT = 8

# name: Arrow type. `status` is the trial's, on each of its rows; a failed trial's `reason` says why.
COLUMNS: dict[str, str] = {
    "trial": "string",
    "rung": "int32",
    "status": "string",
    "budget": "string",
    "teacher": "string",
    "student": "string",
    "method": "string",
    "policy": "string",
    "ratio": "float64",
    "seed": "int64",
    "epochs": "float64",
    "images": "int64",
    "val_top1": "float64",
    "val_loss": "float64",
    "train_loss": "float64",
    "macs": "int64",
    "params": "int64",
    "file_size": "int64",  # bytes
    "memory": "int64",  # bytes of one inference
    "latency_ms": "float64",  # under the first conditions that a budget names
    "latencies": "string",  # JSON: ms by conditions
    "seconds": "float64",
    "teacher_seconds": "float64",
    "signal_hits": "int64",  # the teacher's answers that lay in kept files
    "signal_misses": "int64",  # and those that were computed for this trial
    "precision": "string",  # what the student was trained in: float32, tf32 or bf16
    "final": "bool",  # measured at full length
    "reason": "string",
    "checkpoint": "string",
    "config": "string",
    "version": "int64",  # a later row for the same trial and rung has a larger one
}


class Table:
    """The writer. Rows gather in memory until `flush`, which `append` calls at most once every `every` seconds."""

    def __init__(self, run: str | os.PathLike[str], *, every: float = 1.0) -> None:
        self.folder = Path(run) / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self.every = every
        self._rows: list[dict[str, Any]] = []
        self._flushed = 0.0
        for stray in self.folder.glob(".*"):
            stray.unlink(missing_ok=True)
        self._parts = sorted(path.name for path in self.folder.glob("*.parquet"))
        self._next = 1 + max((_number(name) for name in self._parts), default=-1)
        self._version = 1 + max((_last_version(self.folder / name) for name in self._parts), default=-1)

    def append(self, *rows: dict[str, Any]) -> None:
        for row in rows:
            self._rows.append({**row, "version": self._version})
            self._version += 1
        if time.monotonic() - self._flushed >= self.every:
            self.flush()

    def flush(self) -> None:
        """Put every row on the disk, as one small part."""
        if not self._rows:
            return
        self._write(0, rows_to_table(self._rows))
        self._rows = []
        self._flushed = time.monotonic()
        level = 0
        while len(found := [name for name in self._parts if name.startswith(f"{level}-")]) >= _FANOUT:
            self._merge(level + 1, found)
            level += 1

    def compact(self) -> None:
        """One part with one row for each (trial, rung), whatever was written before."""
        self.flush()
        if self._parts and (len(self._parts) > 1 or not self._parts[0].startswith("9-")):
            self._merge(9, list(self._parts))

    def clear(self) -> None:
        """Forget every row: the table is about to be rebuilt."""
        self._rows = []
        for name in self._parts:
            (self.folder / name).unlink(missing_ok=True)
        self._parts = []

    def close(self) -> None:
        self.flush()

    def _merge(self, level: int, names: list[str]) -> None:
        import pyarrow as pa

        merged = _newest(pa.concat_tables([_read_part(self.folder / name) for name in names]))
        self._write(level, merged)  # a reader who sees old and new parts together drops the repeated rows
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        self._parts = [name for name in self._parts if name not in set(names)]

    def _write(self, level: int, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        name = f"{level}-{self._next:08d}-.parquet"
        aside = self.folder / f".{name}"
        try:
            pq.write_table(table, aside, compression="zstd", write_page_checksum=True)
            with open(aside, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(aside, self.folder / name)
        except OSError as fault:
            aside.unlink(missing_ok=True)
            raise AutokdError(
                f"the result table cannot be written: {fault.strerror or fault}",
                where=str(self.folder),
                fix="the ledger has all of it; make room, then go on with autokd resume",
            ) from fault
        sync_folder(self.folder)
        self._next += 1
        self._parts.append(name)


def read_table(run: str | os.PathLike[str]) -> pa.Table:
    """The table of a run folder (or of a trials.parquet itself), one row a (trial, rung), in the order of the trials.

    Safe while a search writes it. Raises AutokdError where there is none.
    """
    import pyarrow as pa

    folder = Path(run)
    if folder.name != FOLDER and not folder.is_file():
        folder = folder / FOLDER
    if folder.is_file():
        return _newest(_read_part(folder))
    if not folder.is_dir():
        raise AutokdError(
            "no result table here", where=str(folder), fix="name a run folder, as in runs/<name>-<date>-<id>"
        )
    for _ in range(20):
        try:
            parts = [_read_part(path) for path in sorted(folder.glob("[0-9]*.parquet"))]
            return _newest(pa.concat_tables(parts)) if parts else empty_table()
        except FileNotFoundError:  # merged between the listing and the reading
            continue
    raise AutokdError("the result table keeps changing", where=str(folder), fix="try again")


def rows_to_table(rows: list[dict[str, Any]]) -> pa.Table:
    return _schema().empty_table() if not rows else _from_rows(rows)


def empty_table() -> pa.Table:
    return _schema().empty_table()


def _from_rows(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    schema = _schema()
    return pa.table({name: pa.array([row.get(name) for row in rows], schema.field(name).type) for name in COLUMNS})


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, getattr(pa, kind + "_" if kind == "bool" else kind)()) for name, kind in COLUMNS.items()])


def _read_part(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing and (other := set(table.column_names) - set(COLUMNS)):  # older and newer at once: a name was damaged
            raise ValueError(f"it has a column {min(other)!r} in the place of {missing[0]!r}")
        for name in missing:
            table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
        return table.select(list(COLUMNS)).cast(schema)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as fault:  # whatever damaged bytes make of the reader
        said = " ".join(str(fault).split())[:160]
        raise AutokdError(
            f"this part of the result table is damaged ({said})", where=str(path), fix="rebuild it: autokd resume"
        ) from fault


def _newest(table: pa.Table) -> pa.Table:
    """The last row of each (trial, rung), by version, sorted by trial and rung."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(table) < 2:
        return table
    table = table.sort_by([("trial", "ascending"), ("rung", "ascending"), ("version", "ascending")])
    trials, rungs = (table[name].combine_chunks() for name in ("trial", "rung"))  # not in numpy: pyarrow imports pandas for that
    repeated = pc.and_(pc.equal(trials[:-1], trials[1:]), pc.equal(rungs[:-1], rungs[1:]))
    last = pa.concat_arrays([pc.invert(repeated), pa.array([True])])
    return table.filter(last)


def _number(name: str) -> int:
    """Of a part, from its name; -1 for a file that is no part of ours."""
    _, _, rest = name.partition("-")
    digits = rest.partition("-")[0]
    return int(digits) if digits.isdecimal() else -1


def _last_version(path: Path) -> int:
    """-1 where the part is damaged: it is about to be rebuilt."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            newest = pc.max(file.read(columns=["version"])["version"]).as_py()
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return -1
    return newest if isinstance(newest, int) and 0 <= newest < 2**62 else -1
