"""A finished student in MLflow's model registry: a run with its scores, and a version of a registered model."""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError
from autokd.track.mlflow_files import find_search, open_experiment, store_uri
from autokd.track.mlflow_log import _make_store

__all__ = ["FINAL_TAG", "alias", "register"]

FINAL_TAG = "autokd.final"  # the search that a run of this kind finishes; RUN_TAG is of the search's own runs


def register(
    name: str,
    model: Any,
    *,
    shape: Sequence[int],
    classes: int,
    folder: Path,
    budgets: Sequence[str],
    metrics: dict[str, float],
    tags: dict[str, str],
    artifacts: Sequence[Path] = (),
    uri: str | None = None,
) -> tuple[int, str]:
    """Register the ONNX student of the run in `folder` as a new version of the model `name`; returns (version, MLflow run id).

    The version has an alias for each budget: models:/NAME@tiny is what is registered last for that budget. model: an
    onnx.ModelProto from uint8 [N, *shape] to logits of so many classes. uri: None for the store beside the run folder, made where
    it is missing. Raises AutokdError where MLflow refuses.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    import mlflow

    for noisy in ("mlflow", "mlflow.store.db.utils", "alembic", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    before = mlflow.get_tracking_uri()
    own = uri is None
    uri = uri or store_uri(folder.parent)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # it prints each of its steps
            warnings.simplefilter("ignore")  # what MLflow says of its own future
            if own:
                _make_store(folder.parent)
            mlflow.set_tracking_uri(uri)  # the registry is of the same store, where MLFLOW_REGISTRY_URI names no other
            return _register(mlflow, name, model, _signature(shape, classes), folder, budgets, metrics, tags, artifacts)
    except mlflow.exceptions.MlflowException as fault:
        raise AutokdError(f"MLflow does not register {name!r}: {str(fault).splitlines()[0][:200]}", where=uri) from None
    finally:
        mlflow.set_tracking_uri(before)


def _register(
    mlflow: Any,
    name: str,
    model: Any,
    signature: Any,
    folder: Path,
    budgets: Sequence[str],
    metrics: dict[str, float],
    tags: dict[str, str],
    artifacts: Sequence[Path],
) -> tuple[int, str]:
    import mlflow.onnx

    client = mlflow.tracking.MlflowClient()
    experiment, parent = _home(client, folder)
    linked = {"mlflow.parentRunId": parent} if parent else {}
    told = {**tags, **linked, FINAL_TAG: folder.name, "budgets": ", ".join(budgets)}
    run = client.create_run(experiment, run_name=f"final {' '.join(budgets)}", tags=told)
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metrics(metrics)
        for path in artifacts:
            mlflow.log_artifact(str(path))
        info = mlflow.onnx.log_model(
            model,
            name="student",
            registered_model_name=name,
            signature=signature,
            pip_requirements=["onnx", "onnxruntime", "numpy"],
            onnx_execution_providers=["CPUExecutionProvider"],
            await_registration_for=None,
        )
    version = int(info.registered_model_version)
    for key, value in {**tags, "budgets": told["budgets"], "run": folder.name}.items():
        client.set_model_version_tag(name, str(version), key, value)
    for budget in budgets:
        client.set_registered_model_alias(name, alias(budget), str(version))
    return version, run.info.run_id


def alias(budget: str) -> str:
    """A budget's name as MLflow takes it for an alias: it has to be words, and neither `latest` nor v1, v2, …"""
    word = re.sub(r"[^\w-]", "-", budget)
    return f"budget-{word}" if word.lower() == "latest" or re.fullmatch(r"v\d+", word.lower()) else word


def _home(client: Any, folder: Path) -> tuple[str, str | None]:
    """The experiment of the search and the id of its run; an experiment of the run's name where it was not tracked."""
    found = find_search(client, folder.name)
    if found is not None:
        return found
    return open_experiment(client, folder.name, (folder.parent / "mlartifacts").resolve().as_uri()), None


def _signature(shape: Sequence[int], classes: int) -> Any:
    """uint8 [-1, C, H, W] to float32 [-1, classes]."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = TensorSpec(np.dtype(np.uint8), (-1, *shape), "images")
    logits = TensorSpec(np.dtype(np.float32), (-1, classes), "logits")
    return ModelSignature(inputs=Schema([images]), outputs=Schema([logits]))
