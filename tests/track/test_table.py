from __future__ import annotations

import time

import pyarrow.parquet as pq
import pytest

from autokd.errors import AutokdError
from autokd.track.table import COLUMNS, Table, empty_table, read_table

DESIGN = """trial rung status budget teacher student method policy ratio seed epochs images val_top1 macs params seconds
config""".split()


def row(trial, rung=0, **more):
    return {"trial": trial, "rung": rung, "status": "running", "images": 100 * (rung + 1), **more}


def test_it_has_the_columns_that_are_promised():
    assert set(DESIGN) <= set(COLUMNS)
    types = {field.name: str(field.type) for field in empty_table().schema}
    assert (types["trial"], types["rung"], types["images"], types["val_top1"]) == ("string", "int32", "int64", "double")


def test_a_later_row_for_the_same_trial_and_rung_takes_its_place(tmp_path):
    table = Table(tmp_path, every=0)
    table.append(row("a"))
    table.append(row("b"), row("a", 1))
    table.append(row("a", status="done"), row("a", 1, status="done"))
    read = read_table(tmp_path).to_pylist()
    assert [(r["trial"], r["rung"], r["status"]) for r in read] == [
        ("a", 0, "done"),
        ("a", 1, "done"),
        ("b", 0, "running"),
    ]


def test_it_can_be_read_by_any_parquet_reader_and_while_it_is_written(tmp_path):
    table = Table(tmp_path, every=0)
    for number in range(40):
        table.append(row(f"t{number:03d}"))
        read = read_table(tmp_path)
        assert len(read) == number + 1
        assert read.column_names == list(COLUMNS)
    foreign = pq.ParquetDataset(tmp_path / "trials.parquet").read()
    assert {value.as_py() for value in foreign["trial"]} == {f"t{n:03d}" for n in range(40)}


def test_a_part_once_written_is_never_changed_and_what_an_append_writes_stays_small(tmp_path, monkeypatch):
    """Over 200 appends each row is written anew at most once a merge level: log8(200) < 3 times, and at first."""
    written = []
    whole = Table._write
    monkeypatch.setattr(
        Table, "_write", lambda self, level, rows: (written.append(len(rows)), whole(self, level, rows))
    )
    table = Table(tmp_path, every=0)
    seen: dict[str, tuple[int, int]] = {}
    for number in range(200):
        table.append(row(f"t{number:04d}"))
        for path in (tmp_path / "trials.parquet").glob("*.parquet"):
            stat = path.stat()
            assert seen.setdefault(path.name, (stat.st_mtime_ns, stat.st_size)) == (stat.st_mtime_ns, stat.st_size)
    assert sum(written) <= 4 * 200
    assert len(list((tmp_path / "trials.parquet").glob("*.parquet"))) < 3 * 8
    assert len(read_table(tmp_path)) == 200


def test_rows_wait_in_memory_no_longer_than_they_are_told_to(tmp_path):
    table = Table(tmp_path, every=0.05)
    table.append(row("a"))
    table.append(row("b"))
    time.sleep(0.06)
    table.append(row("c"))
    assert read_table(tmp_path)["trial"].to_pylist() == ["a", "b", "c"]


def test_compact_leaves_one_part_with_the_same_rows(tmp_path):
    table = Table(tmp_path, every=0)
    for number in range(20):
        table.append(row(f"t{number % 7}", status=str(number)))
    before = read_table(tmp_path)
    table.compact()
    assert len(list((tmp_path / "trials.parquet").glob("*.parquet"))) == 1
    assert read_table(tmp_path).equals(before)
    again = Table(tmp_path, every=0)  # a later session goes on above the versions of this one
    again.append(row("t0", status="last"))
    assert read_table(tmp_path).filter([True] + [False] * 6)["status"].to_pylist() == ["last"]


def test_a_part_that_was_being_written_when_the_process_died_is_swept(tmp_path):
    folder = tmp_path / "trials.parquet"
    folder.mkdir()
    (folder / ".0-00000000-.parquet").write_bytes(b"PAR1")
    assert len(read_table(tmp_path)) == 0
    Table(tmp_path)
    assert list(folder.iterdir()) == []


def test_a_damaged_part_is_named(tmp_path):
    Table(tmp_path, every=0).append(row("a"))
    part = next((tmp_path / "trials.parquet").glob("*.parquet"))
    part.write_bytes(b"no parquet")
    with pytest.raises(AutokdError, match="damaged") as fault:
        read_table(tmp_path)
    assert part.name in str(fault.value)


def test_a_flipped_bit_of_a_part_is_told_and_never_read_as_a_number(tmp_path):
    table = Table(tmp_path, every=0)
    table.append(*(row(f"t{n:05d}") for n in range(50)))
    part = next((tmp_path / "trials.parquet").glob("*.parquet"))
    whole, good = part.read_bytes(), read_table(tmp_path)
    told = 0
    for at in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        part.write_bytes(damaged)
        try:
            found = read_table(tmp_path)
        except AutokdError as fault:
            assert part.name in str(fault)
            told += 1
        else:  # a byte of the footer that nobody reads
            assert found.equals(good)
    assert told > len(whole) / 37 / 2


def test_a_column_whose_name_was_damaged_is_not_taken_for_one_that_an_older_table_lacks(tmp_path):
    Table(tmp_path, every=0).append(row("a", val_top1=0.5))
    part = next((tmp_path / "trials.parquet").glob("*.parquet"))
    old = pq.read_table(part).drop_columns(["val_top1"])
    pq.write_table(old, part)
    assert read_table(tmp_path)["val_top1"].to_pylist() == [None]
    pq.write_table(old.append_column("val_tmp1", [[0.5]]), part)
    with pytest.raises(AutokdError, match="it has a column 'val_tmp1' in the place of 'val_top1'"):
        read_table(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1", None])
def test_damaged_parts_and_foreign_files_are_rebuilt_by_whoever_writes_next(tmp_path, content):
    Table(tmp_path, every=0).append(row("a"))
    part = next((tmp_path / "trials.parquet").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-20] if content is None else content)
    (tmp_path / "trials.parquet" / "9-mine.parquet").write_bytes(b"")
    table = Table(tmp_path, every=0)  # as a resume does
    table.clear()
    table.append(row("b"))
    assert read_table(tmp_path)["trial"].to_pylist() == ["b"]


def test_where_there_is_no_table_that_is_said(tmp_path):
    with pytest.raises(AutokdError, match="no result table"):
        read_table(tmp_path)
