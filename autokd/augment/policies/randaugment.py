"""RandAugment: a few ops picked at random, all at one level."""

from __future__ import annotations

from typing import Literal

from autokd.augment.policies._pool import pool
from autokd.augment.policy import Policy
from autokd.errors import AutokdError
from autokd.rooms import Count, Natural

__all__ = ["randaugment"]
SEARCH = {"randaugment": {"operations": {"int": [1, 3]}, "level": {"choose": [3, 6, 9, 12, 15, 20]}}}


def randaugment(
    *, operations: Count = 2, level: Natural = 9, implementation: Literal["torchvision", "autoaugment"] = "torchvision"
) -> Policy:
    """`operations` of fourteen ops, picked with replacement, at `level` of 30.

    operations: how many ops a view gets, one after another
    level: how strong they are, of 30
    implementation: whose slants, shifts and turns: torchvision's (nearest pixel, black enters) or JDA's (bicubic, grey enters)

    torchvision shifts by whole pixels and drops a fraction; autoaugment, which is the code of JDA, shifts to the nearest pixel.

    Source: "RandAugment", arXiv:1909.13719; torchvision.transforms.RandAugment on PIL images, 31 bins.
    """
    if level > 30:
        raise AutokdError(
            f"level of randaugment is at most 30, not {level}", fix="9 is the published one for CIFAR with two ops"
        )
    steps = pool(level, level, shear=0.3, shift=("translate", 150 / 331), turn=30.0, enhance=0.9, bits=4,
                 implementation=implementation)  # fmt: skip
    return Policy("randaugment", steps, kind="pick", picks=operations)
