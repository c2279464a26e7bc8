"""Plain knowledge distillation: match the teacher's softened class probabilities."""

from torch import Tensor

from autokd.rooms import Positive

__all__ = ["kd"]

SEARCH = {"kd": {"temperature": {"log": [1, 20]}}}
WEIGHTS = {"ce_weight": 0.1, "kd_weight": 0.9}
LEVEL = "logits"


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: Positive = 4.0) -> Tensor:
    """KL(teacher || student) at a raised temperature, rescaled so that its gradient keeps its size.

    student_logits, teacher_logits: [N, C], any float dtype. Returns a scalar: the mean over rows, in nats.

    Source: "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2.
    """
    student = (student_logits.float() / temperature).log_softmax(dim=1)
    teacher = (teacher_logits.detach().float() / temperature).log_softmax(dim=1)
    per_row = (teacher.exp() * (teacher - student)).sum(dim=1)  # [N]
    return temperature**2 * per_row.mean()
