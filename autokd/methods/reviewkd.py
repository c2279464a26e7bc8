"""Knowledge review: every teacher stage is regressed from the student's stage of its depth and all deeper ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, mse_loss

from autokd.errors import AutokdError
from autokd.methods._features import Features
from autokd.methods._stages import Norm, aligned
from autokd.methods._warmup import risen
from autokd.rooms import Count, NonNegative

__all__ = ["reviewkd"]

SEARCH = {"reviewkd": {"warmup": {"uniform": [0, 40]}, "width": {"choose": [512, 256, 128]}}}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 5.0}
LEVEL = "features"

_GRIDS = (4, 2, 1)


class reviewkd(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Hierarchical context loss between the teacher's maps before their ReLU and the student's, fused from deep to shallow.

    The levels are the pooled vector, as a map of one place, and the stages after the stem. From the deepest up, a
    student map passes a 1x1 convolution with batch norm to min(width, deepest channels); the fused map of the level below,
    enlarged to its side (nearest), is mixed in, each by a sigmoid attention map of a 1x1 convolution over both; the mixture
    is brought to the teacher's side (nearest) and through a 3x3 convolution with batch norm to the teacher's channels. The
    loss of a level is the mean squared error of the maps and of their averages on grids of 4, 2 and 1 places a side, with
    the weights 1, 1/2, 1/4 and 1/8 over their sum (grids not below the map's side are left out); the levels are summed.
    `warmup`: epochs over which the loss rises, min(1, n / warmup) in the n-th epoch, constant within an epoch. All modules train
    with the student; the convolutions begin as in the authors' code (Kaiming, uniform, as for a linear layer). Returns a scalar.

    warmup: epochs over which the loss rises to its full strength; 0: at once
    width: channels of the maps in which the levels are fused, at the most

    Source: "Distilling Knowledge via Knowledge Review", arXiv:2104.09044, section 3.
    Maps before their ReLU, the grids' weights and the 20 epochs of warm-up are those of the authors' CIFAR code, which counts
    epochs from 0; here they count from 1, as in the code of arXiv:2203.08679. Its weights are 5 for WideResNets and 0.6 to 8
    elsewhere.
    """

    def __init__(self, *, warmup: NonNegative = 20.0, width: Count = 512) -> None:
        super().__init__()
        self.warmup, self.width = warmup, width
        self.enter, self.attend, self.leave = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        levels = _levels(student_features, teacher_features)
        width = min(self.width, levels[0][0].shape[1])
        for number, (student, teacher) in enumerate(levels):
            outputs = teacher.shape[1]
            self.enter.append(nn.Sequential(nn.Conv2d(student.shape[1], width, 1, bias=False), Norm(width)))
            self.leave.append(nn.Sequential(nn.Conv2d(width, outputs, 3, padding=1, bias=False), Norm(outputs)))
            self.attend.append(nn.Conv2d(2 * width, 2, 1) if number else nn.Identity())
            for layers in (self.enter[-1], self.leave[-1]):
                nn.init.kaiming_uniform_(layers[0].weight, a=1)  # type: ignore[index]

    def forward(self, student_features: Features, teacher_features: Features, epoch: float) -> Tensor:
        levels = _levels(student_features, teacher_features)
        if len(levels) != len(self.enter):
            raise AutokdError("reviewkd was built for networks with another number of stages")
        parts, fused = [], levels[0][0].new_zeros(())
        for number, (student, teacher) in enumerate(levels):
            own = self.enter[number](student)
            if number:
                deeper = interpolate(fused, own.shape[-2:], mode="nearest")
                share = self.attend[number](torch.cat([own, deeper], dim=1)).sigmoid()  # [B, 2, H, W]
                own = own * share[:, :1] + deeper * share[:, 1:]
            fused = own if own.shape[-2:] == teacher.shape[-2:] else interpolate(own, teacher.shape[-2:])
            parts.append(context_loss(self.leave[number](fused), teacher))
        total = torch.stack(parts).sum()
        return total * risen(epoch, self.warmup)


def context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two maps [B, C, H, W] and of their averages on coarser grids, weighted to a sum of 1."""
    total, weights, weight = mse_loss(student, teacher), 1.0, 1.0
    for side in _GRIDS:
        if side >= student.shape[-2]:
            continue
        weight /= 2
        weights += weight
        total = total + weight * mse_loss(adaptive_avg_pool2d(student, side), adaptive_avg_pool2d(teacher, side))
    return total / weights


def _levels(student: Features, teacher: Features) -> list[tuple[Tensor, Tensor]]:
    """(student, teacher) maps in float32, deepest first: the pooled vectors [B, D, 1, 1], then the stages."""
    pairs = [(student.pooled[:, :, None, None], teacher.pooled[:, :, None, None])]
    pairs += reversed(aligned(student.stages, teacher.before_relu))
    return [(one.float(), other.detach().float()) for one, other in pairs]
