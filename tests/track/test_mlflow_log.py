"""Against a real sqlite store, read back through MLflow's own client."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest
from mlflow.tracking import MlflowClient

from autokd.config.limits import Budget
from autokd.track.ledger import FolderLock, Ledger
from autokd.track.mlflow_files import close_cut_off
from autokd.track.mlflow_log import MlflowLog, _limits, store_uri


def trial(number, **more):
    return {
        "event": "trial", "trial": f"t{number}", "time": 10.0 + number, "budget": "tiny", "teacher": "big",
        "student": "small", "method": "kd", "policy": "jda", "macs": 1000, "params": 50, "source": "tpe",
        "config": {"epochs": 9, "recipe": {"lr": 0.1, "clip": None, "milestones": [0.5, 0.75]}}, **more,
    }  # fmt: skip


def report(number, images, top1):
    event = {"event": "report", "trial": f"t{number}", "time": 20.0, "images": images, "epochs": images / 100}
    return {**event, "val_top1": top1, "val_loss": 1 - top1, "train_loss": 1.0, "lr": 0.1, "seconds": 1.0}


def end(number, status, reason=None):
    return {"event": "end", "trial": f"t{number}", "time": 30.0, "status": status, "reason": reason}


BEGIN = {"event": "begin", "time": 1.0, "budgets": [{"name": "tiny", "params": 60.0, "macs": None}]}
CLOSE = {"event": "close", "time": 99.0, "status": "finished", "reason": "3 trials"}
SESSION = [
    BEGIN,
    {"event": "teacher", "teacher": "big", "val_top1": 0.9, "time": 2.0},
    trial(0), trial(1), trial(2),
    report(0, 100, 0.2), report(1, 100, 0.1), report(0, 200, 0.4), report(0, 300, 0.5),
    end(1, "stopped", "rung 0: 3 of 3 in tiny"), end(0, "done"), end(2, "failed", "the loss is not finite"),
    CLOSE,
]  # fmt: skip


def log(folder, events, **settings):
    made = MlflowLog(folder, experiment="study", run="study-1", **settings)
    for event in events:
        made.on_event(event)
    made.close()
    assert made.broken is None
    return made


def runs(folder):
    client = MlflowClient(tracking_uri=store_uri(folder))
    experiment = client.get_experiment_by_name("study")
    found = client.search_runs([experiment.experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["autokd.trial"]: run for run in found if "mlflow.parentRunId" in run.data.tags}
    return client, parents, children


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """A store with nothing in it: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("blank")
    MlflowClient(tracking_uri=store_uri(folder)).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def folder(tmp_path, blank):
    shutil.copy(blank, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="module")
def store(tmp_path_factory, blank):
    folder = tmp_path_factory.mktemp("runs")
    shutil.copy(blank, folder / "mlflow.db")
    (folder / "space.yaml").write_text("name: study\n")
    (folder / "report").mkdir()
    (folder / "report" / "front.png").write_bytes(b"picture")
    log(folder, SESSION, artifacts=(folder / "space.yaml", folder / "report", folder / "absent.html"))
    return folder


def test_the_search_is_a_parent_and_each_trial_a_child_of_it(store):
    client, (parent,), children = runs(store)
    assert parent.info.run_name == "study-1"
    assert set(children) == {"t0", "t1", "t2"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert parent.data.metrics["teacher big val_top1"] == 0.9
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["report", "space.yaml"]
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "report")] == ["report/front.png"]


def test_of_a_search_that_was_cut_off_mlflow_is_told_what_the_ledger_says(folder):
    log(folder, [BEGIN, trial(0), trial(1), end(0, "done")])
    client, (parent,), children = runs(folder)
    every = [parent.info.run_id, *(children[name].info.run_id for name in ("t0", "t1"))]
    for run in every:  # as a kill leaves them
        client.update_run(run, status="RUNNING")
    (folder / "study-1").mkdir()
    with Ledger(folder / "study-1" / "ledger.jsonl") as ledger:
        for event in (BEGIN, trial(0), trial(1), end(0, "done")):
            ledger.append(event)
    with FolderLock(folder / "study-1"):
        close_cut_off(folder)
        assert [client.get_run(run).info.status for run in every] == ["RUNNING"] * 3
    close_cut_off(folder)
    assert [client.get_run(run).info.status for run in every] == ["KILLED", "FINISHED", "KILLED"]
    assert client.get_run(every[0]).data.tags["autokd.status"] == "cut off"
    log(folder, [{"event": "resume", "time": 2.0}, trial(0), trial(1), end(0, "done"), end(1, "done"), CLOSE])
    assert [client.get_run(run).info.status for run in every] == ["FINISHED"] * 3


