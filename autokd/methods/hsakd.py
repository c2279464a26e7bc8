"""HSAKD: branches on every stage name class and rotation at once, and the teacher's are distilled stage by stage."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from autokd.errors import AutokdError
from autokd.methods._features import Features
from autokd.methods._stages import Norm
from autokd.methods.kd import kd
from autokd.rooms import Count, NonNegative, Positive

__all__ = ["hsakd"]

SEARCH = {
    "hsakd": {
        "temperature": {"uniform": [1, 8]},
        "branch_weight": {"uniform": [0, 2]},
        "main_on_turned": {"choose": [True, False]},
        "teacher_mode": {"choose": ["frozen", "joint"]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LEVEL = "features"
ALONE = True  # it decides what the whole batch looks like, so it is no term beside another method


class hsakd(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Hierarchical self-supervised augmented distillation: joint class-and-rotation distributions from every stage.

    The trainer turns every view by 0, 90, 180 and 270 degrees; a batch counts all of them. A branch on each stage after
    the stem repeats the shape of the stages that follow it, and of the last stage once more at stride 1, then pools and
    classifies 4 x classes joint labels, 4 y + r. The teacher's branches are trained first (`head_epochs`) with
    cross-entropy on the joint labels: "frozen" leaves the teacher as it is; "joint" trains a copy of it with them, with
    its own cross-entropy on upright views, and that copy teaches. The student's branches train with the student, whose
    stages learn from them. The teacher's stage is SGD at 0.05 with Nesterov momentum, the rate falling to a tenth at 30, 60
    and 90 of 100 epochs ("frozen") or at 150, 180 and 210 of 240 ("joint"); `head_epochs` null takes those lengths, another
    length keeps their shape. The loss is

      T^2 KL(teacher || student) of the networks' own logits, on all turns (or upright views where not main_on_turned)
      + branch_weight x the sum over branches of T^2 KL(teacher's branch || student's branch), on all turns

    Networks with different numbers of branches are paired from the deepest. Cross-entropy is on upright views alone.
    Returns a scalar.

    Two departures from the published code: its branches copy the stages of the network's own family, while these are
    `blocks` residual blocks a stage for every family; and its joint teacher is trained from scratch, while this one goes
    on from the given weights.

    temperature: softens both distributions, those of the networks and those of the branches
    branch_weight: weight of the branches' divergences beside that of the networks' own logits
    main_on_turned: whether the networks' own logits are compared on turned views, too
    teacher_mode: the teacher stays as it is (frozen), or a copy of it is trained with its branches (joint)
    blocks: residual blocks of each stage of a branch
    head_epochs: epochs of the stage that trains the teacher's branches

    Source: "Hierarchical Self-supervised Augmented Knowledge Distillation", arXiv:2107.13715, section 3.
    Temperature 3 and unit weights: its code.
    """

    turns = 4

    def __init__(
        self,
        *,
        temperature: Positive = 3.0,
        branch_weight: NonNegative = 1.0,
        main_on_turned: bool = True,
        teacher_mode: Literal["frozen", "joint"] = "frozen",
        blocks: Count = 1,
        head_epochs: Positive | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.branch_weight, self.main_on_turned = temperature, branch_weight, main_on_turned
        self.blocks = blocks
        joint = teacher_mode == "joint"
        self.stage: dict[str, Any] = {
            "method": "hsakd",
            "epochs": head_epochs if head_epochs is not None else 240.0 if joint else 100.0,
            "milestones": [0.625, 0.75, 0.875] if joint else [0.3, 0.6, 0.9],
            "nesterov": True,
            "joint": joint,
            "blocks": blocks,
        }
        self.branches, self.teacher_parts = nn.ModuleList(), nn.ModuleList()

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        classes = student_features.logits.shape[1]
        self.branches = _branches(student_features.stages, classes, self.blocks)
        self.build_teacher_parts(teacher_features, classes)

    def build_teacher_parts(self, teacher_features: Features, classes: int) -> None:
        """The teacher's branches, untrained: `autokd.train.stages` trains them."""
        self.teacher_parts = _branches(teacher_features.stages, classes, self.blocks)

    def teacher_loss(self, features: Features, labels: Tensor, rotation: Tensor, view: Tensor) -> Tensor:
        """What the teacher's branches minimise before any student, with the joint teacher's own cross-entropy."""
        joint = 4 * labels + rotation
        total = torch.stack([cross_entropy(x, joint) for x in _answers(self.teacher_parts, features.stages)]).sum()
        if self.stage["joint"]:
            upright = rotation == 0
            total = total + cross_entropy(features.logits[upright].float(), labels[upright])
        return total

    def forward(self, student_features: Features, teacher_features: Features, rotation: Tensor) -> Tensor:
        student, teacher = student_features.logits, teacher_features.logits.detach()
        if not self.main_on_turned and bool((rotation == 0).any()):
            student, teacher = student[rotation == 0], teacher[rotation == 0]
        total = kd(student, teacher, temperature=self.temperature)
        if self.branch_weight == 0:
            return total
        mine = _answers(self.branches, student_features.stages)
        with torch.no_grad():
            theirs = _answers(self.teacher_parts, teacher_features.stages)
        depth = min(len(mine), len(theirs))
        parts = [
            kd(one, other, temperature=self.temperature)
            for one, other in zip(mine[-depth:], theirs[-depth:], strict=True)
        ]
        return total + self.branch_weight * torch.stack(parts).sum()


class _Block(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            Norm(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            Norm(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), Norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.body(x) + self.shortcut(x))


def _branches(stages: tuple[Tensor, ...], classes: int, blocks: int) -> nn.ModuleList:
    """One branch for each stage after the stem (kept where it is all there is)."""
    if not stages:
        raise AutokdError("a network without feature maps can carry no branches", fix="choose another method")
    maps = list(stages[1:] or stages)
    shapes = [(x.shape[1], x.shape[-1]) for x in maps]  # (channels, side)
    branches = nn.ModuleList()
    for number, (channels, side) in enumerate(shapes):
        later = shapes[number + 1 :] or [shapes[-1]]  # the last branch adds a stage at stride 1
        layers: list[nn.Module] = []
        for outputs, small in later:
            stride = max(1, round(side / small))
            for block in range(blocks):
                layers.append(_Block(channels, outputs, stride if block == 0 else 1))
                channels = outputs
            side = small
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4 * classes)]
        branches.append(nn.Sequential(*layers))
    return branches


def _answers(branches: nn.ModuleList, stages: tuple[Tensor, ...]) -> list[Tensor]:
    """Joint logits [B, 4 classes] of every branch."""
    return [branch(x.float()) for branch, x in zip(branches, stages[1:] or stages, strict=True)]
