"""Cross-entropy with the labels: training without a teacher, and the supervised part of every other method."""

from torch import Tensor

from autokd.rooms import Fraction

__all__ = ["ce"]

SEARCH = {"ce": {"label_smoothing": {"uniform": [0, 0.2]}}}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 0.0}
LEVEL = "labels"


def ce(student_logits: Tensor, targets: Tensor, *, label_smoothing: Fraction = 0.0) -> Tensor:
    """Cross-entropy between label probabilities and the student's, the mean over rows, in nats.

    student_logits: [N, C], any float dtype. targets: [N, C], label probabilities (one-hot, or mixed where a policy mixes
    images). Returns a scalar.

    label_smoothing: the share of a label's probability that is spread evenly over all classes

    Source: "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567, section 7 (label smoothing).
    """
    targets = targets.float() * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    return -(targets * student_logits.float().log_softmax(dim=1)).sum(dim=1).mean()
