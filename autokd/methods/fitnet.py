"""FitNet hints: regress one of the teacher's feature maps from the student's."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from autokd.methods._features import Features
from autokd.methods._stages import Norm, aligned, choose, same_side

__all__ = ["fitnet"]

SEARCH = {"fitnet": {"stage": {"choose": ["middle", "first", "last"]}}}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 100.0}
LEVEL = "features"


class fitnet(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Mean squared error between a teacher stage and the student's stage of the same depth through a 1x1 regressor.

    The mean is over all elements. Where the maps differ in size, both are averaged down to the smaller one. `stage`: the
    first, middle or last after the stem. The regressor (1x1 convolution and batch norm, no ReLU, since the stages of a
    WideResNet are signed) trains with the student. One stage of training from the beginning, as in arXiv:1910.10699, not
    the two stages of the first paper.

    stage: the stage whose map the student has to match: the first, middle or last after the stem

    Source: "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, equation 3; weight 100: arXiv:1910.10699.
    """

    def __init__(self, *, stage: Literal["first", "middle", "last"] = "middle") -> None:
        super().__init__()
        self.stage = stage
        self.regressor = nn.Sequential()

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        student, teacher = self._pair(student_features, teacher_features)
        inputs, outputs = student.shape[1], teacher.shape[1]
        self.regressor = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), Norm(outputs))

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        student, teacher = self._pair(student_features, teacher_features)
        student, teacher = same_side(self.regressor(student.float()), teacher.detach().float())
        return mse_loss(student, teacher)

    def _pair(self, student: Features, teacher: Features) -> tuple[Tensor, Tensor]:
        pairs = aligned(student.stages, teacher.stages)  # the stems are gone from these
        return pairs[choose(len(pairs) + 1, self.stage) - 1]
