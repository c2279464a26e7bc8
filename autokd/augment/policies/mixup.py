"""MixUp: two images faded into each other."""

from __future__ import annotations

from autokd.augment.policy import Policy, Step
from autokd.rooms import Fraction, Positive

__all__ = ["mixup"]
SEARCH = {"mixup": {"alpha": {"choose": [0.2, 0.5, 1.0, 2.0]}, "probability": {"choose": [0.25, 0.5, 0.75, 1.0]}}}


def mixup(*, alpha: Positive = 1.0, probability: Fraction = 1.0) -> Policy:
    """Two images faded into each other, the label shared alike; the share is drawn from Beta(alpha, alpha).

    alpha: of the Beta distribution that the share is drawn from: low, shares are near 0 or 1; 1: all alike
    probability: share of the views that are mixed

    Source: "mixup", arXiv:1710.09412, section 2.
    """
    return Policy("mixup", (Step("mixup", alpha, probability=probability),), kind="mix")
