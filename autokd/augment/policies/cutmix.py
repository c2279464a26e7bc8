"""CutMix: a box of another image pasted in."""

from __future__ import annotations

from autokd.augment.policy import Policy, Step
from autokd.rooms import Fraction, Positive

__all__ = ["cutmix"]
SEARCH = {"cutmix": {"alpha": {"choose": [0.2, 0.5, 1.0, 2.0]}, "probability": {"choose": [0.25, 0.5, 0.75, 1.0]}}}


def cutmix(*, alpha: Positive = 1.0, probability: Fraction = 1.0) -> Policy:
    """A box of another image pasted in, the label shared by area; the share is drawn from Beta(alpha, alpha).

    alpha: of the Beta distribution that the share is drawn from: low, shares are near 0 or 1; 1: all alike
    probability: share of the views that are mixed

    Source: "CutMix", arXiv:1905.04899, section 3.
    """
    return Policy("cutmix", (Step("cutmix", alpha, probability=probability),), kind="mix")
