from __future__ import annotations

import json
from pathlib import Path

from autokd.report.finals import FILES, TESTED, file_rows, read_finals, score_rows
from autokd.report.summary import render, sections, summarise

METRICS = {
    "budget": "small",
    "student": "resnet8",
    "trial": "t00001",
    "test": {"images": 359, "mean": 0.98765, "std": 0.0012, "low": 0.97, "high": 0.995},
    "seeds": [{"seed": 1001}, {"seed": 1002}],
    "calibration": {"ece": 0.0123, "nll": 0.05, "brier": 0.02},
    "threshold": {"value": 0.9, "test": {"images": 300, "coverage": 0.8357, "accuracy": 0.9967}},
    "test_looks": 2,
    "exports": {
        "onnx": {"file": "student.onnx", "bytes": 350_499, "test_top1": 0.98, "test_top1_lost": 0.0, "largest_difference": 2.9e-6,
                 "latency": {"median_ms": 0.05534, "p90_ms": 0.0632}},
        "int8": {"file": "student.int8.onnx", "bytes": 131_000, "test_top1": 0.97, "test_top1_lost": 0.01,
                 "largest_difference": 0.19, "latency": None},
        "pt2": {"failed": "it branches on values"},
    },
    "per_class": [{"class": "0"}],
}  # fmt: skip


def write(folder: Path, budget: str, metrics: object) -> None:
    place = folder / "final" / budget
    place.mkdir(parents=True, exist_ok=True)
    (place / "metrics.json").write_text(metrics if isinstance(metrics, str) else json.dumps(metrics), encoding="utf-8")


def test_finished_students_come_in_the_order_of_the_budgets_and_what_cannot_be_read_is_passed_over(tmp_path):
    write(tmp_path, "a", {**METRICS, "budget": "small"})
    write(tmp_path, "b", {**METRICS, "budget": "tiny"})
    write(tmp_path, "c", {**METRICS, "budget": "gone"})
    write(tmp_path, "d", "{")
    write(tmp_path, "e", [])
    found = read_finals(tmp_path, ["tiny", "small"])
    assert [one["budget"] for one in found] == ["tiny", "small", "gone"]
    assert "per_class" not in found[0] and found[0]["train_on"] is None
    assert read_finals(tmp_path / "nowhere", ["tiny"]) == ()


def test_a_row_says_the_test_with_its_interval_its_calibration_and_its_looks():
    (row,) = score_rows([METRICS])
    assert dict(zip(TESTED, row, strict=True)) == {
        **{"budget": "small", "student": "resnet8", "test top-1": "98.77 %", "± std": "0.12", "95 % interval": "97.00 to 99.50"},
        **{"seeds": "2", "ECE": "1.23 %", "kept": "83.57 %", "right": "99.67 %", "looks": "2"},
    }
    bare = {key: None for key in METRICS} | {"budget": "b", "test": {"mean": 0.5}}
    assert score_rows([bare])[0][2:] == ("50.00 %", "0.00", "-", "0", "-", "-", "-", "-")
    assert file_rows([bare]) == []


def test_files_of_a_student_that_several_budgets_share_are_told_once():
    rows = [dict(zip(FILES, row, strict=True)) for row in file_rows([METRICS, {**METRICS, "budget": "large"}])]
    assert [row["budget"] for row in rows] == ["small, large"] * 3
    assert rows[0] == {"budget": "small, large", "file": "student.onnx", "size": "350 kB", "test top-1": "98.00 %",
                       "change": "+0.00", "logits by": "2.9e-06", "ms (p90)": "0.0553 (0.0632)"}  # fmt: skip
    assert (rows[1]["change"], rows[1]["ms (p90)"]) == ("-1.00", "-") and rows[2]["size"] == "not written"


def test_the_report_of_a_run_that_was_finalized_tells_of_it(made_run):
    assert not any(one.title.startswith("Tested") for one in sections(summarise(made_run)))
    write(made_run, "any", {**METRICS, "budget": "any"})
    summary = summarise(made_run)
    text = render(summary, "table")
    assert "97.00 to 99.50" in text and "student.int8.onnx" in text
    assert json.loads(render(summary, "json"))["finals"][0]["test"] == METRICS["test"]
    assert [one.title.split(":")[0] for one in sections(summary, short=True)][-1] == "Tested"  # files in the long form alone
