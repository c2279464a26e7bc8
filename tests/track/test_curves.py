"""Curves out of a ledger, and through the small table."""

from __future__ import annotations

import pytest

from autokd.errors import AutokdError
from autokd.track.curves import Curve, curves_of_run, read_curves, write_curves


def test_only_trials_that_ran_to_their_end_have_a_curve():
    events = [
        {"event": "trial", "trial": "t1", "budget": "a", "budgets": ["a", "b"]},
        {"event": "trial", "trial": "t2", "budget": "b", "budgets": ["b"]},
        {"event": "report", "trial": "t1", "images": 50, "val_top1": 0.4},
        {"event": "report", "trial": "t2", "images": 50, "val_top1": 0.3},
        {"event": "report", "trial": "t1", "images": 100, "val_top1": 0.6},
        {"event": "end", "trial": "t2", "status": "stopped"},
        {"event": "end", "trial": "t1", "status": "done"},
    ]
    assert curves_of_run(events, {"t1": 7, "t2": 8}) == [Curve("t1", ("a", "b"), 7.0, ((50, 0.4), (100, 0.6)))]


def test_the_table_gives_back_what_was_written(tmp_path):
    curves = [Curve("t1", ("a", "b"), 7.0, ((50.0, 0.4), (100.0, 0.6))), Curve("t2", ("b",), 1.0, ((80.0, 0.5),))]
    write_curves(curves, tmp_path / "curves.parquet")
    assert read_curves(tmp_path / "curves.parquet") == curves


@pytest.mark.parametrize("content", [b"", b"no parquet at all"])
def test_another_file_is_told_with_the_way_out(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(AutokdError, match="no table of learning curves"):
        read_curves(tmp_path / "x.parquet")
