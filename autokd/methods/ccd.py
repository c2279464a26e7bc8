"""Cosine Confidence Distillation: an augmented view counts by how alike the teacher finds it and its plain view."""

import torch
from torch import Tensor

from autokd.rooms import Positive

__all__ = ["ccd"]

SEARCH = {"ccd": {"temperature": {"log": [1, 10]}, "normalise_weight": {"choose": [False, True]}}}
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
) -> Tensor:
    """KD in which each augmented row has the weight 1 + cos(teacher on the view, teacher on the plain view), in [0, 2].

    student_logits, teacher_logits: [N, C]. plain_teacher_logits: [N, C], row n holds the teacher's logits on the plain view
    of the image of row n: rows are paired by image, never by their place in the batch. augmented: bool [N]; plain rows have
    the weight 1. `normalise_weight` divides the weights by their mean over the augmented rows, which separates how much
    these rows count together from which of them count. Returns a scalar: the mean over rows, in nats. With all weights 1
    this is KD.

    Source: "Cosine Confidence Distillation" of the ACCV 2022 study of augmentation in distillation: the weight is taken on
    raw logits, without temperature; temperature 4.
    """
    student = (student_logits.float() / temperature).log_softmax(dim=1)
    teacher = (teacher_logits.detach().float() / temperature).log_softmax(dim=1)
    per_row = (teacher.exp() * (teacher - student)).sum(dim=1)  # [N]
    weight = 1 + torch.cosine_similarity(teacher_logits.float(), plain_teacher_logits.float(), dim=1)  # [N]
    if normalise_weight and bool(augmented.any()):
        weight = weight / weight[augmented].mean().clamp_min(1e-6)
    weight = torch.where(augmented, weight, torch.ones_like(weight)).detach()
    return temperature**2 * (weight * per_row).mean()
