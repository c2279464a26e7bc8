"""Attention transfer: where a stage is active, whatever its channels say."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from autokd.methods._features import Features
from autokd.methods._stages import aligned, same_side
from autokd.rooms import Positive

__all__ = ["at"]

SEARCH = {"at": {"power": {"choose": [2.0, 1.0, 4.0]}}}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1000.0}
LEVEL = "features"


def at(student_features: Features, teacher_features: Features, *, power: Positive = 2.0) -> Tensor:
    """Mean squared difference of normalised attention maps, summed over the stages after the stem.

    The attention of a map [B, C, H, W] is the channel mean of |map|^power, flattened to [B, HW] and divided by its norm.
    Maps of different size are averaged down to the smaller one first; where the networks have different numbers of stages,
    the deepest are paired. Returns a scalar: per stage the mean over images and places.

    power: of |map| before the channels are averaged: the higher, the more the strongest channels count

    Source: "Paying More Attention to Attention", arXiv:1612.03928, equation 2; the mean of squares as in its code.
    The weight 1000 is that of arXiv:1910.10699 for images of 32 pixels: the mean over places makes a good weight grow
    with the number of places, so that much smaller images want a much smaller one.
    """
    total = student_features.logits.new_zeros((), dtype=student_features.stages[0].float().dtype)
    for student, teacher in aligned(student_features.stages, teacher_features.stages):
        one, other = same_side(student.float(), teacher.detach().float())
        difference = _attention(one, power) - _attention(other, power)
        total = total + difference.square().mean()
    return total


def _attention(x: Tensor, power: float) -> Tensor:
    x = x.square() if power == 2 else x.abs().clamp_min(1e-6).pow(power)  # the derivative of |x|^p at 0 may be infinite
    return normalize(x.mean(dim=1).flatten(1), dim=1)  # [B, HW]
