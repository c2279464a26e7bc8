"""Train a teacher with cross-entropy, by the same loop as every student, and write it where a search can load it.

A teacher that lies there is taken where everything is the same that its weights depend on, and it still answers as it did.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from glob import escape
from hashlib import blake2b
from pathlib import Path
from typing import Any

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
from autokd.models.identity import first_values, identity
from autokd.models.zoo import resolve
from autokd.train.recorded import Quality, changed, quality_of, versions
from autokd.train.report import Progress, Report
from autokd.train.trial import forget, train_in_parts
from autokd.train.workshop import Workshop

__all__ = ["check_recorded", "lies_there", "teacher_key", "teacher_path", "teacher_trial", "train_teacher"]

_VERSION = 1  # of how teachers are trained; raised when the same key would come to other weights in more than rounding


def teacher_trial(data: DataConfig, teacher: TeacherConfig) -> TrialConfig:
    """The training of a teacher as a trial of its own: cross-entropy, no teacher above it, its own normalisation."""
    training = teacher.training
    if training is None:
        raise AutokdError(f"nothing says how to train the teacher {teacher.name!r}", fix="give it `train: {epochs: …}`")
    return TrialConfig(
        data=replace(data, fraction=1.0, mean=teacher.mean or data.mean, std=teacher.std or data.std),
        student=StudentConfig(teacher.model, teacher.options),
        teacher=None,
        policy=PolicyConfig(training.policy, training.policy_settings),
        ratio=training.ratio,
        method=MethodConfig("ce"),
        loss=LossConfig(ce_weight=1.0, kd_weight=0.0),
        recipe=training.recipe,
        epochs=training.epochs,
        seed=training.seed,
        views_seed=training.views_seed,
    )


def teacher_key(workshop: Workshop, data: DataConfig, teacher: TeacherConfig) -> dict[str, Any]:
    """All that the weights of a trained teacher depend on, by the words in which a difference is told.

    Content counts, not where it lies: the pixels, labels and class names of both splits, the rendering of views, the network
    with its source, and the recipe. Versions of torch and of libraries are not part of it: a trained teacher outlives
    them, and `check_recorded` finds one that does not answer as it did.
    """
    config = teacher_trial(data, teacher)
    loaded, views = workshop.data(config.data), workshop.views_of(config)

    def build(device: str = "cpu") -> torch.nn.Module:
        with torch.device(device):
            return workshop.model(config.data, config.student, seed=0)

    own = resolve(teacher.model).kind == "own"
    try:
        network = build("cpu" if own else "meta")
    except Exception:  # a library's network may read values, which meta tensors do not have
        network = build()
    return {
        "version of its training": _VERSION,
        "training images": loaded.fingerprint,
        "validation images": loaded.training.validation.fingerprint(),
        "class names": list(loaded.training.train.classes),
        "normalisation": [list(loaded.mean), list(loaded.std)],
        "views": [views.key(False), views.key(True)],
        "network": identity(teacher.model, teacher.options, network),
        "first weights": first_values(build) if own else "",
        "recipe": {**config.to_dict()["recipe"], "epochs": config.epochs, "ratio": config.ratio, "seed": config.seed},
    }


def teacher_path(workshop: Workshop, data: DataConfig, teacher: TeacherConfig, folder: str | os.PathLike[str]) -> Path:
    """Where a teacher lies or will lie: its name and a hash of all that its weights depend on."""
    return _path(teacher_key(workshop, data, teacher), teacher, folder)


def _path(key: Mapping[str, Any], teacher: TeacherConfig, folder: str | os.PathLike[str]) -> Path:
    told = json.dumps(key, sort_keys=True)
    return Path(folder) / f"{in_file_name(teacher.name)}-{blake2b(told.encode(), digest_size=5).hexdigest()}.safetensors"


def lies_there(workshop: Workshop, data: DataConfig, teacher: TeacherConfig, folder: str | os.PathLike[str]) -> bool:
    """Whether it was trained before, on what it would be trained on now, and its file is as it was written."""
    path = teacher_path(workshop, data, teacher, folder)
    return path.exists() and vouched(path)


def train_teacher(
    data: DataConfig,
    teacher: TeacherConfig,
    folder: str | os.PathLike[str],
    report: Callable[[Report], bool] | None = None,
    *,
    workshop: Workshop | None = None,
    looks: int = 5,
    again: bool = False,
    tell: Callable[[str], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train, write `<name>-<hash>.safetensors` and the same name with .json beside it, and return the former.

    A teacher that already lies there is measured and not trained again, unless its file is no longer as it was written, or
    `again`. tell: hears why it is trained anew where another of its name lies there. on_progress: is told every few seconds. It
    never sees the validation split. A training that was cut off goes on from the last of its `looks` checkpoints. Raises
    TrialFailed on divergence, and AutokdError where a teacher that lies there does not answer as it was recorded to.
    """
    workshop = workshop or Workshop()
    key = teacher_key(workshop, data, teacher)
    path = _path(key, teacher, folder)
    if path.exists() and not again:
        if vouched(path):
            check_recorded(workshop, data, teacher, path)
            return path
        warnings.warn(f"{path} is damaged, and the teacher is trained again", stacklevel=2)
    elif not again and (why := _why_anew(key, teacher, path)):
        (tell or workshop.tell)(why)
    trial = workshop.trial(teacher_trial(data, teacher))
    unfinished = path.with_suffix(".partial")
    last = train_in_parts(trial, unfinished, looks, report, on_progress)
    facts: dict[str, Any] = {
        "name": teacher.name,
        "model": teacher.model,
        "images": last.images,
        "seconds": last.seconds,
        "saw_validation": False,
        "precision": last.precision,
        "pace": str(trial.pace),  # with these two, and the machine, the weights are the same to the last bit
        "threads": torch.get_num_threads(),
        "config": asdict(teacher),
        "key": key,
        "versions": versions(),
        "val_top1": last.val_top1,
        "val_loss": last.val_loss,
    }
    _write(path, facts)
    facts["sha256"] = save_weights(trial.scored, path)  # after the facts: whoever finds the weights finds them beside
    workshop.drop_teachers()  # one that lay there before
    score = workshop.verify(data, replace(teacher, checkpoint=str(path.resolve()), training=None))
    if score is not None:
        facts |= {"val_top1": score.top1, "val_loss": score.loss, "ece": score.ece, "val_images": score.images}
    _write(path, facts)
    forget(unfinished)
    return path


