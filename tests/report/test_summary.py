from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from autokd.config.limits import Budget, Deployment
from autokd.errors import AutokdError
from autokd.report.summary import FORMATS, limits_of, render, sections, summarise
from autokd.report.words import amount, cost, duration, percent
from autokd.track.ledger import Ledger


def test_each_budget_has_the_most_accurate_finished_trial_that_fits_it(made_run: Path):
    summary = summarise(made_run)
    # t00002 fits `any` too, but the cheaper t00001 is better: a looser budget's best is never worse
    assert {name: pick.trial for name, pick in summary.best.items() if pick} == {
        "tiny": "t00000",
        "small": "t00001",
        "any": "t00001",
    }


def test_the_front_holds_what_nothing_cheaper_equals(made_run: Path):
    assert [pick.trial for pick in summarise(made_run).front] == ["t00000", "t00001"]


def test_passed_over_are_the_next_best_with_their_distance_in_points(made_run: Path):
    passed = summarise(made_run).passed_over
    assert [(pick.trial, pytest.approx(pick.gap)) for pick in passed["any"]] == [("t00002", 10.0), ("t00000", 20.0)]
    assert passed["tiny"] == ()


def test_teachers_stand_with_their_calibration_and_cost(made_run: Path):
    event = {"event": "teacher", "teacher": "wide", "val_top1": 0.96, "ece": 0.031, "params": 2_130_000, "macs": 3.21e8}
    with Ledger(made_run / "ledger.jsonl") as ledger:
        ledger.append({**event, "time": 0.0, "elapsed": 1.0, "trained": True, "policy": "jda_cifar10"})
    lines = [" ".join(line.split()) for line in render(summarise(made_run), "table").splitlines()]
    assert "wide 96.00 % 3.10 % 2.13 M 321 M trained with jda_cifar10" in lines
    assert "big 95.00 % - - - trained here" in lines  # a ledger from before


def test_a_budget_without_a_finished_trial_shows_the_best_under_way(tmp_path: Path):
    from autokd.track.recorder import Recorder

    (tmp_path / "space.yaml").write_text("name: x\n", encoding="utf-8")
    recorder = Recorder(tmp_path)
    budgets = [{"name": "tiny", "params": 50}, {"name": "small", "params": 90}, {"name": "none", "params": 1}]
    recorder.emit({"event": "begin", "run": "r", "name": "r", "budgets": budgets, "seed": 0})
    trials = [("a", 40, 0.4, None), ("b", 45, 0.6, None), ("c", 80, 0.5, "done"), ("d", 45, 0.9, "stopped")]
    for trial, params, score, ends in trials:
        facts = {"student": "s", "teacher": None, "method": "ce", "policy": "none", "ratio": 0.0, "seed": 0, "macs": 1}
        recorder.emit({"event": "trial", "trial": trial, "budget": "small", "params": params, "config": {}, **facts})
        recorder.emit({"event": "report", "trial": trial, "rung": 0, "images": 9, "epochs": 1.0, "val_top1": score})
        if ends:
            recorder.emit({"event": "end", "trial": trial, "status": ends})
    recorder.close()
    summary = summarise(tmp_path)
    assert {name: pick.trial for name, pick in summary.leading.items()} == {"tiny": "b"}  # d was stopped; small has c
    assert summary.best["tiny"] is None and summary.best["small"] is not None and summary.best["small"].trial == "c"
    assert "60.00 % so far" in render(summary, "table")


def test_failures_say_why(made_run: Path):
    assert [(f["trial"], f["reason"]) for f in summarise(made_run).failures] == [
        ("t00004", "the loss is not finite at step 3 of 10")
    ]


def test_counts_state_and_images(made_run: Path):
    summary = summarise(made_run)
    assert (summary.state, summary.reason) == ("finished", "5 trials")
    assert summary.counts == {"running": 0, "done": 3, "stopped": 1, "failed": 1}
    assert summary.images == 3 * 2000 + 1000


def test_every_format_names_every_winner(made_run: Path):
    summary = summarise(made_run)
    for form in FORMATS:
        text = render(summary, form)
        assert "t00000" in text and "t00001" in text and "resnet8x0.5" in text


