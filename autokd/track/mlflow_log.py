"""The search in MLflow: a parent run, and one child a trial, written by a thread of the driver's from the ledger's events.

MLflow is a view. Where it fails the search goes on, says so once, and a later `resume` brings the view up to the ledger:
replaying the same events into it changes nothing that is there already.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autokd.config.limits import COSTS, limits_in
from autokd.track.mlflow_files import (
    RUN_TAG,
    STATUS_TAG,
    TERMINAL,
    TRIAL_TAG,
    open_experiment,
    plain_path,
    put_files,
    quiet_client,
    read_front,
    store_uri,
)
from autokd.track.mlflow_views import LATEST_TAG, NOTE_TAG, Knobs, note, saved_view, saved_views, search_note

__all__ = ["MlflowLog", "store_uri"]

_CLOSED = {"failed": "FAILED", "cancelled": "KILLED"}  # of a search; a paused one has done what it was to do so far
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the page opens with training runs
_CURVES = ("val_top1", "val_loss", "train_loss", "lr", "epochs", "seconds", "teacher_seconds", "signal_hits", "signal_misses")
_PATIENCE = 20.0  # seconds without a report after which the search shows all the same
_LONGEST = 6000  # characters of a parameter; MLflow refuses more


class MlflowLog:
    """Give it every event with `on_event`; it returns at once. `close` waits until what was given is written.

    uri: None for the store of the folder `runs`. complain: told, once, why MLflow could not be written. wait: nothing is
    written before the first report, or for 20 s, so that importing MLflow (two seconds of a core) does not hold up the first
    trials.
    """

    replays = True

    def __init__(
        self,
        runs: str | os.PathLike[str],
        *,
        experiment: str,
        run: str,
        uri: str | None = None,
        artifacts: tuple[Path, ...] = (),
        complain: Callable[[str], None] | None = None,
        wait: bool = False,
    ) -> None:
        self.runs, self.experiment, self.run = Path(runs), experiment, run
        self.uri = uri or store_uri(runs)
        self.artifacts = artifacts
        self.complain = complain or logging.getLogger("autokd").warning
        self.broken: str | None = None
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="autokd-mlflow", daemon=True)
        self._due = threading.Event()
        if not wait:
            self._due.set()
        self._thread.start()

    def on_event(self, event: dict[str, Any]) -> None:
        if self.broken is None:
            self._queue.put(event)
        if event["event"] == "report":
            self._due.set()

    def close(self, timeout: float = 120.0) -> None:
        """Write what is left and end every run that is still open; give up after `timeout` seconds."""
        self._due.set()
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout)
            if self._thread.is_alive():
                self._fail(f"it did not answer for {timeout:.0f} s")

    def _fail(self, reason: str) -> None:
        if self.broken is None:
            self.broken = reason
            self.complain(
                f"MLflow is not written any more ({reason}); the search goes on, and autokd resume completes it"
            )

    def _work(self) -> None:
        self._due.wait(_PATIENCE)
        try:
            writer = _Writer(self)
        except Exception as fault:
            return self._fail(_short(fault))
        while True:
            events = [self._queue.get()]
            while not self._queue.empty():
                events.append(self._queue.get())
            try:
                for event in events:
                    if event is not None:
                        writer.take(event)
                writer.flush()
                if None in events:
                    writer.end()
                    return None
            except Exception as fault:
                return self._fail(_short(fault))


class _Writer:
    """What the thread does. Metrics gather by child until `flush`."""

    def __init__(self, log: MlflowLog) -> None:
        client, self.log = quiet_client(), log
        if log.uri == store_uri(log.runs):
            _make_store(log.runs)
        self.client = client(tracking_uri=log.uri)
        where = None if not log.uri.startswith("sqlite:") else (log.runs / "mlartifacts").resolve().as_uri()
        self.experiment = open_experiment(self.client, log.experiment, where, _KIND)
        self.parent: str | None = None
        self.outcome = "KILLED"  # until a close says otherwise
        self.children: dict[str, str] = {}  # trial: MLflow's id of the child
        self.known: dict[str, str | None] = {}  # trial: the status its child ended with, where it did
        self.waiting: dict[str, list[Any]] = {}  # MLflow's id: metrics not yet sent
        self.knobs = Knobs()
        self.columns: dict[str, None] = {}
        self.began, self.what = 0, "search"
        self._stale = False  # whether the view that the page opens with is to be written again
        self._find()

    def _find(self) -> None:
        """The runs an earlier session left."""
        mine = f"tags.`{RUN_TAG}` = '{self.log.run}'"
        token = None
        while True:
            page = self.client.search_runs([self.experiment], mine, max_results=1000, page_token=token)
            for run in page:
                tags = run.data.tags
                if TRIAL_TAG not in tags:
                    self.parent = run.info.run_id
                else:
                    self.children[tags[TRIAL_TAG]] = run.info.run_id
                    ended = run.info.status not in ("RUNNING", "SCHEDULED", "KILLED")
                    self.known[tags[TRIAL_TAG]] = tags.get(STATUS_TAG) if ended else None
            token = page.token
            if not token:
                return

    def take(self, event: dict[str, Any]) -> None:
        kind, time = event["event"], int(1000 * event.get("time", 0))
        if kind in ("begin", "resume"):
            self._begin(event, time)
        elif kind == "trial":
            self._trial(event, time)
        elif kind == "report":
            self._report(event, time)
        elif kind == "end":
            self._end(event["trial"], event["status"], event.get("reason"), time)
        elif kind == "again" and event["trial"] in self.children:
            self.known[event["trial"]] = None
            self.client.update_run(self.children[event["trial"]], status="RUNNING")
        elif kind == "teacher" and self.parent:
            score = event.get("val_top1")
            if score is not None:
                self._metric(self.parent, f"teacher {_allowed(event['teacher'])} val_top1", score, time, 0)
        elif kind == "close" and self.parent:
            self.flush()
            self.outcome = _CLOSED.get(str(event.get("status")), "FINISHED")
            self.client.set_tag(self.parent, STATUS_TAG, str(event.get("status")))

    def _begin(self, event: dict[str, Any], time: int) -> None:
        if event["event"] == "begin":
            self.began, self._stale = time, True
            self.what = event.get("what", "search")
        if self.parent is None:
            tags = {RUN_TAG: self.log.run, "budget": f"the {self.what}"}  # its place among the groups
            tags |= {f"budget.{one['name']}": _limits(one) for one in event.get("budgets", [])}
            self.parent = self.client.create_run(self.experiment, time, tags=tags, run_name=self.log.run).info.run_id
            for child in self.children.values():  # whose own was deleted
                self.client.set_tag(child, "mlflow.parentRunId", self.parent)
            put_files(self.client, self.parent, [one for one in self.log.artifacts if one.suffix in (".yaml", ".json")])
        elif event["event"] == "resume":
            self.client.update_run(self.parent, status="RUNNING")
        if "what" not in event:  # not a part of another search
            self.client.set_experiment_tag(self.experiment, LATEST_TAG, f"{time} {self.log.run}")

    def _trial(self, event: dict[str, Any], time: int) -> None:
        from mlflow.entities import Param

        trial = event["trial"]
        params = {"teacher.name": "none", **_flat(event.get("config", {}))}
        more = [f"tags.`{name}`" for name in event.get("tags", {}) if name not in self.columns]
        self._stale |= self.knobs.see(trial, event.get("values") or {}, params) or bool(more)
        self.columns |= dict.fromkeys(more)
        if trial in self.children:
            if self.known.get(trial) is None:
                self.client.update_run(self.children[trial], status="RUNNING")
            return
        tags = {RUN_TAG: self.log.run, TRIAL_TAG: trial, "mlflow.parentRunId": self.parent or ""}
        for name in ("budget", "student", "teacher", "method", "policy"):
            tags[name] = str(event.get(name))
        tags |= event.get("tags", {})
        child = self.client.create_run(self.experiment, time, tags=tags, run_name=trial).info.run_id
        self.children[trial] = child
        params |= {"trial": trial, "source": event.get("source")}
        for name in COSTS:
            if event.get(name) is not None:
                self._metric(child, name, event[name], time, 0)
        told = [Param(key, str(value)[:_LONGEST]) for key, value in params.items()]
        for start in range(0, len(told), 100):  # as many as MLflow takes at once
            self._send(child, params=told[start : start + 100])

    def _report(self, event: dict[str, Any], time: int) -> None:
        trial = event["trial"]
        if trial not in self.children or self.known.get(trial):
            return
        child, images = self.children[trial], int(event.get("images") or 0)
        for name in _CURVES:
            if event.get(name) is not None:
                self._metric(child, name, event[name], time, images)

    def _metric(self, run: str, name: str, value: float, time: int, step: int) -> None:
        from mlflow.entities import Metric

        self.waiting.setdefault(run, []).append(Metric(name, float(value), time, step))

    def _end(self, trial: str, status: str, reason: str | None, time: int) -> None:
        if trial not in self.children or self.known.get(trial) == status:
            return
        from mlflow.entities import RunTag

        child = self.children[trial]
        self._send(child, tags=[RunTag(STATUS_TAG, status), *([RunTag("reason", reason[:500])] if reason else [])])
        self.client.set_terminated(child, TERMINAL.get(status, "KILLED"), time)
        self.known[trial] = status

    def flush(self) -> None:
        for run in list(self.waiting):
            self._send(run)
        if self._stale:
            self._stale = False
            self._save_view()

    def _save_view(self) -> None:
        """What the page shows of this search, and where it is found, as tags of the experiment."""
        facts: dict[str, Any] = {"columns": list(self.columns), "began": self.began, "parent": self.parent or ""}
        view = saved_view(self.log.run, self.knobs.charts(), **facts)
        if view is not None:
            self.client.set_experiment_tag(self.experiment, *view)
        tags = self.client.get_experiment(self.experiment).tags
        told = note(self.experiment, saved_views(tags), tags.get(NOTE_TAG))
        if told is not None:
            self.client.set_experiment_tag(self.experiment, NOTE_TAG, told)

    def _send(self, run: str, **more: Any) -> None:
        """A run's waiting metrics, with `params` or `tags`, in as few transactions as MLflow allows."""
        metrics = self.waiting.pop(run, [])
        for start in range(0, max(1, len(metrics)), 800):
            self.client.log_batch(run, metrics=metrics[start : start + 800], **more)
            more = {}

    def end(self) -> None:
        """No run is left open: what did not end is marked as killed, and opened again by a resume."""
        for trial, child in self.children.items():
            if self.known.get(trial) is None:
                self.client.set_terminated(child, "KILLED")
        if self.parent:
            put_files(self.client, self.parent, self.log.artifacts)
            facts: dict[str, Any] = {"front": read_front(self.log.artifacts), "trials": self.children, "what": self.what}
            told = search_note(self.experiment, self.log.run, self.parent, **facts)
            self.client.set_tag(self.parent, NOTE_TAG, told[:_LONGEST])
            self.client.set_terminated(self.parent, self.outcome)


