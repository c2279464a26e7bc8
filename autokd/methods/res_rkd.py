"""Resolution-aware distillation: the teacher looks at the image, the student at what a low resolution leaves of it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import mse_loss, softplus

from autokd.methods._features import Features
from autokd.methods._relations import mmd, pairwise
from autokd.methods._resolution import lowered
from autokd.methods.kd import kd
from autokd.rooms import Count, NonNegative, Positive

__all__ = ["res_rkd"]

SEARCH = {
    "res_rkd": {
        "temperature": {"log": [1, 20]},
        "distil_weight": {"log": [0.1, 10]},
        "pair_weight": {"log": [0.01, 100]},
        "mmd_weight": {"log": [0.001, 10]},
        "adversarial_weight": {"log": [0.0001, 1]},
        "adversary": {"choose": ["alternate", "reversal"]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LEVEL = "relation"
ALONE = True  # it decides what the whole batch looks like, so it is no term beside another method


class res_rkd(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Counterpart of Resolution-aware Knowledge Distillation: four terms between pooled vectors of two resolutions.

    The trainer lowers the student's images by `factor` (bicubic down and up again, in training and in scoring alike: the
    score is that of a student which receives low-resolution images, brought to the network's size); the teacher sees the
    views as they are. With f the pooled vectors and A a learned linear map from the student's to the teacher's width the loss is

      distil_weight x (T^2 KL(teacher || student) + mean (f_T - A f_S)^2)
      + pair_weight x mean (D(f_T) - D(f_S))^2, D the Euclidean distances within the batch over their mean
      + mmd_weight x MMD^2(f_T, A f_S), unbiased, five Gaussians about the median distance
      + adversarial_weight x the student's part in a game with a discriminator (d - 512 - 256 - 1, leaky ReLU) that learns
        to tell f_T from A f_S: "alternate" -log D(A f_S) for the student and a loss of its own for the discriminator,
        both in the same step; "reversal" the discriminator's loss with the gradient turned round.

    The discriminator's own loss has the weight 1 beside the others and trains at the recipe's rate. Returns a scalar.

    No code and no formulas are public. Decided here: all of the above, with the discriminator on features rather than on inputs.

    factor: by how much the student's images are lowered in resolution
    temperature: softens both distributions
    distil_weight: weight of the divergence and of the distance between pooled vectors
    pair_weight: weight of the distances within the batch
    mmd_weight: weight of the maximum mean discrepancy between the two sets of vectors
    adversarial_weight: weight of the game with a discriminator
    adversary: the discriminator learns in turn with the student (alternate), or by a reversed gradient (reversal)

    Source: a counterpart, not a reproduction, of "Resolution-Aware Knowledge Distillation for Efficient Inference", TIP 2021.
    """

    def __init__(
        self,
        *,
        factor: Count = 2,
        temperature: Positive = 4.0,
        distil_weight: NonNegative = 1.0,
        pair_weight: NonNegative = 1.0,
        mmd_weight: NonNegative = 1.0,
        adversarial_weight: NonNegative = 0.01,
        adversary: Literal["alternate", "reversal"] = "alternate",
    ) -> None:
        super().__init__()
        self.factor, self.temperature, self.adversary = factor, temperature, adversary
        self.weights = (distil_weight, pair_weight, mmd_weight, adversarial_weight)
        self.adapt, self.judge = nn.Linear(1, 1), nn.Sequential()  # build_parts knows their sizes

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        width = teacher_features.pooled.shape[1]
        self.adapt = nn.Linear(student_features.pooled.shape[1], width)
        self.judge = nn.Sequential(
            nn.Linear(width, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)
        )

    def student_images(self, images: Tensor) -> Tensor:
        """What the student is shown of images [B, C, H, W]; the trainer and the scoring both ask."""
        return lowered(images, self.factor)

    def forward(self, student_features: Features, teacher_pooled: Tensor, teacher_logits: Tensor) -> Tensor:
        student, teacher = student_features.pooled.float(), teacher_pooled.detach().float()
        mapped = self.adapt(student)  # [B, width of the teacher]
        distil, pair, discrepancy, game = self.weights
        softened = kd(student_features.logits, teacher_logits.detach(), temperature=self.temperature)
        total = distil * (softened + mse_loss(mapped, teacher))
        if pair:
            total = total + pair * pairwise(student, teacher)
        if discrepancy:
            total = total + discrepancy * mmd(mapped, teacher)
        if game:
            total = total + self._game(mapped, teacher, game)
        return total

    def _game(self, mapped: Tensor, teacher: Tensor, weight: float) -> Tensor:
        known = softplus(-self.judge(teacher)).mean()  # -log D(teacher)
        if self.adversary == "reversal":
            return known + softplus(self.judge(_Reversal.apply(mapped, weight))).mean()
        frozen = {name: value.detach() for name, value in self.judge.named_parameters()}
        fooled = softplus(-functional_call(self.judge, frozen, (mapped,))).mean()  # -log D(student)
        return weight * fooled + known + softplus(self.judge(mapped.detach())).mean()


class _Reversal(torch.autograd.Function):
    """The same value forwards; the gradient times -weight backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * grad, None
