"""autokd simulate on a small table of curves."""

from __future__ import annotations

import json

import pytest

from autokd.cli.main import main
from autokd.track.curves import Curve, read_curves, write_curves


@pytest.fixture
def table(tmp_path):
    curves = [
        Curve(f"t{i}", ("nano", "tiny") if i % 2 else ("tiny",), 1.0 + i, ((50.0, 0.3 + i / 100), (100.0, 0.5 + i / 100)))
        for i in range(12)
    ]
    path = tmp_path / "curves.parquet"
    write_curves(curves, path)
    return path


def test_every_scheduler_is_told_with_its_regret(table, capsys):
    main_ends(["simulate", str(table), "--repetitions", "5"], 0)
    told = capsys.readouterr().out
    assert told.startswith("12 recorded curves, 5 searches of each scheduler")
    for name in ("strata", "asha", "mo-asha", "fronts", "none", "first-rung", "regret, nano", "false kills"):
        assert name in told


def test_json_and_a_kept_table(table, capsys, tmp_path):
    keep = tmp_path / "again.parquet"
    main_ends(["simulate", str(table), "--scheduler", "none", "--share", "1", "--json", "--keep", str(keep)], 0)
    (one,) = json.loads(capsys.readouterr().out)
    assert one["scheduler"] == "none" and one["total"] == 0.0 and one["finished"] == 12
    assert read_curves(keep) == read_curves(table)


@pytest.mark.parametrize(
    ("words", "told"), [(["--scheduler", "hyper"], "no scheduler 'hyper'"), (["--rungs", "a,b"], "are no numbers")]
)
def test_bad_words_end_with_2(table, capsys, words, told):
    main_ends(["simulate", str(table), *words], 2)
    assert told in capsys.readouterr().err


def main_ends(words, code):
    with pytest.raises(SystemExit) as ended:
        main(words)
        raise SystemExit(0)
    assert (ended.value.code or 0) == code
