"""Plain knowledge distillation: match the teacher's softened class probabilities."""

from torch import Tensor

from autokd.methods._soft import divergence
from autokd.rooms import Positive

__all__ = ["kd"]

SEARCH = {"kd": {"temperature": {"log": [1, 20]}}}
WEIGHTS = {"ce_weight": 0.1, "kd_weight": 0.9}
LEVEL = "logits"


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: Positive = 4.0) -> Tensor:
    """KL(teacher || student) at a raised temperature, rescaled so that its gradient keeps its size.

    student_logits, teacher_logits: [N, C], any float dtype. Returns a scalar: the mean over rows, in nats.

    temperature: softens both distributions: the higher, the more the small probabilities count

    Source: "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2.
    """
    return divergence(student_logits, teacher_logits, temperature).mean()
