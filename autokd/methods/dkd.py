"""Decoupled knowledge distillation: how sure the teacher is of the label, and what it says of the other classes, apart."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.methods._warmup import risen
from autokd.rooms import NonNegative, Positive

__all__ = ["dkd"]

SEARCH = {
    "dkd": {
        "temperature": {"log": [1, 8]},
        "alpha": {"log": [0.25, 4]},
        "beta": {"log": [0.5, 16]},
        "warmup": {"uniform": [0, 40]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LEVEL = "logits"


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    epoch: float,
    *,
    temperature: Positive = 4.0,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 8.0,
    warmup: NonNegative = 20.0,
) -> Tensor:
    """min(1, n / warmup) x T^2 x (alpha x target part + beta x non-target part), the mean over rows, in the n-th epoch, in nats.

    student_logits, teacher_logits: [N, C]. labels: int64 [N] (where a policy mixes images, the own label). The target part
    is KL(teacher || student) of (label, anything else); the non-target part is KL(teacher || student) of the softmax over
    the other classes. Row by row KL = target part + (1 - teacher's probability of the label) x non-target part: KD keeps
    the second small wherever the teacher is sure. `warmup` is in epochs, 0 for none; as published, epochs are counted from 1
    and the factor is constant within an epoch. Returns a scalar.

    temperature: softens both distributions: the higher, the more the small probabilities count
    alpha: weight of the target part: how sure the teacher is of the label
    beta: weight of the non-target part: how it spreads the rest over the other classes
    warmup: epochs over which the loss rises to its full strength; 0: at once

    Source: "Decoupled Knowledge Distillation", arXiv:2203.08679, equations 7 and 8.
    Its beta is 8 where teacher and student differ in kind, 6 for WideResNets and VGGs, 2 for resnet56 to resnet20, 0.5 on
    ImageNet (there with temperature 1 and one epoch of warm-up).
    """
    student_sure, student_other, student_rest = _parted(student_logits.float() / temperature, labels)
    teacher_sure, teacher_other, teacher_rest = _parted(teacher_logits.detach().float() / temperature, labels)
    target = teacher_sure.exp() * (teacher_sure - student_sure)
    target = target + teacher_other.exp() * (teacher_other - student_other)  # [N]
    others = (teacher_rest.exp() * (teacher_rest - student_rest)).sum(dim=1)  # [N]
    return risen(epoch, warmup) * temperature**2 * (alpha * target + beta * others).mean()


def _parted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of the label [N] and of anything else [N], and log-probabilities among the others [N, C - 1].

    From sums over the other classes, not from 1 - p, which loses everything once p rounds to 1.
    """
    is_label = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    others = logits[~is_label].view(len(logits), -1)  # [N, C - 1]
    whole, rest = logits.logsumexp(dim=1), others.logsumexp(dim=1)
    return logits[is_label] - whole, rest - whole, others - rest[:, None]
