"""What the driver of a long search does for each report must not grow with the trials that lie behind."""

from __future__ import annotations

import time

import pytest
from search_fakes import FakeTrial, Space, divided, plan

from autokd.errors import TrialFailed
from autokd.search.brain import Brain
from autokd.track.mlflow_log import MlflowLog
from autokd.track.recorder import Recorder
from autokd.track.table import read_table

TRIALS = 1000


def costs_of_reports(folder, sampler, trials=TRIALS):
    """Seconds of this thread's CPU for each report (with the end it may bring), by trial, and for each proposal."""
    log = MlflowLog(folder, experiment="fake", run=folder.name)
    recorder = Recorder(folder, listeners=[log])
    recorder.emit({"event": "begin", "budgets": []})
    settings = plan(trials=trials, sampler=sampler, looks=4)
    brain = Brain(Space(), divided(), settings, emit=recorder.emit, journal=folder / "study.journal")
    brain.start()
    reports, proposals = [], []
    while True:
        start = time.thread_time()
        proposal = brain.propose()
        if proposal is None:
            break
        proposals.append(time.thread_time() - start)
        trial = FakeTrial(proposal.config)
        told = []
        for number, mark in list(enumerate(proposal.marks))[proposal.done :]:
            try:
                report = trial.advance(round(mark.epochs * 1000)).to_dict()
            except TrialFailed as fault:
                brain.fail(proposal.trial, fault.reason)
                break
            start = time.thread_time()
            decision = brain.report(
                proposal.trial, {**report, "mark": number, "checkpoint": f"{proposal.trial}/{number}"}
            )
            told.append(time.thread_time() - start)
            if decision == "stop":
                break
        reports.append(sum(told) / max(1, len(told)))
    brain.close()
    recorder.close()
    start = time.monotonic()
    log.close(timeout=600)
    return reports, proposals, time.monotonic() - start, log


def hundredths(values):
    first, last = sorted(values[20:120]), sorted(values[-100:])
    return first[50], last[50]


@pytest.mark.slow
def test_a_report_costs_as_much_after_a_thousand_trials_as_at_first(tmp_path):
    reports, proposals, drain, log = costs_of_reports(tmp_path, "random")
    first, last = hundredths(reports)
    asked = hundredths(proposals)
    print(f"report: {1e3 * first:.2f} ms, after {TRIALS} trials {1e3 * last:.2f} ms ({last / first:.2f} times)")
    print(
        f"proposal: {1e3 * asked[0]:.2f} ms, then {1e3 * asked[1]:.2f} ms; MLflow was {drain:.1f} s behind at the end"
    )
    assert last < 2 * first
    assert log.broken is None
    children = log_children(log)
    assert len(children) == TRIALS == len(set(read_table(tmp_path)["trial"].to_pylist()))
    assert {run.info.status for run in children} <= {"FINISHED", "FAILED"}


def log_children(log):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=log.uri)
    experiment = client.get_experiment_by_name("fake").experiment_id
    found = client.search_runs([experiment], max_results=5000)
    return [run for run in found if "mlflow.parentRunId" in run.data.tags]
