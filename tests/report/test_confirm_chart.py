from __future__ import annotations

import csv
import io

import pytest

from autokd.report.chart import csv_text
from autokd.report.confirm_chart import confirmations
from autokd.report.draw_page import plotly
from autokd.report.draw_png import png


def candidate(trial: str, search: float, scores: list[float], **more: object) -> dict:
    mean = sum(scores) / len(scores) if scores else None
    ends = {"low": round(mean - 0.02, 6), "high": round(mean + 0.03, 6)} if mean is not None else {"low": None, "high": None}
    made = {"trial": trial, "student": f"s<{trial}>", "search": search, "seeds": [500_001 + n for n in range(len(scores))],
            "scores": scores, "mean": mean, **ends, "dropped": None}  # fmt: skip
    return {**made, **more}


def told(chosen: str | None = "t1") -> dict:
    out = {"seeds": 2, "leader": "t1", "behind": 0.1, "p": 0.001, "failed": None}
    first, second = candidate("t0", 0.95, [0.9, 0.92]), candidate("t1", 0.94, [0.93, 0.93])
    gain = {"mean": 0.03, "low": 0.01, "high": 0.05}
    control = candidate("-", 0.0, [0.88, 0.92], same=False, gain=gain)
    controls = {"ce": {key: value for key, value in control.items() if key not in ("trial", "search", "dropped")}}
    third, broken = candidate("t2", 0.93, [0.8, 0.8], dropped=out), candidate("t3", 0.92, [], dropped={**out, "seeds": 0})
    budget = {"candidates": [first, second, third, broken], "chosen": chosen, "controls": controls if chosen else {}}
    return {"budgets": {"tiny": budget, "none": {"candidates": [candidate("t9", 0.5, [])], "chosen": None, "controls": {}}}}


def test_each_arm_has_a_line_with_its_mean_its_interval_its_seeds_and_what_the_search_said():
    (chart,) = confirmations(told())  # nothing was trained for the other budget
    assert (chart.key, chart.tab) == ("confirmed-0", "tiny")
    assert chart.y.names == ("t0 s<t0>", "t1 s<t1>", "t2 s<t2>", "t3 s<t3>", "ce s<->")
    series = {one.name: one for one in chart.series}
    chosen, other, dropped, control = (
        series[name] for name in ("chosen: mean of fresh seeds", "candidate", "candidate that was dropped", "control")
    )
    assert (other.ys, chosen.ys, dropped.ys, control.ys) == ((0.0,), (1.0,), (2.0,), (4.0,))
    assert [*other.xs, *chosen.xs, *dropped.xs, *control.xs] == pytest.approx([91, 93, 80, 90])
    assert [*chosen.low, *chosen.high] == pytest.approx([91, 96]) and chosen.across
    assert "+3.00 (+1.00 to +5.00) points" in control.notes[0]
    ring = series["the search said"]
    assert ring.symbol == "circle-open" and ring.xs == pytest.approx((95, 94, 93, 92)) and ring.ys == (0, 1, 2, 3)
    seeds = series["one seed"]
    assert seeds.xs == pytest.approx((90, 92, 93, 93, 80, 80, 88, 92))
    assert len(set(zip(seeds.xs, seeds.ys, strict=True))) == 8  # equal seeds do not hide each other
    assert all(0 < y - round(y - 0.3) < 0.5 for y in seeds.ys)  # below their own line, above the next one's


def test_the_data_behind_it_has_a_row_a_seed():
    (chart,) = confirmations(told())
    rows = list(csv.DictReader(io.StringIO(csv_text(chart.columns, chart.rows))))
    assert [row["arm"] for row in rows] == ["t0", "t0", "t1", "t1", "t2", "t2", "t3", "ce", "ce"]
    assert [row["kind"] for row in rows][1::2] == ["candidate", "chosen", "dropped", "control"]
    assert rows[3] == {
        **{"budget": "tiny", "arm": "t1", "kind": "chosen", "student": "s<t1>", "chosen": "True", "dropped_after": ""},
        **{"search_val_top1": "0.94", "mean": "0.93", "low": "0.91", "high": "0.96", "seed": "500002", "val_top1": "0.93"},
    }
    assert rows[6]["seed"] == rows[6]["mean"] == "" and rows[7]["search_val_top1"] == "" and rows[4]["dropped_after"] == "2"


def test_the_page_and_the_picture_draw_intervals_along_the_accuracy():
    (chart,) = confirmations(told())
    traces = plotly(chart)["data"]
    (star,) = [one for one in traces if one["name"].startswith("chosen")]
    assert "error_y" not in star and star["error_x"]["array"] == pytest.approx([3])
    assert star["error_x"]["arrayminus"] == pytest.approx([2])
    assert all("<t" not in str(one) for one in traces)  # names are escaped
    assert png(chart).startswith(b"\x89PNG")


def test_without_a_choice_or_a_confirmation_there_is_what_there_is():
    (chart,) = confirmations(told(chosen=None))
    assert "chosen: mean of fresh seeds" not in {one.name for one in chart.series}
    assert confirmations(None) == [] and confirmations({"budgets": {}}) == []
    assert "confirm again" in confirmations(told(), stale=["tiny"])[0].says and "confirm again" not in chart.says
