"""What MLflow holds of a whole run: its parent has the files at the end, after a resume, and after a confirmation."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from confirm_fakes import space_of

from autokd.config.sections import ConfirmSettings
from autokd.search.confirm import confirm
from autokd.search.inline_engine import InlineEngine
from autokd.search.run import resume, search
from autokd.track.mlflow_files import find_search, keep_files, quiet_client, store_uri

KEPT = {"data.json", "environment.json", "front.csv", "report", "report.html", "space.yaml", "trials.parquet"}


def engine():
    return InlineEngine({"factory": "confirm_fakes:Bench"})


def report(text):
    def write(folder):
        (folder / "report").mkdir(exist_ok=True)
        (folder / "report.html").write_text(text)
        (folder / "report" / "front.png").write_bytes(b"picture")

    return write


def kept(client, run, folder):
    """The names of the files beside an MLflow run, the report's text, the rows of the table, and the trials of the front."""
    names = {one.path for one in client.list_artifacts(run)}
    text = Path(client.download_artifacts(run, "report.html", folder)).read_text()
    table = pq.read_table(client.download_artifacts(run, "trials.parquet", folder))
    with open(client.download_artifacts(run, "front.csv", folder), newline="") as file:
        front = [row["trial"] for row in csv.DictReader(file)]
    return names, text, table.num_rows, front


@pytest.mark.slow
def test_the_parent_holds_report_front_space_table_and_environment_from_the_search_to_its_confirmation(tmp_path):
    runs = tmp_path / "runs"
    space = space_of(runs, tracking={"mlflow": True}, search={"trials": 6})
    run = search(space, runs=runs, engine=engine(), at_end=report("first"))
    client = quiet_client()(tracking_uri=store_uri(runs))
    experiment, parent = find_search(client, run.folder.name)
    names, text, rows, front = kept(client, parent, tmp_path)
    assert names == KEPT and text == "first"
    assert rows == run.trials.num_rows and run.best("any")["trial"] in front and run.best("tiny")["trial"] in front
    assert [one.path for one in client.list_artifacts(parent, "report")] == ["report/front.png"]

    resume(run.folder, overrides=["search.trials=12"], engine=engine(), at_end=report("second"))
    names, text, more, front = kept(client, parent, tmp_path)
    assert names == KEPT and text == "second"
    assert more == run.trials.num_rows > rows and run.best("any")["trial"] in front
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert len(children) == 12 and {one.info.status for one in client.search_runs([experiment])} == {"FINISHED"}
    steps = {(point.step, point.value) for point in client.get_metric_history(children[0].info.run_id, "epochs")}
    assert (9000, 9.0) in steps and all(step == pytest.approx(1000 * epochs) for step, epochs in steps)  # by images

    confirm(run.folder, settings=ConfirmSettings(top=1, seeds=2), engine=engine(), space=space)
    report("third")(run.folder)
    assert keep_files(run.folder)
    names, text, _, _ = kept(client, parent, tmp_path)
    assert names == {*KEPT, "confirm.json"} and text == "third"
    _, other = find_search(client, f"{run.folder.name}/confirm")
    assert other != parent
    seconds = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{other}'")
    assert {one.data.tags["role"] for one in seconds} >= {"candidate"} and all(one.data.tags["arm"] for one in seconds)
    assert client.get_run(other).data.tags["budget"] == "the confirmation"
    tags = client.get_experiment(experiment).tags
    assert tags["autokd.latest"].endswith(f" {run.folder.name}")  # a confirmation is no newer search
    assert tags["mlflow.note.content"].startswith(f"The newest search of autokd here is **{run.folder.name}**")


def test_a_run_that_was_never_tracked_has_nothing_to_bring_up_to_date(tmp_path):
    (tmp_path / "run").mkdir()
    assert not keep_files(tmp_path / "run")


def test_a_store_that_cannot_be_read_is_told_of_and_no_more(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "mlflow.db").write_text("this is no database, but long enough to be taken for one")
    told = []
    assert not keep_files(tmp_path / "run", complain=told.append)
    assert len(told) == 1 and "MLflow does not have the newest files" in told[0]