def check_recorded(workshop: Workshop, data: DataConfig, teacher: TeacherConfig, path: Path) -> Quality | None:
    """Measure a trained teacher on the validation split, as it lies at `path`; None where there is none. Raises AutokdError where
    it does not answer as it was recorded to, or nothing is recorded of it."""
    again = f"remove {path.name}, or autokd teacher train SPACE.yaml --teacher {teacher.name} --again"
    if not vouched(path):
        what = f"the file of the teacher {teacher.name!r} is no longer as it was written"
        raise AutokdError(what, where=str(path), fix=f"to train it: {again}")
    score = workshop.verify(data, replace(teacher, checkpoint=str(path.resolve()), training=None))
    if score is None:
        return None
    told = _read(path)
    before = quality_of(told)
    if before is None:
        raise AutokdError(
            f"nothing beside the teacher {teacher.name!r} says how good it was", where=str(path), fix=f"to train it: {again}"
        )
    now = Quality(score.top1, score.loss, score.images)
    if not before.agrees(now):
        fix = f"put back what changed, or train it again: {again}"
        raise changed(teacher.name, str(path), before, now, then=told.get("versions"), fix=fix)
    return now


def _why_anew(key: Mapping[str, Any], teacher: TeacherConfig, path: Path) -> str:
    """What is different from the teacher of that name in the folder that is most like it, where there is one on the same data or
    of the same network."""
    others = sorted(path.parent.glob(f"{escape(in_file_name(teacher.name))}-{'?' * 10}.safetensors"))
    plain, found = json.loads(json.dumps(key)), []
    for other in others:
        known = _read(other).get("key")
        if not isinstance(known, dict):
            why = f"{other.name} is of an earlier version, which did not note all that a teacher depends on"
            found.append((len(plain), why))
            continue
        parts = [part for part in plain if known.get(part) != plain[part]]
        if not {"training images", "network"} <= set(parts):
            found.append((len(parts), f"{other.name} differs in {', '.join(parts)}"))
    return f"{teacher.name} is trained anew: {min(found)[1]}" if found else ""


def _read(path: Path) -> dict[str, Any]:
    """What the file beside the weights says; nothing where it is missing or no record."""
    try:
        told = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    write_text(path.with_suffix(".json"), json.dumps(facts, indent=2, default=str) + "\n")
