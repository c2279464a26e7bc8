"""No augmentation beyond crop and flip."""

from __future__ import annotations

from autokd.augment.policy import Policy

__all__ = ["none"]


def none() -> Policy:
    """Crop and flip alone: the control with as many images and no policy.

    Source: METHODS section 2, anchors; the house recipe of the CIFAR distillation literature.
    """
    return Policy("none")
