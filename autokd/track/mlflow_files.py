"""The files of a search in MLflow: its parent run holds what a person would carry away from the run folder."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autokd.machine import aside
from autokd.track.ledger import FILE
from autokd.track.recorder import rows_of
from autokd.track.state import state_of

__all__ = ["FILES", "RUN_TAG", "STATUS_TAG", "TERMINAL", "TRIAL_TAG", "close_cut_off", "files_of", "find_search", "keep_files",
           "open_experiment", "plain_path", "put_files", "quiet_client", "read_front", "store_uri"]  # fmt: skip

RUN_TAG, TRIAL_TAG, STATUS_TAG = "autokd.run", "autokd.trial", "autokd.status"
TERMINAL = {"done": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}  # of a trial, in MLflow's words
FILES = (
    "report.html", "report", "front.csv", "confirm.json", "space.yaml", "trials.parquet", "environment.json", "data.json",
)  # fmt: skip


def store_uri(runs: str | os.PathLike[str]) -> str:
    """The tracking URI of a folder of runs: sqlite in `mlflow.db`."""
    return f"sqlite:///{plain_path(Path(runs).resolve()) / 'mlflow.db'}"


def plain_path(folder: Path) -> Path:
    """The folder by a path that may stand in the address of a database: with a % or ? in it, by a link in a folder of our own.

    What % and ? mean there differs between versions of SQLAlchemy, and MLflow makes folders from what it reads.
    """
    if not set("%?") & set(str(folder)):
        return folder
    link = aside() / "mlflow" / blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    link.parent.mkdir(exist_ok=True)
    if not link.exists():  # also where it leads to what is gone
        made = link.with_name(f"{link.name}.{os.getpid()}")
        made.symlink_to(folder)
        os.replace(made, link)
    return link


def open_experiment(client: Any, name: str, artifacts: str | None, tags: dict[str, str] | None = None) -> str:
    """The id of the experiment of this name, made where there is none.

    A deleted one stays deleted, with its runs, and keeps its name: then the experiment is called "NAME (2)", and so on.
    """
    for number in count(1):
        one = name if number == 1 else f"{name} ({number})"
        found = client.get_experiment_by_name(one)
        if found is None:
            return str(client.create_experiment(one, artifact_location=artifacts, tags=tags))
        if found.lifecycle_stage == "active":
            return str(found.experiment_id)
    raise AssertionError  # never


def quiet_client() -> Any:
    """MLflow's class of clients, imported so that it neither prints nor sends anything."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "mlflow.store.db.utils", "alembic", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # after the import, which sets levels of its own
    return MlflowClient


def files_of(folder: Path) -> tuple[Path, ...]:
    """What the parent run holds of a run folder, where it is there."""
    return tuple(folder / name for name in FILES)


def put_files(client: Any, run: str, paths: Iterable[Path]) -> None:
    """Copy files and folders beside an MLflow run, over what an earlier session left there. The table becomes one file."""
    for path in paths:
        if path.name == "trials.parquet" and path.is_dir():
            with TemporaryDirectory() as aside:
                client.log_artifact(run, str(_one_table(path.parent, Path(aside) / path.name)))
        elif path.is_dir():
            client.log_artifacts(run, str(path), path.name)
        elif path.exists():
            client.log_artifact(run, str(path))


def read_front(paths: Iterable[Path]) -> list[dict[str, str]]:
    """The lines of the front.csv among these files."""
    for path in paths:
        if path.name == "front.csv" and path.exists():
            with open(path, encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
    return []


def find_search(client: Any, run: str) -> tuple[str, str] | None:
    """The experiment of a search and the id of its parent run; None where it was not tracked."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    oldest = ["attributes.start_time ASC"]  # the parent began before its children, of which there may be thousands
    for found in client.search_runs(experiments, f"tags.`{RUN_TAG}` = '{run}'", max_results=100, order_by=oldest):
        if TRIAL_TAG not in found.data.tags:
            return found.info.experiment_id, found.info.run_id
    return None


def keep_files(folder: Path, complain: Callable[[str], None] | None = None) -> bool:
    """Bring the files beside a search's parent run up to date, after more was made of it. Returns whether they are.

    Where the search was not tracked there is nothing to do; what MLflow cannot write is told to `complain`, not raised.
    """
    if not (folder.parent / "mlflow.db").exists():
        return False
    try:
        client = quiet_client()(tracking_uri=store_uri(folder.parent))
        found = find_search(client, folder.name)
        if found is None:
            return False
        put_files(client, found[1], files_of(folder))
    except Exception as fault:  # MLflow is a view: nothing else may suffer from it
        told = (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]
        (complain or logging.getLogger("autokd").warning)(f"MLflow does not have the newest files ({told})")
        return False
    return True


def close_cut_off(runs: Path) -> None:
    """Let MLflow say of searches and trials that it takes for running what their ledgers say: that they were cut off. A resume
    opens them again. What MLflow cannot write is passed over."""
    try:
        client = quiet_client()(tracking_uri=store_uri(runs))
        experiments = [one.experiment_id for one in client.search_experiments()]
        open_runs = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=5000)
        states: dict[str, str] = {}
        trials: dict[tuple[str, str | None], str] = {}
        for one in open_runs:
            name = one.data.tags.get(RUN_TAG)
            if name is None or not (runs / name / FILE).exists():
                continue
            if name not in states:
                states[name] = state_of(runs / name).word
                trials |= {(name, row["trial"]): row["status"] for row in rows_of(runs / name)}
            if states[name] != "running":
                trial = one.data.tags.get(TRIAL_TAG)
                if trial is None:
                    client.set_tag(one.info.run_id, STATUS_TAG, states[name])
                client.set_terminated(one.info.run_id, TERMINAL.get(trials.get((name, trial), ""), "KILLED"))
    except Exception as fault:  # MLflow is a view, and opens all the same
        logging.getLogger("autokd").info(f"runs that were cut off are not marked in MLflow ({fault})")


def _one_table(folder: Path, path: Path) -> Path:
    """The table of a run folder as one file of Parquet."""
    import pyarrow.parquet as pq

    from autokd.track.recorder import table_of

    pq.write_table(table_of(folder), path, compression="zstd")
    return path
