"""Joint Data Augmentation as published for CIFAR-10."""

from __future__ import annotations

from autokd.augment.policies._levels import chain
from autokd.augment.policy import Policy
from autokd.rooms import Fraction, Positive

__all__ = ["jda_cifar10"]
SEARCH = {
    "jda_cifar10": {
        "probability": {"choose": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]},
        "strength": {"choose": [0.5, 0.75, 1.0, 1.25, 1.5]},
    }
}

_LEVELS = [  # in the order in which they are applied; levels 0 to 9
    ("invert", 7),
    ("rotate", 2),
    ("shear_y", 8),
    ("posterize", 9),
    ("autocontrast", 5),
    ("color", 3),
    ("sharpness", 9),
    ("equalize", 5),
    ("contrast", 7),
    ("translate_y", 3),
    ("brightness", 6),
    ("solarize", 2),
    ("translate_x", 3),
    ("shear_x", 8),
]


def jda_cifar10(*, probability: Fraction = 0.5, strength: Positive = 1.0) -> Policy:
    """Fourteen ops in a fixed order, each firing on its own with `probability`.

    `strength` scales magnitudes: their distance from what changes nothing.

    probability: of each op, on its own
    strength: scales each magnitude's distance from what changes nothing; 1: as published

    Source: METHODS section 2, the CIFAR-10 list of the ACCV 2022 study (public code liwei-group/CCD, data/datasets.py).
    """
    return chain("jda_cifar10", _LEVELS, probability=probability, strength=strength)
