from __future__ import annotations

import math

import pytest

from autokd.report import run_charts
from autokd.report.chart import csv_text
from autokd.report.courses import read_run
from autokd.track.recorder import Recorder


def series(chart, name):
    return next(one for one in chart.series if one.name == name)


def test_the_front_is_the_best_at_no_more_cost_with_limits_and_winners(made_run):
    macs, params = run_charts.fronts(read_run(made_run))
    front = series(params, "front")
    assert list(zip(front.xs, front.ys)) == [(20_000, 70.0), (80_000, 90.0), (300_000, 90.0)]  # on to the costliest trial
    assert sorted(series(params, "finished trial").ys) == [70.0, 80.0, 90.0]
    assert [(line.at, line.text) for line in params.lines] == [(25_000, "tiny"), (90_000, "small")]
    assert macs.lines == ()  # no budget limits MACs
    chosen = series(params, "best of a budget")
    assert [note.splitlines()[-1] for note in chosen.notes] == ["best of tiny", "best of small, any"]
    assert [row[-2:] for row in params.rows] == [(True, "tiny"), (True, "small, any"), (False, "")]


def test_curves_have_every_report_the_rung_and_the_stop(made_run):
    (chart,) = run_charts.curves(read_run(made_run))
    assert len(chart.rows) == 3 * 2 + 1 and [(line.at, line.text) for line in chart.lines] == [(1000, "rung 0")]
    stop = series(chart, "stopped here")
    assert (stop.xs, stop.ys, stop.notes) == ((1000.0,), (40.0,), ("t00003: rung 0: behind",))


def test_many_trials_are_drawn_in_part_and_all_of_them_kept_in_the_data(report_runs, tmp_path):
    (chart,) = run_charts.curves(read_run(report_runs.write(tmp_path / "run", 310)))
    drawn = sum(one.xs.count(None) for one in chart.series if one.form == "line")
    assert 150 <= drawn <= 153 and f"{drawn} of 310 trials are drawn" in chart.says
    assert len({row[0] for row in chart.rows}) == 310


def test_a_score_stands_at_its_ratio_and_its_temperature(report_runs, tmp_path):
    ratio, temperature, policy = run_charts.knobs(read_run(report_runs.write(tmp_path / "run", 8)))
    kd = series(ratio, "kd")  # trials 1, 4 and 7 ended under kd; trial 5 has no policy, and was stopped besides
    assert dict(zip(kd.xs, kd.ys)) == pytest.approx({0.25: 65.0, 0.0: 50.0, 0.75: 75.0})
    hollow = series(temperature, "kd, at its last rung")  # 2 and 5 were stopped: temperature 1 + number mod 7
    assert dict(zip(hollow.xs, hollow.ys)) == pytest.approx({3.0: 50.0, 6.0: 55.0})
    assert policy.x.names == tuple(sorted(["none", report_runs.NASTY]))


def test_pairs_hold_the_best_of_each_teacher_and_student(made_run):
    (chart,) = run_charts.matrix(read_run(made_run))
    assert (chart.heat.rows, chart.heat.columns) == (("big", "no teacher"), ("resnet8x0.5", "resnet8", "resnet8x2"))
    assert chart.heat.values == ((70.0, 90.0, None), (None, None, 80.0))


def test_rungs_agree_with_the_end_as_spearman_says(made_run):
    told = read_run(made_run)
    every = run_charts.agreements(told)[0]
    # 0.5, 0.6, 0.55 at the rung and 0.7, 0.9, 0.8 at the end: the same order
    assert (every.rung, every.epochs, every.budget, every.pairs, every.rho) == (0, 1.0, "", 3, pytest.approx(1.0))
    assert math.isnan(every.low)  # three pairs have no interval
    (chart,) = run_charts.rungs(told)
    assert dict(zip(chart.series[0].ys, chart.series[0].xs)) == pytest.approx({70.0: 50.0, 80.0: 55.0, 90.0: 60.0})


def test_progress_is_the_best_so_far_and_the_height_of_the_front(made_run):
    by_time, by_views, by_training = run_charts.progress(read_run(made_run))
    assert series(by_views, "any").xs == (2000, 4000, 6000) and series(by_views, "any").ys == (70.0, 90.0, 90.0)
    assert series(by_training, "tiny").xs == (6.0, 12.0, 18.0) and series(by_training, "tiny").ys == (70.0,) * 3
    assert series(by_views, "small").ys[0] == 70.0  # what keeps a tighter limit keeps a looser one
    # MACs from 1,000 to 32,000, five doublings: 70 all the way, then 70 for two of them and 90 for three
    assert series(by_views, "height of the front").ys == pytest.approx((70.0, 82.0, 82.0))
    assert by_time.x.title.endswith("s")


def test_importance_is_told_for_a_budget_or_why_not(report_runs, tmp_path, made_run):
    charts, silent = run_charts.weights(read_run(made_run))
    assert charts == [] and [name for name, _ in silent] == ["tiny", "small", "any"]
    charts, silent = run_charts.weights(read_run(report_runs.write(tmp_path / "run", 60)))
    # all sixty reached rung 0, where the ratio decides: it has the size in it
    assert charts[-1].tab == report_runs.BUDGETS[1]["name"] and "60 trials at rung 0" in charts[-1].says
    shares = {row[1]: row[2] for row in charts[-1].rows}
    assert shares["ratio"] > 0.5 and abs(shares["method"]) < 0.1


def test_time_is_told_for_a_million_views_and_the_teachers_part_of_it(report_runs, tmp_path):
    (chart,) = run_charts.cost(read_run(report_runs.write(tmp_path / "run", 4)))
    assert set(series(chart, "taught: all of it").ys) == {10_000.0}  # a second for a hundred views
    asked = series(chart, "the teacher's answers")
    assert dict(zip(asked.xs, asked.ys)) == {1.0: 1000.0, 2.0: 0.0}  # 2 s of 2000 views; trials 0 and 3 have no teacher


def test_kept_answers_are_told_of_each_trial_and_over_the_search(tmp_path):
    told = [(0, 400), (300, 100), (0, 0), (200, 0)]  # the third has no teacher
    (tmp_path / "run").mkdir()
    recorder = Recorder(tmp_path / "run")
    recorder.emit({"event": "begin", "run": "run", "name": "made", "budgets": [{"name": "all", "params": 9}], "seed": 0})
    for number, (hits, misses) in enumerate(told):
        recorder.emit({"event": "trial", "trial": f"t{number}", "budget": "all", "student": "s", "method": "kd", "policy": "p",
                       "teacher": "big" if hits + misses else None})  # fmt: skip
        recorder.emit({"event": "report", "trial": f"t{number}", "images": 400, "val_top1": 0.5, "mark": 0, "rung": 0,
                       "signal_hits": hits, "signal_misses": misses})  # fmt: skip
    recorder.close()
    (chart,) = run_charts.cost(read_run(tmp_path / "run"))
    assert series(chart, "of each trial").xs == (0.0, 1.0, 3.0)
    assert series(chart, "of each trial").ys == (0.0, 75.0, 100.0)
    assert series(chart, "over the search so far").ys == (0.0, 37.5, 50.0)  # 300 of 800, 500 of 1000
    assert "Of the 1 k answers" in chart.says and "50% lay in kept files" in chart.says


def test_a_cell_is_no_formula():
    assert csv_text(("a", "b"), [("=1+1", -1.5), (None, "x,y")]) == "a,b\n'=1+1,-1.5\n,\"x,y\"\n"
