"""Train a teacher with cross-entropy, by the same loop as every student, and write it where a search can load it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path

import torch

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    StudentConfig,
    TeacherConfig,
    TrialConfig,
)
from autokd.errors import AutokdError
from autokd.files import in_file_name, vouched, write_text
from autokd.models.checkpoint import save_weights
from autokd.train.report import Report
from autokd.train.trial import forget, train_in_parts
from autokd.train.workshop import Workshop

__all__ = ["teacher_path", "teacher_trial", "train_teacher"]


def teacher_trial(data: DataConfig, teacher: TeacherConfig) -> TrialConfig:
    """The training of a teacher as a trial of its own: cross-entropy, no teacher above it."""
    training = teacher.training
    if training is None:
        raise AutokdError(f"nothing says how to train the teacher {teacher.name!r}", fix="give it `train: {epochs: …}`")
    return TrialConfig(
        data=replace(data, fraction=1.0),
        student=StudentConfig(teacher.model, teacher.options),
        teacher=None,
        policy=PolicyConfig(training.policy, training.policy_settings),
        ratio=training.ratio,
        method=MethodConfig("ce"),
        loss=LossConfig(ce_weight=1.0, kd_weight=0.0),
        recipe=training.recipe,
        epochs=training.epochs,
        seed=training.seed,
    )


def teacher_path(data: DataConfig, teacher: TeacherConfig, folder: str | os.PathLike[str]) -> Path:
    """Where a teacher of this configuration lies or will lie: its name and a hash of all that its weights depend on."""
    told = json.dumps(teacher_trial(data, teacher).to_dict(), sort_keys=True)
    return Path(folder) / f"{in_file_name(teacher.name)}-{blake2b(told.encode(), digest_size=5).hexdigest()}.safetensors"


def train_teacher(
    data: DataConfig,
    teacher: TeacherConfig,
    folder: str | os.PathLike[str],
    report: Callable[[Report], bool] | None = None,
    *,
    workshop: Workshop | None = None,
    looks: int = 5,
) -> Path:
    """Train, write `<name>-<hash>.safetensors` and the same name with .json beside it, and return the former.

    A teacher that already lies there is not trained again, unless its file is no longer as it was written. It never sees
    the validation split. A training that was cut off goes on from the last of its `looks` checkpoints. Raises TrialFailed on
    divergence.
    """
    path = teacher_path(data, teacher, folder)
    if path.exists():
        if vouched(path):
            return path
        warnings.warn(f"{path} is damaged, and the teacher is trained again", stacklevel=2)
    trial = (workshop or Workshop()).trial(teacher_trial(data, teacher))
    unfinished = path.with_suffix(".partial")
    last = train_in_parts(trial, unfinished, looks, report)
    facts = {
        "name": teacher.name,
        "model": teacher.model,
        "val_top1": last.val_top1,
        "val_loss": last.val_loss,
        "images": last.images,
        "seconds": last.seconds,
        "saw_validation": False,
        "precision": last.precision,
        "pace": str(trial.pace),  # with these two, and the machine, the weights are the same to the last bit
        "threads": torch.get_num_threads(),
        "config": asdict(teacher),
    }
    write_text(path.with_suffix(".json"), json.dumps(facts, indent=2, default=str) + "\n")
    digest = save_weights(trial.scored, path)  # after the facts: whoever finds the weights finds them beside
    write_text(path.with_suffix(".json"), json.dumps({**facts, "sha256": digest}, indent=2, default=str) + "\n")
    forget(unfinished)
    return path
