"""Similarity-preserving distillation: images that are alike to the teacher shall be alike to the student."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import normalize

from autokd.methods._features import Features
from autokd.methods._stages import aligned

__all__ = ["spkd"]

SEARCH = {"spkd": {"layer": {"choose": ["last", "all", "pooled"]}}}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 3000.0}
LEVEL = "relation"


def spkd(
    student_features: Features, teacher_features: Features, *, layer: Literal["last", "all", "pooled"] = "last"
) -> Tensor:
    """Squared distance of the two row-normalised similarity matrices of the batch, over B^2.

    The matrix of a layer is F F^T, [B, B], with F the flattened maps, each row divided by its norm. `layer`: the last map
    before pooling, all maps after the stem (summed), or the pooled vectors. All rows of the batch take part, so plain and
    augmented views of an image are compared too. Returns a scalar.

    layer: whose maps are compared: the last before pooling, all after the stem, or the pooled vectors

    Source: "Similarity-Preserving Knowledge Distillation", arXiv:1907.09682, section 3.
    Weight 3000: the code of arXiv:1910.10699.
    """
    if layer == "pooled":
        pairs = [(student_features.pooled, teacher_features.pooled)]
    else:
        pairs = aligned(student_features.stages, teacher_features.stages)
        pairs = pairs[-1:] if layer == "last" else pairs
    parts = [
        (_similarity(student) - _similarity(teacher.detach())).square().sum() / len(student) ** 2
        for student, teacher in pairs
    ]
    return sum(parts[1:], parts[0])


def _similarity(x: Tensor) -> Tensor:
    x = x.float().flatten(1)
    return normalize(x @ x.T, dim=1)  # [B, B]
