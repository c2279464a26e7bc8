"""DIST: keep the teacher's relations between classes of an image, and between images of a class, not its exact numbers."""

from __future__ import annotations

from torch import Tensor

from autokd.rooms import NonNegative, Positive

__all__ = ["dist"]

SEARCH = {
    "dist": {
        "temperature": {"log": [1, 8]},
        "beta": {"log": [0.25, 4]},
        "gamma": {"log": [0.25, 4]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 2.0}
LEVEL = "logits"

_EPSILON = 1e-8


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: Positive = 4.0,
    beta: NonNegative = 1.0,
    gamma: NonNegative = 1.0,
) -> Tensor:
    """T^2 x [beta x (1 - mean correlation of rows) + gamma x (1 - mean correlation of columns)] of softened probabilities.

    student_logits, teacher_logits: [N, C]. The correlations are Pearson's, between the student's and the teacher's softmax at
    the temperature: over the classes of each image, and over the batch for each class. A batch of one has no relation
    between images, so the second part is left out. As in the published code 1e-8 is added to the product of the two norms of a
    correlation: a column that does not vary correlates 0, and one that hardly varies (a class that is improbable in the
    whole batch, at a low temperature) hardly counts. Depends on the batch size. Returns a scalar, near zero where every row
    and column is a rising linear function of the teacher's.

    temperature: softens both distributions before they are correlated
    beta: weight of the relation between the classes of an image
    gamma: weight of the relation between the images of a class

    Source: "Knowledge Distillation from A Stronger Teacher", arXiv:2205.10536, equations 8 to 10.
    Weight 2 and temperature 4 are those of its CIFAR configuration (ImageNet: 1).
    """
    student = (student_logits.float() / temperature).softmax(dim=1)
    teacher = (teacher_logits.detach().float() / temperature).softmax(dim=1)
    loss = beta * (1 - _correlation(student, teacher).mean())
    if len(student) > 1:
        loss = loss + gamma * (1 - _correlation(student.T, teacher.T).mean())
    return temperature**2 * loss


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation of each row: [M, K], [M, K] -> [M]."""
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    return (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1) + _EPSILON)
