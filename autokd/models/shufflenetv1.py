"""ShuffleNet V1 for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from autokd.models._shuffle import shuffle
from autokd.models.features import Staged, pool, through

__all__ = ["shufflenetv1"]

PATTERN = r"shufflenetv1"
EXAMPLE = "shufflenetv1"
ALIASES = {"ShuffleV1": "shufflenetv1"}
SMALLEST = 4
SIZES = {"shufflenetv1": (949_258, 38_691_456)}

_STEM, _GROUPS = 24, 3


class _Block(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1. At stride 2 the pooled input is set beside the result, else
    added.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        made = outputs - inputs if stride == 2 else outputs
        middle = made // 4
        self.groups = 1 if inputs == _STEM else _GROUPS  # the stem's 24 channels are too few to part
        self.conv1 = nn.Conv2d(inputs, middle, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, made, 1, groups=_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(made)

    def forward(self, x: Tensor) -> Tensor:
        out = shuffle(relu(self.bn1(self.conv1(x)), inplace=True), self.groups)
        out = relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return torch.cat([out, avg_pool2d(x, 3, 2, 1)], dim=1) if self.stride == 2 else out + x


def _stage(blocks: int, inputs: int, outputs: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(outputs if i else inputs, outputs, 1 if i else 2) for i in range(blocks))


class ShuffleNetV1(Staged):
    """Stages: the stem and the three groups, each after its ReLU."""

    head = "linear"

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.layer1 = _stage(4, _STEM, 240)
        self.layer2 = _stage(8, 240, 480)
        self.layer3 = _stage(4, 480, 960)
        self.linear = nn.Linear(960, classes)

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        stages, before = through(self.bn1(self.conv1(x)), (self.layer1, self.layer2, self.layer3))
        return stages, before, pool(stages[-1])


def shufflenetv1(classes: int, channels: int) -> ShuffleNetV1:
    """ShuffleNet V1 with three groups, a 1x1 stem and no pooling before the stages; weights start as PyTorch makes
    them.

    [B, channels, H, W] -> [B, classes], any H and W from 4 on.
    Source: "ShuffleNet", arXiv:1707.01083, table 1 (g = 3); small-image form as in arXiv:1910.10699.
    """
    return ShuffleNetV1(classes, channels)
