"""Multi-level distillation for low resolution: features, relations and outputs of a teacher that sees more."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from autokd.methods._features import Features
from autokd.methods._resolution import lowered
from autokd.methods._stages import Norm, aligned, same_side
from autokd.methods.at import at
from autokd.methods.kd import kd
from autokd.methods.spkd import spkd
from autokd.rooms import Count, NonNegative, Positive

__all__ = ["multilevel"]

SEARCH = {
    "multilevel": {
        "temperature": {"log": [1, 20]},
        "feature_weight": {"log": [0.01, 10]},
        "relation_weight": {"log": [0.01, 10]},
        "output_weight": {"log": [0.01, 10]},
        "relation": {"choose": ["attention", "similarity"]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LEVEL = "features"
ALONE = True  # it decides what the whole batch looks like, so it is no term beside another method


class multilevel(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Counterpart of multi-level knowledge distillation for low-resolution recognition: three levels, each with a weight.

    The trainer lowers the student's images by `factor` (bicubic down and up again, in training and in scoring alike); the
    teacher sees the views as they are. feature_weight x the mean over the stages after the stem of the mean squared error
    between the teacher's map and the student's through a learned 1x1 convolution with batch norm (maps averaged down to
    the smaller) + relation_weight x the attention maps' distance summed over stages (`at`) or the similarity matrices' at
    the last stage (`spkd`) + output_weight x T^2 KL(teacher || student). Returns a scalar.

    Only the title's claims are public, neither code nor formulas. Decided here: all of the above.

    factor: by how much the student's images are lowered in resolution
    temperature: softens both distributions of the output level
    feature_weight: weight of the feature level
    relation_weight: weight of the relation level
    output_weight: weight of the output level
    relation: what the relation level compares: attention maps, or similarity matrices of the batch

    Source: a counterpart, not a reproduction, of multi-level distillation for low resolution (Knowledge-Based Systems, 2022).
    """

    def __init__(
        self,
        *,
        factor: Count = 2,
        temperature: Positive = 4.0,
        feature_weight: NonNegative = 1.0,
        relation_weight: NonNegative = 1.0,
        output_weight: NonNegative = 1.0,
        relation: Literal["attention", "similarity"] = "attention",
    ) -> None:
        super().__init__()
        self.factor, self.temperature, self.relation = factor, temperature, relation
        self.weights = (feature_weight, relation_weight, output_weight)
        self.adapters = nn.ModuleList()

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        for student, teacher in aligned(student_features.stages, teacher_features.stages):
            outputs = teacher.shape[1]
            self.adapters.append(nn.Sequential(nn.Conv2d(student.shape[1], outputs, 1, bias=False), Norm(outputs)))

    def student_images(self, images: Tensor) -> Tensor:
        """What the student is shown of images [B, C, H, W]; the trainer and the scoring both ask."""
        return lowered(images, self.factor)

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        feature, relation, output = self.weights
        softened = kd(student_features.logits, teacher_features.logits.detach(), temperature=self.temperature)
        total = output * softened
        if feature:
            pairs = aligned(student_features.stages, teacher_features.stages)
            parts = []
            for adapter, (student, teacher) in zip(self.adapters, pairs, strict=True):
                one, other = same_side(adapter(student.float()), teacher.detach().float())
                parts.append(mse_loss(one, other))
            total = total + feature * torch.stack(parts).mean()
        if relation:
            compare = at if self.relation == "attention" else spkd
            total = total + relation * compare(student_features, teacher_features)
        return total