def test_json_is_json_and_csv_has_as_many_cells_in_every_row(made_run: Path):
    summary = summarise(made_run)
    assert json.loads(render(summary, "json"))["best"]["tiny"]["val_top1"] == 0.7
    rows = list(csv.reader(io.StringIO(render(summary, "csv"))))
    assert len({len(row) for row in rows}) == 1
    assert [row[:3] for row in rows[1:4]] == [
        ["best", "tiny", "t00000"],
        ["best", "small", "t00001"],
        ["best", "any", "t00001"],
    ]


def test_where_no_image_was_held_out_every_finished_training_is_listed_and_none_is_the_best(make_run, tmp_path: Path):
    told = summarise(make_run(tmp_path / "run", scored=False))
    assert told.select == "last" and told.best == {"tiny": None, "small": None, "any": None}
    assert told.front == () and not any(told.passed_over.values()) and told.leading == {}
    assert {name: list(some) for name, some in told.finished.items()} == {
        "tiny": ["tiny"],
        "small": ["small-t00000", "small-t00001"],
        "any": ["any-t00000", "any-t00001", "any-t00002"],
    }
    first, *rest = sections(told)
    assert first.title == "Finished trainings: none is the best, no image was held out (search.select: last)"
    assert [row[0] for row in first.rows] == ["tiny", "small-t00000", "small-t00001", "any-t00000", "any-t00001", "any-t00002"]
    assert [one.title for one in rest] == ["Failed", "Teachers, not measured: no image was held out"]
    found = json.loads(render(told, "json"))
    assert found["finished"]["tiny"]["tiny"]["val_top1"] is None
    assert all("%" not in cell for one in sections(told) for row in one.rows for cell in row)  # no score of any kind


def test_an_unknown_format_is_refused(made_run: Path):
    with pytest.raises(AutokdError, match="no format"):
        render(summarise(made_run), "xml")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(AutokdError):
        summarise(tmp_path)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (7, "7"), (999, "999"), (999.6, "1 k"), (1000, "1 k"), (278_324, "278 k"), (41_290_000, "41.3 M")],
)
def test_amounts_have_three_digits(number: float, words: str):
    assert amount(number) == words


def test_words_for_what_is_not_known():
    assert (amount(None), percent(None), percent(float("nan")), duration(float("nan"))) == ("-", "-", "-", "-")
    assert (duration(59.6), duration(75), duration(4000)) == ("1:00", "1:15", "1:06:40")


def confirmation(chosen: str | None, **more: object) -> dict[str, object]:
    """Of the budget `any`: t00001 (searched at 90 %) and t00002 (at 80 %), trained again with two seeds."""
    gap = {"mean": 0.01, "low": -0.01, "high": 0.03, "se": 0.02, "p": 0.3, "seeds": 2}
    one = {"student": "resnet8", "macs": 4000, "params": 80_000, "seeds": [1, 2], "low": 0.8, "high": 0.9}
    first = {**one, "trial": "t00001", "search": 0.9, "scores": [0.84, 0.86], "mean": 0.85}
    second = {**one, "trial": "t00002", "search": 0.8, "scores": [0.8, 0.88], "mean": 0.84}
    control = {**one, "mean": 0.82, "config": {}, "same": False, "gain": {**gap, "mean": 0.03, "low": 0.005, "high": 0.055}}
    knob = {"name": "method", "share": 0.4, "p": 0.001, "adjusted": 0.002, "trials": 12, "mattered": True}
    budget = {
        "candidates": [
            {**first, "dropped": None, "behind": None, "within": True},
            {**second, "dropped": None, "behind": gap, "within": True},
        ],
        "search_best": "t00001", "chosen": chosen, "best": "t00001", "rounds": 2, "controls": {"ce": control},
        "optimism": 0.05, "knobs": {"trials": 12, "told": [knob]}, "verdict": "search paid", "why": "", "line": "any: …",
    }  # fmt: skip
    return {"state": "finished", "budgets": {"any": {**budget, **more}}}


def test_a_confirmation_is_told_with_its_gains_its_race_and_its_knobs(made_run: Path):
    (made_run / "confirm.json").write_text(json.dumps(confirmation("t00002")), encoding="utf-8")
    summary = summarise(made_run)
    text = render(summary, "table")
    assert "84.00 % (2)" in text and "80.00 to 90.00" in text and "+5.00" in text and "search paid" in text
    assert "+3.00 (+0.50 to +5.50)" in text
    assert "chosen" in text and "best mean" in text
    assert "method 40%" in text
    assert json.loads(render(summary, "json"))["confirmed"]["budgets"]["any"]["chosen"] == "t00002"
    assert "## Confirmed with fresh seeds" in render(summary, "md")


