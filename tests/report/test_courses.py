from __future__ import annotations

import pytest

from autokd.errors import AutokdError
from autokd.report.courses import read_run, validation_images


def test_a_course_is_what_the_ledger_told_of_a_trial(made_run):
    told = read_run(made_run)
    one = told.courses["t00001"]
    assert [(p.images, p.epochs, p.val_top1, p.rung, p.final) for p in one.points] == [
        (1000, 1.0, 0.6, 0, False),
        (2000, 2.0, 0.9, 1, True),
    ]
    assert (one.score, one.at_rung(0), one.at_rung(7), one.temperature) == (0.9, 0.6, None, 4.0)
    assert one.costs == {"macs": 4000.0, "params": 80_000.0}
    assert told.courses["t00003"].score is None and told.courses["t00004"].points == ()
    assert [one["name"] for one in told.budgets] == ["tiny", "small", "any"]  # from the space: the ledger has names only


def test_spent_is_what_all_trials_had_taken_by_the_end_of_each(made_run):
    ends = read_run(made_run).ends
    # two reports of 1000 views and 3 s each for every finished trial
    assert [(end.trial, end.images, end.seconds) for end in ends] == [
        ("t00000", 2000, 6.0),
        ("t00001", 4000, 12.0),
        ("t00002", 6000, 18.0),
    ]


def test_what_a_trial_tells_again_after_a_cut_counts_once(report_runs, tmp_path):
    recorder = report_runs.begin(tmp_path / "run")
    facts = {"student": "s", "teacher": None, "method": "ce", "policy": "none", "ratio": 0.0, "seed": 0, "macs": 1, "params": 1}
    recorder.emit({"event": "trial", "trial": "a", "budget": "tiny", "config": {}, **facts})
    for images, score, seconds in ((100, 0.1, 1.0), (200, 0.2, 2.0), (100, 0.15, 1.0), (200, 0.3, 2.0), (300, 0.4, 3.0)):
        told = {"rung": None, "images": images, "epochs": 1.0, "seconds": seconds}
        recorder.emit({"event": "report", "trial": "a", "val_top1": score, **told})
    recorder.emit({"event": "end", "trial": "a", "status": "done"})
    recorder.close()
    told = read_run(tmp_path / "run")
    assert [(p.images, p.val_top1) for p in told.courses["a"].points] == [(100, 0.15), (200, 0.3), (300, 0.4)]
    assert told.courses["a"].budgets == ("tiny", report_runs.BUDGETS[1]["name"])  # by its costs: the ledger did not say
    assert told.ends[0].images == 400  # the views that were shown twice were paid for twice


def test_validation_images_are_counted_from_the_data_or_not_at_all():
    data = {"name": "digits", "validation": 0.2}
    assert validation_images({"data": data}) == 288  # a fifth of 1,438 training digits
    assert validation_images({"data": {"name": "no such data", "validation": 0.2}}) is None
    assert validation_images({"data": {**data, "split_file": "split.json"}}) is None
    assert validation_images({}) is None


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(AutokdError, match="no ledger here"):
        read_run(tmp_path)
