"""A teacher's quality on the validation split as it was written down, and whether one that is measured later is still the same.

Only the standard library is imported here: the driver of a search compares, and does not import torch for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from autokd.errors import AutokdError

__all__ = ["Quality", "changed", "quality_of", "versions"]

# What arithmetic alone may move. Measured on 10,000 test images of CIFAR-100 (MobileNetV2, ResNet-20 and WRN-16-2): another
# memory format moves nothing, TF32 three images and the loss by 0.0002, bfloat16 six images and the loss by 0.0005.
_IMAGES, _SHARE = 1.0, 0.002
_LOSS, _OF_LOSS = 0.001, 0.01
_PACKAGES = ("autokd", "torch", "torchvision", "timm")


@dataclass(frozen=True)
class Quality:
    """top1: share of the validation images. loss: mean cross-entropy, nats. images: how many there are (0: not told)."""

    top1: float
    loss: float
    images: int = 0

    def agrees(self, now: Quality) -> bool:
        """Whether rounding alone may tell the two apart: an image and 0.2 % of the images, and 0.001 and 1 % of the loss."""
        images = now.images or self.images or 1
        near = abs(self.top1 - now.top1) * images <= _IMAGES + _SHARE * images + 1e-6
        return near and abs(self.loss - now.loss) <= _LOSS + _OF_LOSS * abs(self.loss)

    def __str__(self) -> str:
        return f"{100 * self.top1:.2f} % (loss {self.loss:.4g})"


def quality_of(facts: Mapping[str, Any]) -> Quality | None:
    """What a record of a teacher (the file beside its weights, an event of a ledger) says; None where it says nothing."""
    top1, loss = facts.get("val_top1"), facts.get("val_loss")
    if not isinstance(top1, (int, float)) or not isinstance(loss, (int, float)):
        return None
    return Quality(float(top1), float(loss), int(facts.get("val_images") or 0))


def versions() -> dict[str, str]:
    """Of the packages whose code a teacher's answers pass through."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def changed(
    name: str, where: str, before: Quality, now: Quality, *, then: Mapping[str, str] | None = None, fix: str
) -> AutokdError:
    """What is told of a teacher that no longer answers as it did. then: the versions when it was recorded."""
    here = versions()
    newer = [f"{one} was {old} and is {here[one]}" for one, old in (then or {}).items() if here.get(one, old) != old]
    reason = "the code of its network, a file which that loads, or how it is asked has changed"
    return AutokdError(
        f"the teacher {name!r} is not what it was: {before} of the validation images were right when it was recorded, "
        f"and {now} are now; {reason}{': ' * bool(newer)}{', '.join(newer)}",
        where=where,
        fix=fix,
    )
