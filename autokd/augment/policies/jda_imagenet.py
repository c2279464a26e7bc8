"""Joint Data Augmentation as published for ImageNet."""

from __future__ import annotations

from autokd.augment.policies._levels import chain
from autokd.augment.policy import Policy
from autokd.rooms import Fraction, Positive

__all__ = ["jda_imagenet"]
SEARCH = {
    "jda_imagenet": {
        "probability": {"choose": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]},
        "strength": {"choose": [0.5, 0.75, 1.0, 1.25, 1.5]},
    }
}

_LEVELS = [  # in the order in which they are applied; levels 0 to 9
    ("posterize", 8),
    ("solarize", 5),
    ("equalize", 8),
    ("posterize", 7),
    ("equalize", 7),
    ("equalize", 4),
    ("solarize", 3),
    ("posterize", 5),
    ("rotate", 3),
    ("equalize", 8),
    ("rotate", 8),
    ("rotate", 9),
    ("equalize", 0),
    ("invert", 4),
    ("color", 4),
    ("rotate", 8),
    ("color", 8),
    ("sharpness", 7),
    ("shear_x", 5),
    ("color", 0),  # changes nothing
    ("equalize", 8),
    ("solarize", 5),
    ("invert", 4),
    ("color", 4),
    ("equalize", 8),
]


def jda_imagenet(*, probability: Fraction = 0.2, strength: Positive = 1.0) -> Policy:
    """25 entries with repeats in a fixed order, each firing on its own with `probability`.

    `strength` scales magnitudes: their distance from what changes nothing.

    probability: of each op, on its own
    strength: scales each magnitude's distance from what changes nothing; 1: as published

    Source: METHODS section 2, the ImageNet list of the ACCV 2022 study (public code liwei-group/CCD, data/datasets.py).
    """
    return chain("jda_imagenet", _LEVELS, probability=probability, strength=strength)