def test_a_confirmation_that_the_search_has_left_behind_is_said_to_be_out_of_date(made_run: Path):
    told = confirmation("t00002")
    told["budgets"]["any"]["candidates"][0]["trial"] = "t00000"  # t00001, the best by now, was no candidate
    told["budgets"]["any"]["best"] = "t00000"
    (made_run / "confirm.json").write_text(json.dumps(told), encoding="utf-8")
    summary = summarise(made_run)
    assert summary.stale == ("any",)
    assert "out of date: confirm again" in render(summary, "table")


def test_a_confirmation_that_cannot_be_read_is_told_of(made_run: Path):
    (made_run / "confirm.json").write_text("{", encoding="utf-8")
    with pytest.raises(AutokdError, match="confirmation cannot be read"):
        summarise(made_run)


def test_costs_that_are_limited_are_told_with_the_conditions_and_what_is_marginal(tmp_path: Path):
    from autokd.track.recorder import Recorder

    recorder = Recorder(tmp_path)
    served = Budget("served", latency_ms=90.0, statistic="p90", deployment=Deployment(batch=64, threads=4))
    budgets = [Budget("quick", file_size=4e5, latency_ms=2.0), served, Budget("any")]
    first, second = budgets[0].conditions, budgets[1].conditions
    timings = [
        {"student": "s", "deployment": str(budgets[0].deployment), "median": [1.9, 1.7, 2.1], "p90": [3, 2, 4], "busy": True},
        {"student": "s", "deployment": str(served.deployment), "median": [50, 49, 51], "p90": [80, 79, 81]},
        {"teacher": "t", "deployment": str(served.deployment), "median": [500, 490, 510], "p90": [800, 790, 810]},
    ]
    latencies = {"machine": {"processor": "Some CPU"}, "timings": timings, "marginal": {"quick": ["s"]}}
    recorder.emit({"event": "begin", "run": "r", "name": "r", "budgets": [b.to_dict() for b in budgets], "latencies": latencies})
    facts = {"student": "s", "teacher": None, "method": "ce", "policy": "none", "ratio": 0.0, "seed": 0, "config": {}}
    costs = {"macs": 1, "params": 2, "file_size": 319_000, "memory": 7, "latency_ms": 1.9}
    costs["latencies"] = {first: 1.9, second: 80.0}
    recorder.emit({"event": "trial", "trial": "a", "budget": "quick", **facts, **costs})
    recorder.emit({"event": "report", "trial": "a", "rung": 0, "images": 9, "epochs": 1.0, "val_top1": 0.5})
    recorder.emit({"event": "end", "trial": "a", "status": "done"})
    recorder.close()
    summary = summarise(tmp_path)
    assert all(pick and pick.trial == "a" for pick in summary.best.values())  # by the limits alone: nothing says what admits it
    lines = [" ".join(line.split()) for line in render(summary, "table").splitlines()]
    assert f"quick s 319 kB 1.9 ms {first}" in lines and f"served s 319 kB 80 ms {second}" in lines
    assert "s 1.9 (1.7 to 2.1) 3 (2 to 4) marginal for quick; something else was running" in lines
    assert "s 50 (49 to 51) 80 (79 to 81)" in lines and "t (teacher) 500 (490 to 510) 800 (790 to 810)" in lines
    assert "Latency, batch 64, cpu, 4 threads, torch, float32, on Some CPU" in lines
    (row,) = [row for row in csv.DictReader(io.StringIO(render(summary, "csv"))) if row["budget"] == "served"]
    assert (row["file_size"], row["memory"], row["latency_ms"]) == ("319000", "7", "1.9")
    assert json.loads(render(summary, "json"))["latencies"]["marginal"] == {"quick": ["s"]}


def test_limits_in_a_few_words():
    budget = Budget("b", params=3e5, macs=4.5e7, file_size=1e6, memory=999.0, of_teacher={"latency_ms": 0.1}, statistic="p90")
    told = "≤ 300 k params, 45 M MACs, 1 MB file, 999 B memory, 10 % of the teacher's latency (p90)"
    assert limits_of(budget.to_dict()) == told
    assert limits_of(Budget("b", latency_ms=5.0).to_dict()) == "≤ 5 ms" and limits_of(Budget("b").to_dict()) == "no limit"
    assert (cost("memory", None), cost("latency_ms", 0.12345), cost("file_size", 999.6)) == ("-", "0.123 ms", "1 kB")
