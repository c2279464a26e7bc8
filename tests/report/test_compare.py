from __future__ import annotations

import csv
import io

import pytest

from autokd.report.compare import as_csv, as_section, differences
from autokd.report.courses import Course, Point, Told, read_run


def told(run: str, score: float, images: int | None, *, budget: str = "tiny") -> Told:
    point = Point(100, 1.0, score, 1.0, 0.0, 1.0, 0, True)
    one = Course("t0", budget, (budget,), None, "s", "ce", "none", 0.0, {}, {}, {"params": 10.0}, "done", "", (point,))
    return Told(run, [{"name": budget, "params": 50}], {"t0": one}, images=images)


def test_the_interval_of_a_difference_is_the_published_one():
    (found,) = differences(told("one", 56 / 70, 70), told("two", 48 / 80, 80))
    # Newcombe 1998, table II, example (a), method 10: 0.2, 0.0524 to 0.3339
    assert (found.points, found.low, found.high) == pytest.approx((20.0, 5.24, 33.39), abs=0.01)
    (back,) = differences(told("two", 48 / 80, 80), told("one", 56 / 70, 70))
    assert (back.points, back.low, back.high) == pytest.approx((-found.points, -found.high, -found.low))


def test_a_difference_whose_images_cannot_be_counted_has_no_interval():
    one, two = told("one", 0.8, None), told("two", 0.6, 80)
    (found,) = differences(one, two)
    assert found.points == pytest.approx(20.0) and found.low is None and found.high is None
    row = as_section(one, two, [found]).rows[0]
    assert row == ("tiny", "≤ 50 params", "80.00 % s (t0)", "60.00 % s (t0)", "+20.00", "-")


def test_budgets_that_one_run_lacks_and_limits_that_differ_are_told():
    other = told("two", 0.6, 80, budget="huge")
    other.budgets.append({"name": "tiny", "params": 70})
    found = {row.budget: row for row in differences(told("one", 0.8, 70), other)}
    assert found["tiny"].limits == "≤ 50 params against ≤ 70 params" and found["tiny"].other_trial is None
    assert found["huge"].limits == "not in this run against ≤ 50 params" and found["huge"].points is None


def test_as_csv_it_is_read_back(made_run, report_runs, tmp_path):
    found = differences(read_run(made_run), read_run(report_runs.write(tmp_path / "other", 6)))
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [row["budget"] for row in rows] == ["tiny", "small", "any", report_runs.BUDGETS[1]["name"]]
    # 0.70 here; there the best even-numbered full training has ratio 0.5 (trial 6 of 0, 2, 4, 6 is not made): 0.5
    assert float(rows[0]["val_top1"]) == 0.7 and float(rows[0]["points"]) == pytest.approx(20.0)
