"""One training step of a network on two images: what only a training shows, before any trial begins.

A network that answers one image in eval mode may still not train: it returns several answers then, keeps weights in another type,
reads images in one memory order only, or leaves weights out. Here that is told in a second rather than by every trial.
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

__all__ = ["rehearse"]

_IMAGES = 2
_SHOWN = 3


def rehearse(
    name: str,
    *,
    classes: int,
    channels: int,
    size: Size,
    options: dict[str, Any] | None = None,
    label: str = "",
) -> tuple[str, ...]:
    """Train the network called `name` a step on random images, on the CPU. Returns what a person should know of it.

    label: what it is called there. Nothing of it stays: neither weights, nor threads, nor the state of torch's generators. Raises
    AutokdError where it cannot be trained, or is not deployed as it is trained (autokd.models.fuse).
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
    """Channels first, which no processor dies of. Returns what it answers in training and in eval mode, and the parameters that
    got no gradient."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        what = f"{label} cannot be trained: none of its parameters asks for a gradient"
        raise AutokdError(what, fix="leave some of them unfrozen")
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
        raise _fault(label, fault, "", "mend its forward pass in training mode, or leave it out") from fault
    if not bool(loss.isfinite()):
        raise AutokdError(f"{label} answers random images with numbers that are not finite", fix="look at its first weights")
    return answer, alone, left


def _channels_last(model: nn.Module, label: str, images: Tensor) -> None:
    """Forwards alone: what torch cannot do backwards in this order ends the process."""
    try:
        with torch.no_grad():
            Pace().laid_out(model, images.device).train()(images.contiguous(memory_format=torch.channels_last))
    except Exception as fault:
        raise _fault(label, fault, " with channels last", "use reshape or flatten where it uses view") from fault


def _notes(model: nn.Module, label: str, answer: Any, alone: Any, left: list[str]) -> tuple[str, ...]:
    notes = []
    if not isinstance(answer, Tensor):
        notes.append(f"{label} answers in training mode with more than its logits: only these are trained")
    if left:
        numbers = sum(p.numel() for name, p in model.named_parameters() if name in left)
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        some = ", ".join(left[:_SHOWN])
        notes.append(f"{label}: {numbers:,} parameters take no part in its training ({some}{more}), and are counted and exported")
    if _are_probabilities(alone):
        notes.append(f"{label} seems to answer with probabilities: methods read logits, so leave its last softmax out")
    return tuple(notes)


def _fault(label: str, fault: Exception, where: str, fix: str) -> AutokdError:
    said = " ".join(str(fault).split())[:300]
    return AutokdError(f"{label} cannot be trained{where}: {type(fault).__name__}: {said}", fix=fix)


def _are_probabilities(answer: Any) -> bool:
    if not isinstance(answer, Tensor) or answer.ndim != 2 or answer.shape[1] < 2:
        return False
    return bool((answer >= 0).all()) and bool(((answer.sum(dim=1) - 1).abs() < 1e-3).all())
