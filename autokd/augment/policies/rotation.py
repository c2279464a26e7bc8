"""Right-angle rotations: the single augmentation that JDA is compared with."""

from __future__ import annotations

from typing import Literal

from autokd.augment.policy import Policy, Step

__all__ = ["rotation"]
SEARCH = {"rotation": {"angles": {"choose": ["all", "half"]}}}


def rotation(*, angles: Literal["all", "half"] = "all", crop_first: bool = True) -> Policy:
    """Turn by 90, 180 or 270 degrees (`half`: 180), each as likely; after the crop, or before it as SSKD does.

    The published arm expands a batch to all four rotations of one crop; a ratio of 0.75 and shared geometry train on that.

    angles: turn by 90, 180 or 270 degrees (all), or by 180 alone (half)
    crop_first: whether the image is cropped before it is turned

    Source: METHODS section 4 (public code liwei-group/CCD@32bbe5a, C100/train_kd_cifar.py) and trap T25.
    """
    turns = (1.0, 2.0, 3.0) if angles == "all" else (2.0,)
    return Policy("rotation", (Step("quarter_turn", turns[0], choices=turns),), after_crop=crop_first)
