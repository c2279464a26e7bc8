from __future__ import annotations

import csv

from autokd.select.front_file import write_front
from autokd.track.recorder import Recorder

BUDGETS = [{"name": "tiny", "params": 100}, {"name": "any"}]
#  trial: parameters, MACs, accuracy, how it ended
TRIALS = {
    "cheap": (50, 500, 0.5, "done"),
    "beaten": (60, 600, 0.5, "done"),  # no better than cheap, and costs more
    "best": (400, 4000, 0.75, "done"),
    "fewer_macs": (900, 3000, 0.75, "done"),  # as good as best, and cheaper in one cost of two
    "stopped": (50, 400, 0.9, "stopped"),
}


def written(folder, trials):
    folder.mkdir()
    recorder = Recorder(folder)
    recorder.emit({"event": "begin", "budgets": BUDGETS})
    for trial, (params, macs, top1, status) in trials.items():
        recorder.emit({"event": "trial", "trial": trial, "budget": "any", "params": params, "macs": macs, "config": {"a": 1},
                       "budgets": ["tiny", "any"] if params <= 100 else ["any"]})  # fmt: skip
        recorder.emit({"event": "report", "trial": trial, "rung": 0, "images": 9, "val_top1": top1, "final": True})
        recorder.emit({"event": "end", "trial": trial, "status": status})
    recorder.close()
    with open(write_front(folder), newline="") as file:
        return list(csv.DictReader(file))


def test_the_front_has_a_line_for_each_trial_that_none_equals_at_no_more_cost_the_cheapest_first(tmp_path):
    lines = written(tmp_path / "run", TRIALS)
    assert [(line["trial"], line["best_of"]) for line in lines] == [("cheap", "tiny"), ("fewer_macs", "any"), ("best", "")]
    assert (lines[0]["val_top1"], lines[0]["params"], lines[0]["config"]) == ("0.5", "50", '{"a": 1}')


def test_a_run_without_a_finished_trial_has_a_front_without_lines(tmp_path):
    assert written(tmp_path / "run", {"stopped": TRIALS["stopped"]}) == []
    assert (tmp_path / "run" / "front.csv").read_text().startswith("best_of,trial,val_top1,")
