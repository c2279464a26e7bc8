"""TrivialAugment: one op at a random level, nothing to tune."""

from __future__ import annotations

from typing import Literal

from autokd.augment.policies._pool import pool
from autokd.augment.policy import Policy

__all__ = ["trivialaugment"]
SEARCH: dict[str, dict[str, object]] = {"trivialaugment": {}}


def trivialaugment(*, implementation: Literal["torchvision", "autoaugment"] = "torchvision") -> Policy:
    """One of fourteen ops at a level drawn from 0 to 30, over the wide ranges (shifts up to 32 pixels, turns up to 135 degrees).

    implementation: whose slants, shifts and turns: torchvision's (nearest pixel, black enters) or JDA's (bicubic, grey enters)

    Source: "TrivialAugment", arXiv:2103.10158; torchvision.transforms.TrivialAugmentWide on PIL images.
    """
    steps = pool(0, 30, shear=0.99, shift=("shift", 32.0), turn=135.0, enhance=0.99, bits=6,
                 implementation=implementation)  # fmt: skip
    return Policy("trivialaugment", steps, kind="pick", picks=1)