def test_parameters_metrics_and_tags_say_what_the_trial_was(store):
    client, _, children = runs(store)
    run = children["t0"]
    assert run.data.params["recipe.lr"] == "0.1"
    assert run.data.params["recipe.milestones"] == "[0.5, 0.75]"
    assert "recipe.clip" not in run.data.params
    wanted = {"budget": "tiny", "student": "small", "teacher": "big", "method": "kd", "policy": "jda"}
    assert {name: run.data.tags[name] for name in wanted} == wanted
    assert (run.data.metrics["macs"], run.data.metrics["params"]) == (1000, 50)
    curve = client.get_metric_history(run.info.run_id, "val_top1")
    assert [(point.step, point.value) for point in curve] == [(100, 0.2), (200, 0.4), (300, 0.5)]  # by images


def test_every_limit_of_a_budget_is_told_with_its_conditions():
    told = Budget("b", params=60.0, file_size=5e5, of_teacher={"latency_ms": 0.1}, statistic="p90").to_dict()
    conditions = "p90, batch 1, cpu, 1 thread, torch, float32"
    assert _limits(told) == f"params <= 60, file_size <= 500000, latency_ms <= 0.1 of the teacher's ({conditions})"
    assert _limits({"name": "any"}) == "no limit"


def test_a_failed_trial_is_failed_and_the_others_are_finished_and_none_runs(store):
    _, (parent,), children = runs(store)
    assert {name: run.info.status for name, run in children.items()} == {
        "t0": "FINISHED", "t1": "FINISHED", "t2": "FAILED",
    }  # fmt: skip
    assert {name: run.data.tags["autokd.status"] for name, run in children.items()} == {
        "t0": "done", "t1": "stopped", "t2": "failed",
    }  # fmt: skip
    assert children["t2"].data.tags["reason"] == "the loss is not finite"
    assert parent.info.status == "FINISHED"


def test_a_resume_replays_without_repeating_and_closes_what_a_kill_left_running(folder):
    cut = [BEGIN, trial(0), trial(1), report(0, 100, 0.2)]
    killed = MlflowLog(folder, experiment="study", run="study-1")
    for event in cut:
        killed.on_event(event)
    children = {}
    for _ in range(600):  # until the thread has written both children
        time.sleep(0.05)
        if MlflowClient(tracking_uri=store_uri(folder)).get_experiment_by_name("study") is not None:
            children = runs(folder)[2]
        if len(children) == 2 and "val_top1" in children["t0"].data.metrics:
            break
    assert {run.info.status for run in children.values()} == {"RUNNING"}  # and here the process dies

    more = [{"event": "resume", "time": 50.0}, report(0, 200, 0.4), end(0, "done"), end(1, "done"), CLOSE]
    log(folder, [*cut, *more])
    client, parents, children = runs(folder)
    assert len(parents) == 1
    assert {name: run.info.status for name, run in children.items()} == {"t0": "FINISHED", "t1": "FINISHED"}
    curve = client.get_metric_history(children["t0"].info.run_id, "val_top1")
    assert {(point.step, point.value) for point in curve} == {(100, 0.2), (200, 0.4)}
    log(folder, [*cut, *more])  # once more changes nothing
    assert len(runs(folder)[2]) == 2


def test_a_paused_trial_is_not_left_running(folder):
    log(folder, [BEGIN, trial(0), report(0, 100, 0.2), {**CLOSE, "status": "paused"}])
    _, (parent,), children = runs(folder)
    assert children["t0"].info.status == "KILLED"
    assert parent.data.tags["autokd.status"] == "paused"


def test_a_trial_taken_up_again_ends_as_it_ends_then(folder):
    events = [BEGIN, trial(0), end(0, "failed", "the worker died"), {"event": "again", "trial": "t0", "time": 40.0}]
    log(folder, [*events, report(0, 300, 0.5), end(0, "done"), CLOSE])
    _, _, children = runs(folder)
    assert children["t0"].info.status == "FINISHED"
    assert children["t0"].data.tags["autokd.status"] == "done"
    assert children["t0"].data.metrics["val_top1"] == 0.5


def test_a_store_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database")
    told = []
    made = MlflowLog(tmp_path, experiment="study", run="study-1", complain=told.append)
    for event in SESSION:
        made.on_event(event)
    made.close()
    assert len(told) == 1
    assert "the search goes on" in told[0]


