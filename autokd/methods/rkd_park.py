"""Relational distillation of distances and angles: the figure that the images of a batch form, whatever its size."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

from autokd.methods._features import Features
from autokd.methods._relations import distances
from autokd.rooms import NonNegative

__all__ = ["rkd_park"]

SEARCH = {"rkd_park": {"distance_weight": {"log": [1, 250]}, "angle_weight": {"log": [2, 500]}}}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LEVEL = "relation"


def rkd_park(
    student_features: Features,
    teacher_pooled: Tensor,
    *,
    distance_weight: NonNegative = 25.0,
    angle_weight: NonNegative = 50.0,
) -> Tensor:
    """Relational distillation: keep the distances and the angles between the pooled vectors of a batch.

    distance_weight x smooth L1 of relative distances + angle_weight x smooth L1 of angles. A relative distance is
    ||f_i - f_j|| over its mean in the batch, each network's own. An angle is the cosine at image i between the directions to
    j and to k. Both are compared over all pairs [B, B] and triplets [B, B, B], the empty ones (an image with itself)
    included as zeros, so that widths may differ and nothing has to be learned. Returns a scalar.

    Memory: B^3 floats for each network.

    distance_weight: weight of the relative distances between images
    angle_weight: weight of the angles between triplets of images

    Source: "Relational Knowledge Distillation", arXiv:1904.05068, equations 5 to 10.
    Weights 25 and 50: those that the code of arXiv:1910.10699 gives it.
    """
    student, teacher = student_features.pooled.float(), teacher_pooled.detach().float()
    apart = smooth_l1_loss(distances(student), distances(teacher))
    turned = smooth_l1_loss(_angles(student), _angles(teacher))
    return distance_weight * apart + angle_weight * turned


def _angles(x: Tensor) -> Tensor:
    """Cosines at i between the directions to j and to k: [B, D] -> [B, B, B]."""
    towards = normalize(x[None] - x[:, None], dim=2)  # [i, j, D]
    return towards @ towards.transpose(1, 2)
