"""Train a network one step on two random images, to find what a forward pass in eval mode does not show.

A network may return several outputs in training mode, hold weights of another dtype, need contiguous images, or leave parameters
unused. This check reports it before any trial starts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autokd.data.images import Size
from autokd.errors import AutokdError
from autokd.models.build import build, sides
from autokd.models.features import logits_of
from autokd.models.fuse import fused
from autokd.train.optimiser import SGD
from autokd.train.pace import Pace

__all__ = ["check_training"]

_IMAGES = 2
_SHOWN = 3


def check_training(
    name: str,
    *,
    classes: int,
    channels: int,
    size: Size,
    options: dict[str, Any] | None = None,
    label: str = "",
) -> tuple[str, ...]:
    """Train the network `name` one step on random images, on the CPU. Returns notes for the user.

    label: its name in messages. Restores torch's thread count and random state. Raises AutokdError if it cannot be trained, or if
    its re-parameterised form (autokd.models.fuse) gives other answers.
    """
    label, threads = label or name, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model = build(name, classes=classes, channels=channels, size=size, options=options, seed=0)
            images = torch.randn(_IMAGES, channels, *sides(size))
            answer, alone, left = _a_step(model, label, images, classes)
            fused(model, images)
            _channels_last(model, label, images)
            return _notes(model, label, answer, alone, left)
    finally:
        torch.set_num_threads(threads)


def _a_step(model: nn.Module, label: str, images: Tensor, classes: int) -> tuple[Any, Any, list[str]]:
    """Train in channels-first order, which is safe on every processor (autokd.train.layout). Returns the output in training mode,
    the output in eval mode, and the names of parameters without a gradient."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        what = f"{label} cannot be trained: none of its parameters requires a gradient"
        raise AutokdError(what, fix="unfreeze some of them")
    try:
        answer = model.train()(images)
        logits = logits_of(answer, f"{label} in training mode")
        if logits.shape != (_IMAGES, classes):
            raise AutokdError(
                f"{label} answers {_IMAGES} images with {list(logits.shape)} in training mode, not with [{_IMAGES}, {classes}]",
                fix="its function gets the keyword argument `classes`",
            )
        loss = nn.functional.cross_entropy(logits.float(), torch.zeros(_IMAGES, dtype=torch.long))
        loss.backward()
        left = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
        SGD(trained, lr=1e-3, momentum=0.9).step()
        with torch.no_grad():
            alone = model.eval()(images)
    except AutokdError:
        raise
    except Exception as fault:
        raise _fault(label, fault, "", "correct its forward pass in training mode, or remove it from the space") from fault
    if not bool(loss.isfinite()):
        raise AutokdError(f"{label}: the loss on random images is not finite", fix="check how its weights are initialised")
    return answer, alone, left


def _channels_last(model: nn.Module, label: str, images: Tensor) -> None:
    """Forward pass only: a backward pass in this order could crash the process."""
    try:
        with torch.no_grad():
            Pace().prepare(model, images.device).train()(images.contiguous(memory_format=torch.channels_last))
    except Exception as fault:
        raise _fault(label, fault, " with channels last", "use reshape or flatten where it uses view") from fault


def _notes(model: nn.Module, label: str, answer: Any, alone: Any, left: list[str]) -> tuple[str, ...]:
    notes = []
    if not isinstance(answer, Tensor):
        notes.append(f"{label} returns several outputs in training mode; only its logits are trained")
    if left:
        numbers = sum(p.numel() for name, p in model.named_parameters() if name in left)
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        some = ", ".join(left[:_SHOWN])
        notes.append(f"{label}: {numbers:,} parameters get no gradient ({some}{more}); they are still counted and exported")
    if _are_probabilities(alone):
        notes.append(f"{label} seems to return probabilities; methods expect logits: remove its last softmax")
    return tuple(notes)


def _fault(label: str, fault: Exception, where: str, fix: str) -> AutokdError:
    said = " ".join(str(fault).split())[:300]
    return AutokdError(f"{label} cannot be trained{where}: {type(fault).__name__}: {said}", fix=fix)


def _are_probabilities(answer: Any) -> bool:
    if not isinstance(answer, Tensor) or answer.ndim != 2 or answer.shape[1] < 2:
        return False
    return bool((answer >= 0).all()) and bool(((answer.sum(dim=1) - 1).abs() < 1e-3).all())
