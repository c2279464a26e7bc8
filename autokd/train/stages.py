"""What a method adds to its teacher (a projection head, auxiliary branches), trained before any student and then frozen.

The result depends on the teacher, the data and the method's own settings, never on a student or a trial's seed, so all
trials share it: in the process, and in the cache folder where there is one.
"""

from __future__ import annotations

import copy
import json
import warnings
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autokd.augment.normalise import normalise
from autokd.config.trial import PolicyConfig, TrialConfig
from autokd.errors import TrialFailed
from autokd.files import intact_zip, whole
from autokd.models.features import forward_features
from autokd.models.precision import arithmetic
from autokd.signals.teacher import Teacher
from autokd.train.batches import Order, mixed_seed, turned
from autokd.train.optimiser import SGD

if TYPE_CHECKING:
    from autokd.train.workshop import Workshop

__all__ = ["stage_key", "teacher_stage"]

_VERSION = 1  # of what this file and the methods' parts do; raised when the same key would come to other weights
_IMAGES = 64  # a step; times the turns of each


def teacher_stage(
    workshop: Workshop, config: TrialConfig, module: Any, teacher: Teacher, kept: dict[str, dict[str, Any]]
) -> Teacher | None:
    """Fill and freeze `module.teacher_parts`. Returns the tuned copy of the teacher where the method trains that too.

    The module says how: `build_teacher_parts(teacher_features, classes)` makes the parts, `stage` names what their
    weights depend on besides teacher and data (with "epochs", "milestones", "nesterov", and "joint" where the teacher trains
    with them), and `teacher_loss(features, labels, rotation, view)` is what they minimise, on plain views turned as the
    method's are. SGD at 0.05 with momentum 0.9 and weight decay 5e-4, the rate falling to a tenth at each of the milestones,
    shares of the training.
    """
    loaded = workshop.data(config.data)
    views = workshop.views(config.data, PolicyConfig())
    told = stage_key(module, teacher, data=loaded.fingerprint, views=views.key(False))
    key = blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()
    path = workshop.cache_dir / "stages" / f"{key}.pt" if workshop.cache_dir is not None else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(int(key[:15], 16)) & 0x7FFFFFFF)
        with torch.no_grad():
            probe = torch.zeros(2, *loaded.pixels.shape[1:], dtype=torch.uint8, device=workshop.device)
            module.build_teacher_parts(teacher.features(probe), loaded.classes)
        module.teacher_parts.to(workshop.device)
        state = kept.get(key) or _read(path)
        if state is None:
            with arithmetic(teacher.precision, teacher.device):
                state = _train(workshop, config, module, teacher, views)
            _write(path, state)
    kept[key] = state
    module.teacher_parts.load_state_dict(state["parts"])
    module.teacher_parts.eval().requires_grad_(False)
    if state["model"] is None:
        return None
    model = copy.deepcopy(teacher.model)
    model.load_state_dict(state["model"])
    made = (model, teacher.mean, teacher.std, teacher.device)
    return Teacher(*made, name=teacher.name, fingerprint=key, precision=teacher.precision)


def stage_key(module: Any, teacher: Teacher, *, data: str, views: str) -> dict[str, Any]:
    """All that the weights of a stage depend on."""
    return {
        "version": _VERSION,
        "method": type(module).__name__,
        "stage": module.stage,
        "teacher": teacher.fingerprint,
        "normalised": [list(teacher.mean), list(teacher.std)],
        "precision": teacher.precision,
        "data": data,
        "views": views,
        "turns": module.turns,
    }


def _train(workshop: Workshop, config: TrialConfig, module: Any, teacher: Teacher, views: Any) -> dict[str, Any]:
    loaded, joint = workshop.data(config.data), bool(module.stage.get("joint"))
    model = copy.deepcopy(teacher.model).train().requires_grad_(True) if joint else teacher.model
    parts: nn.Module = module.teacher_parts.train()
    trained = [*parts.parameters(), *(model.parameters() if joint else ())]
    optimizer = SGD(trained, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=module.stage["nesterov"])
    images = min(_IMAGES, len(loaded.pixels))
    steps = max(1, round(module.stage["epochs"] * len(loaded.pixels) / images))
    order = Order(len(loaded.pixels), images, seed=0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.1 ** sum(step >= share * steps for share in module.stage["milestones"])
        batch = order.step(step)
        pixels = turned(views.render(batch.rows, batch.passes, False).pixels, module.turns)
        inputs = normalise(pixels.to(teacher.device), teacher.mean, teacher.std)
        with torch.set_grad_enabled(joint):
            features = forward_features(model, inputs.contiguous(memory_format=torch.channels_last))
        labels = loaded.labels[batch.rows.to(workshop.device)].repeat(module.turns)
        place = torch.arange(len(pixels), device=workshop.device)
        loss = module.teacher_loss(features, labels, place // images, place % images)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    if not all(bool(p.isfinite().all()) for p in trained):
        raise TrialFailed("the weights that the method adds to its teacher are no longer finite")
    return {"parts": _copied(parts), "model": _copied(model) if joint else None}


def _copied(module: nn.Module) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None or not path.exists():
        return None
    try:
        if not intact_zip(path):
            raise ValueError("its checksums do not agree with its content")
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state if {"parts", "model"} <= set(state) else None
    except Exception:
        warnings.warn(f"{path} is damaged and is made anew", stacklevel=2)
        return None


def _write(path: Path | None, state: dict[str, Any]) -> None:
    if path is None:
        return
    with whole(path) as file:
        torch.save(state, file)
