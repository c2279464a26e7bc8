from __future__ import annotations

import json

from autokd.track.ledger import FILE, read_events
from autokd.track.recorder import Recorder
from autokd.track.table import read_table

TRIAL = {
    "event": "trial", "trial": "t0", "budget": "tiny", "teacher": "big", "student": "small", "method": "kd",
    "policy": "none", "ratio": 0.0, "seed": 3, "macs": 10, "params": 5, "config": {"epochs": 9},
}  # fmt: skip


def report(rung, top1, **more):
    return {
        "event": "report",
        "trial": "t0",
        "mark": rung,
        "rung": rung,
        "images": 100 * (rung + 1),
        "val_top1": top1,
        **more,
    }


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Witness:
    """Looks at the ledger at the moment it is told."""

    def __init__(self, path):
        self.path, self.agreed, self.heard = path, [], []

    def on_event(self, event):
        self.heard.append(event)
        self.agreed.append(list(read_events(self.path))[-1] == event)


def test_the_ledger_has_an_event_before_anyone_else_hears_of_it(tmp_path):
    witness = Witness(tmp_path / FILE)
    recorder = Recorder(tmp_path, listeners=[witness])
    recorder.emit(TRIAL)
    recorder.emit(report(0, float("nan")))
    recorder.close()
    assert witness.agreed == [True, True]
    assert witness.heard[1]["val_top1"] is None


def test_a_trial_becomes_one_row_a_rung_that_all_bear_its_status(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.emit(TRIAL)
    recorder.emit(report(0, 0.4, final=False))
    recorder.emit({**report(1, 0.45), "rung": None})  # a look between rungs makes no row
    recorder.emit(report(1, 0.5, final=True))
    recorder.emit({"event": "end", "trial": "t0", "status": "done", "reason": None})
    recorder.close()
    rows = read_table(tmp_path).to_pylist()
    assert [(r["rung"], r["val_top1"], r["status"], r["images"], r["final"]) for r in rows] == [
        (0, 0.4, "done", 100, False),
        (1, 0.5, "done", 200, True),
    ]
    assert {r["student"] for r in rows} == {"small"}
    assert json.loads(rows[0]["config"]) == {"epochs": 9}


def test_a_trial_that_failed_before_its_first_rung_keeps_a_row_with_the_reason(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.emit(TRIAL)
    recorder.emit({"event": "end", "trial": "t0", "status": "failed", "reason": "the loss is not finite"})
    recorder.close()
    assert [(r["status"], r["reason"]) for r in read_table(tmp_path).to_pylist()] == [
        ("failed", "the loss is not finite")
    ]


def test_seconds_of_search_add_up_over_sessions_and_the_time_between_does_not_count(tmp_path):
    clock = Clock()
    first = Recorder(tmp_path, clock=clock)
    clock.now = 40.0
    first.emit({"event": "begin"})
    first.close()
    clock.now = 1000.0
    second = Recorder(tmp_path, past=list(read_events(tmp_path / FILE)), clock=clock)
    clock.now = 1002.0
    assert second.elapsed == 42.0
    second.close()


def test_a_resume_rebuilds_the_table_from_the_ledger(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.emit(TRIAL)
    recorder.emit(report(0, 0.4))
    recorder.ledger.close()  # killed: the table may lag behind, or hold nothing
    for part in (tmp_path / "trials.parquet").glob("*"):
        part.unlink()
    Recorder(tmp_path, past=list(read_events(tmp_path / FILE))).close()
    assert read_table(tmp_path)["val_top1"].to_pylist() == [0.4]


def test_a_students_costs_stand_in_its_rows_and_an_older_ledger_leaves_them_empty(tmp_path):
    recorder = Recorder(tmp_path)
    costs = {"file_size": 400, "memory": 900, "latency_ms": 1.5, "latencies": {"p90, batch 1": 2.5, "median, batch 1": 1.5}}
    recorder.emit({**TRIAL, "trial": "new", **costs})
    recorder.emit({**TRIAL, "trial": "old"})
    recorder.close()
    new, old = read_table(tmp_path).to_pylist()
    assert {name: new[name] for name in costs} == {**costs, "latencies": json.dumps(costs["latencies"], sort_keys=True)}
    assert all(old[name] is None for name in costs)
