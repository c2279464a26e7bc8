"""Joint Data Augmentation as published for CIFAR-100."""

from __future__ import annotations

from autokd.augment.policies._levels import chain
from autokd.augment.policy import Policy
from autokd.rooms import Fraction, Positive

__all__ = ["jda_cifar100"]
SEARCH = {
    "jda_cifar100": {
        "probability": {"choose": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]},
        "strength": {"choose": [0.5, 0.75, 1.0, 1.25, 1.5]},
    }
}

_LEVELS = [  # in the order in which they are applied; levels 0 to 9
    ("autocontrast", 2),
    ("contrast", 3),
    ("posterize", 0),  # 8 bits: changes nothing
    ("solarize", 4),
    ("translate_y", 8),
    ("shear_x", 5),
    ("brightness", 3),
    ("shear_y", 0),  # changes nothing
    ("translate_x", 1),
    ("sharpness", 5),
    ("invert", 4),
    ("color", 4),
    ("equalize", 8),
    ("rotate", 3),  # always +10 degrees
]


def jda_cifar100(*, probability: Fraction = 0.3, strength: Positive = 1.0) -> Policy:
    """Fourteen ops, of which two change nothing, in a fixed order, each firing on its own with `probability`.

    `strength` scales magnitudes: their distance from what changes nothing.

    probability: of each op, on its own
    strength: scales each magnitude's distance from what changes nothing; 1: as published

    Source: METHODS section 2, the CIFAR-100 list of the ACCV 2022 study (public code liwei-group/CCD, data/datasets.py).
    """
    return chain("jda_cifar100", _LEVELS, probability=probability, strength=strength)
