"""Views that follow the teacher's attention, for little data."""

from __future__ import annotations

from typing import Literal

from autokd.augment.policy import Policy, Step
from autokd.rooms import Fraction

__all__ = ["attention"]
FOLLOWS_TEACHER = True
SEARCH = {
    "attention": {
        "share": {"uniform": [0.1, 0.7]},
        "ops": {"choose": ["all", "crop", "drop", "keep"]},
        "strength": {"choose": [0.5, 0.75, 1.0]},
    }
}


def attention(
    *, share: Fraction = 0.3, ops: Literal["all", "crop", "drop", "keep"] = "all", strength: Fraction = 1.0
) -> Policy:
    """Crop to what the teacher looks at most, cover it, or cover the rest: one of them for each view, or the one named.

    `share`: of the image's pixels. `strength` brings each op nearer to doing nothing, which it does at 0. Needs a teacher, so
    it goes with no method that has none; its maps are computed once for a teacher and a data set.

    share: share of the image's pixels that is cropped to, covered or kept
    ops: one of the three for each view (all), or the one named
    strength: how far an op goes: 1 as it is, 0 nothing

    Source: METHODS section 18, a counterpart of "Attention-Based Data Augmentation for KD with Few Data" (2022).
    """
    names = ("crop", "drop", "keep") if ops == "all" else (ops,)
    steps = tuple(Step(f"attention_{name}", share).scaled(strength) for name in names)
    return Policy("attention", steps, kind="pick", picks=1)
