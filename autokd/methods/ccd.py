"""Cosine Confidence Distillation: an augmented view counts by how alike the teacher finds it and its plain view."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from autokd.methods._soft import divergence
from autokd.rooms import Positive

__all__ = ["ccd"]

SEARCH = {
    "ccd": {
        "temperature": {"log": [1, 10]},
        "normalise_weight": {"choose": [False, True]},
        "weight_map": {"choose": ["one_plus", "power", "exponential"]},
        "cosine_of": {"choose": ["logits", "probabilities"]},
        "sharpness": {"log": [0.5, 8]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LEVEL = "logits"


def ccd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    plain_teacher_logits: Tensor,
    augmented: Tensor,
    *,
    temperature: Positive = 4.0,
    normalise_weight: bool = False,
    weight_map: Literal["one_plus", "power", "exponential"] = "one_plus",
    cosine_of: Literal["logits", "probabilities"] = "logits",
    sharpness: Positive = 1.0,
) -> Tensor:
    """KD in which each augmented row has the weight 1 + cos(teacher on the view, teacher on the plain view), in [0, 2].

    student_logits, teacher_logits: [N, C]. plain_teacher_logits: [N, C], row n holds the teacher's logits on the plain view
    of the image of row n: rows are paired by image, never by their place in the batch. augmented: bool [N]; plain rows have
    the weight 1. `normalise_weight` divides the weights by their mean over the augmented rows, which separates how much
    these rows count together from which of them count. Returns a scalar: the mean over rows, in nats. With all weights 1
    this is KD.

    Variants of ours: `weight_map` "power" is max(cos, 0)^sharpness, "exponential" is exp(sharpness (cos - 1)), and `sharpness`
    matters to these two alone; `cosine_of` takes the cosine of raw logits, or of probabilities at the temperature.

    temperature: softens both distributions: the higher, the more the small probabilities count
    normalise_weight: whether the weights are divided by their mean over the augmented rows
    weight_map: from the cosine to a row's weight: 1 + cos (published), a power or an exponential of it
    cosine_of: the cosine is of raw logits (published), or of probabilities at the temperature
    sharpness: of the weight maps power and exponential: the higher, the fewer rows count

    Source: "Cosine Confidence Distillation" of the ACCV 2022 study of augmentation in distillation: the weight is taken on
    raw logits, without temperature; temperature 4.
    """
    weight = confidence(
        teacher_logits,
        plain_teacher_logits,
        augmented,
        temperature=temperature,
        normalise_weight=normalise_weight,
        weight_map=weight_map,
        cosine_of=cosine_of,
        sharpness=sharpness,
    )
    return (weight * divergence(student_logits, teacher_logits, temperature)).mean()


def confidence(
    teacher_logits: Tensor,
    plain_teacher_logits: Tensor,
    augmented: Tensor,
    *,
    temperature: float = 4.0,
    normalise_weight: bool = False,
    weight_map: str = "one_plus",
    cosine_of: str = "logits",
    sharpness: float = 1.0,
) -> Tensor:
    """How much each row counts: [N], float32, without gradient. Arguments as those of `ccd`."""
    view, plain = teacher_logits.detach().float(), plain_teacher_logits.detach().float()
    if cosine_of == "probabilities":
        view, plain = (view / temperature).softmax(dim=1), (plain / temperature).softmax(dim=1)
    cosine = torch.cosine_similarity(view, plain, dim=1)  # [N]
    if weight_map == "one_plus":
        weight = 1 + cosine
    elif weight_map == "power":
        weight = cosine.clamp_min(0).pow(sharpness)
    else:
        weight = (sharpness * (cosine - 1)).exp()
    if normalise_weight and bool(augmented.any()):
        weight = weight / weight[augmented].mean().clamp_min(1e-6)
    return torch.where(augmented, weight, torch.ones_like(weight))