def _make_store(runs: Path) -> None:
    """The database with its tables, whole or absent: made aside, since MLflow cannot use one that a kill left half made."""
    from mlflow.tracking import MlflowClient

    target = runs / "mlflow.db"
    if target.exists():
        return
    aside = runs / f".mlflow-{os.getpid()}.db"
    aside.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{plain_path(aside.parent.resolve()) / aside.name}").search_experiments(max_results=1)
    try:
        os.link(aside, target)
    except FileExistsError:  # another search was quicker
        pass
    except OSError:  # a file system without links
        if not target.exists():
            os.replace(aside, target)
    aside.unlink(missing_ok=True)


def _allowed(name: str) -> str:
    """A name as part of a metric's: MLflow refuses other characters, and with one metric all that would follow."""
    return re.sub(r"[^\w\-. ]", "_", name)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists stay, as JSON; empty ones and None are left out."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
        return found
    if value is None or value == []:
        return {}
    return {prefix: json.dumps(value) if isinstance(value, list) else value}


def _limits(budget: dict[str, Any]) -> str:
    told = [f"{key} <= {value:.10g}" for key, value in limits_in(budget).items()]
    told += [f"{key} <= {share:.4g} of the teacher's" for key, share in (budget.get("of_teacher") or {}).items()]
    conditions = f" ({budget['conditions']})" if budget.get("conditions") else ""
    return (", ".join(told) or "no limit") + conditions


def _short(fault: Exception) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]