@pytest.mark.parametrize("patience", [60.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_one_that_waits_begins_with_the_first_report_or_when_none_comes_for_long(tmp_path, monkeypatch, patience):
    import autokd.track.mlflow_log as module

    monkeypatch.setattr(module, "_PATIENCE", patience)
    made = MlflowLog(tmp_path, experiment="study", run="study-1", wait=True)
    for event in SESSION[:5]:
        made.on_event(event)
    made._thread.join(0.5 if patience > 1 else 0.0)
    assert patience < 1 or not (tmp_path / "mlflow.db").exists()
    if patience > 1:
        made.on_event(SESSION[5])
    until = time.monotonic() + 30
    while not (tmp_path / "mlflow.db").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert (tmp_path / "mlflow.db").exists()
    made.close()
    _, _, children = runs(tmp_path)
    assert len(children) == 3


@pytest.mark.slow
def test_nothing_of_mlflows_own_is_printed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_mlflow_log import SESSION, log; from pathlib import Path\n"
        "log(Path(sys.argv[1]), SESSION)\n"
    )
    here = __file__.rsplit("/", 1)[0]
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path), here], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout + told.stderr == ""


@pytest.mark.slow
def test_a_kill_while_the_tables_are_made_leaves_a_store_that_a_later_session_can_use(tmp_path):
    """The process ends in the middle of a migration, from which MLflow itself does not recover."""
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[2])\n"
        "import sqlalchemy; from test_mlflow_log import BEGIN; from autokd.track.mlflow_log import MlflowLog\n"
        "@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, 'after_cursor_execute')\n"
        "def after(connection, cursor, statement, *_):\n"
        "    if 'CREATE TABLE webhooks' in statement: os.kill(os.getpid(), 9)\n"
        "made = MlflowLog(sys.argv[1], experiment='study', run='study-1'); made.on_event(BEGIN); time.sleep(60)\n"
    )
    here = __file__.rsplit("/", 1)[0]
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path), here], check=False)
    assert ended.returncode == -9
    log(tmp_path, SESSION)
    assert len(runs(tmp_path)[2]) == 3


@pytest.mark.parametrize(
    ("closed", "status"),
    [("finished", "FINISHED"), ("paused", "FINISHED"), ("failed", "FAILED"), ("cancelled", "KILLED"), (None, "KILLED")],
)  # fmt: skip
def test_the_parent_says_how_the_search_ended(folder, closed, status):
    log(folder, [BEGIN, trial(0), end(0, "done"), *([{**CLOSE, "status": closed}] if closed else [])])
    client, (parent,), _ = runs(folder)
    assert parent.info.status == status
    assert client.get_experiment(parent.info.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"


def test_deleted_runs_stay_deleted_and_the_next_search_is_written_beside_them(folder):
    from mlflow.entities import ViewType

    log(folder, SESSION)
    client = MlflowClient(tracking_uri=store_uri(folder))
    first = client.get_experiment_by_name("study").experiment_id
    client.delete_experiment(first)
    log(folder, SESSION)  # a resume of the same search: all of it once more, where it can be seen
    log(folder, [{**event, "run": "study-2"} for event in SESSION])
    old = client.get_experiment_by_name("study")
    assert (old.experiment_id, old.lifecycle_stage) == (first, "deleted")
    assert client.search_runs([first], run_view_type=ViewType.ACTIVE_ONLY) == []
    assert len(client.search_runs([first], run_view_type=ViewType.DELETED_ONLY)) == 4
    new = client.get_experiment_by_name("study (2)")
    assert new.lifecycle_stage == "active" and len(client.search_runs([new.experiment_id])) == 4
    client.delete_experiment(new.experiment_id)
    log(folder, SESSION[:1])
    assert len(client.search_runs([client.get_experiment_by_name("study (3)").experiment_id])) == 1
    client.restore_experiment(first)  # whoever takes it back finds it as it was, and it is used again
    log(folder, SESSION)
    assert len(client.search_runs([first])) == 4


def test_trials_whose_search_was_deleted_stand_below_the_new_one(folder):
    log(folder, SESSION)
    client, (parent,), _ = runs(folder)
    client.delete_run(parent.info.run_id)
    log(folder, [{**BEGIN, "event": "resume"}, CLOSE])
    _, (again,), children = runs(folder)
    assert again.info.run_id != parent.info.run_id
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {again.info.run_id}
    assert client.get_run(parent.info.run_id).info.lifecycle_stage == "deleted"


def test_a_folder_of_any_name_holds_its_own_store(tmp_path, blank):
    name = "50%41 wh?y h#sh 'a' \"b\""
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(blank, folder / "mlflow.db")
    artifact = tmp_path / "space.yaml"
    artifact.write_text("name: x\n")
    log(folder, SESSION, artifacts=(artifact,))
    client, (parent,), children = runs(folder)
    assert len(children) == 3
    assert [one.path for one in client.list_artifacts(parent.info.run_id)] == ["space.yaml"]
    assert (folder / "mlartifacts").is_dir() and sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "space.yaml"])
