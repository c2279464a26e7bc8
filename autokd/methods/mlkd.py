"""Multi-level logit distillation: every image's answer, how images resemble each other, how classes do; at five temperatures."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.methods._soft import divergence
from autokd.rooms import Fraction, NonNegative, Positive

__all__ = ["mlkd"]

SEARCH = {
    "mlkd": {
        "temperature": {"log": [1, 8]},
        "batch_weight": {"log": [0.1, 10]},
        "class_weight": {"log": [0.1, 10]},
        "unsure": {"uniform": [0.1, 1]},
    }
}
WEIGHTS = {"ce_weight": 0.2, "kd_weight": 1.8}
LEVEL = "logits"

_BESIDE = (2.0, 3.0, 5.0, 6.0)  # the temperatures beside `temperature`


def mlkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    augmented: Tensor,
    *,
    temperature: Positive = 4.0,
    batch_weight: NonNegative = 1.0,
    class_weight: NonNegative = 1.0,
    unsure: Fraction = 0.5,
) -> Tensor:
    """The sum over five temperatures of KL by image + batch_weight x batch consistency + class_weight x class consistency.

    student_logits, teacher_logits: [N, C]. augmented: bool [N]. The temperatures are `temperature`, 2, 3, 5 and 6, as in the
    released code. With P the softened probabilities [B, C] of B rows, the KL is T^2 KL(teacher || student), the mean over rows;
    batch consistency is the squared distance of the two matrices P P^T over B, class consistency that of the two P^T P
    over C (both without T^2). Plain and augmented rows are two batches; their losses are averaged by their numbers of rows.

    `unsure` masks the plain rows: only the share of rows with the lowest teacher confidence (largest probability, unsoftened)
    counts in the KL and as columns of the batch matrix, only the share of classes with the smallest total probability as
    columns of the class matrix; what is masked counts as zero. 1 switches the masks off. Returns a scalar.

    temperature: the middle one of the five
    batch_weight: weight of the agreement on which images are alike
    class_weight: weight of the agreement on which classes are alike
    unsure: share of the plain rows, and of the classes, that count: the least sure ones; 1: all

    Source: "Multi-level Logit Distillation", CVPR 2023, sections 3.2 to 3.4.
    The released code averages before it masks and reads plain views where augmented ones are meant; this is the definition
    it aims at. Its weights 0.1 and 0.9 stand at the sum of both kinds of view, hence twice that here.
    """
    return levels(
        student_logits,
        teacher_logits,
        (student_logits, teacher_logits),
        augmented,
        temperature=temperature,
        batch_weight=batch_weight,
        class_weight=class_weight,
        unsure=unsure,
    )


def levels(
    student_logits: Tensor,
    teacher_logits: Tensor,
    compared: tuple[Tensor, Tensor],
    augmented: Tensor,
    *,
    temperature: float = 4.0,
    batch_weight: float = 1.0,
    class_weight: float = 1.0,
    unsure: float = 0.5,
) -> Tensor:
    """`mlkd`, with the student's and the teacher's logits of the KL given apart (`compared`): a wrapper changes only these."""
    total = student_logits.new_zeros((), dtype=torch.float32)
    for chosen, share in ((~augmented, unsure), (augmented, 1.0)):
        rows = int(chosen.sum())
        if not rows:
            continue
        student, teacher = student_logits[chosen].float(), teacher_logits[chosen].detach().float()
        likely = teacher.softmax(dim=1)
        images = _lowest(likely.amax(dim=1), share)  # [B], 1 or 0
        classes = _lowest(likely.sum(dim=0), share)  # [C]
        for warm in (temperature, *_BESIDE):
            mine, theirs = (student / warm).softmax(dim=1), (teacher / warm).softmax(dim=1)
            alike = (mine @ mine.T - theirs @ theirs.T).square()  # [B, B]
            together = (mine.T @ mine - theirs.T @ theirs).square()  # [C, C]
            part = (images * divergence(compared[0][chosen], compared[1][chosen], warm)).mean()
            part = part + batch_weight * (images * alike).sum() / rows
            part = part + class_weight * (classes * together).sum() / len(classes)
            total = total + rows / len(augmented) * part
    return total


def _lowest(values: Tensor, share: float) -> Tensor:
    """1 for the share of `values` at most their quantile, 0 for the others."""
    return (values <= values.quantile(share)).float()
