"""ShuffleNet V2 for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from autokd.models._shuffle import shuffle
from autokd.models.features import Staged, pool

__all__ = ["shufflenetv2"]

PATTERN = r"shufflenetv2"
EXAMPLE = "shufflenetv2"
ALIASES = {"ShuffleV2": "shufflenetv2"}
SMALLEST = 4
SIZES = {"shufflenetv2": (1_355_528, 44_504_448)}

_STEM, _LAST = 24, 1024


class _Down(nn.Module):
    """Halve the side and widen: two branches read all channels, and their results are dealt together."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = nn.Conv2d(inputs, inputs, 3, 2, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn1(self.conv1(x))
        left = self.bn2(self.conv2(left))
        right = relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn4(self.conv4(right))
        right = self.bn5(self.conv5(right))
        return shuffle(relu(torch.cat([left, right], dim=1), inplace=True), 2)


class _Keep(nn.Module):
    """Half of the channels pass untouched, the other half are filtered, and both are dealt together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The output, and the two halves as they were before the last ReLU (not yet dealt together)."""
        kept, x = x.chunk(2, dim=1)
        x = relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        x = self.bn3(self.conv3(x))
        return shuffle(torch.cat([kept, relu(x)], dim=1), 2), (kept, x)


def _stage(blocks: int, inputs: int, outputs: int) -> nn.ModuleList:
    return nn.ModuleList([_Down(inputs, outputs), *(_Keep(outputs) for _ in range(blocks - 1))])


class ShuffleNetV2(Staged):
    """Stages: the stem and the three groups, each after its ReLU."""

    head = "linear"

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.layer1 = _stage(4, _STEM, 116)
        self.layer2 = _stage(8, 116, 232)
        self.layer3 = _stage(4, 232, 464)
        self.conv2 = nn.Conv2d(464, _LAST, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(_LAST)
        self.linear = nn.Linear(_LAST, classes)

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        before = [self.bn1(self.conv1(x))]
        stages = [relu(before[0])]
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer[0](stages[-1])
            for block in layer[1:]:
                x, halves = block(x)
            stages.append(x)
            before.append(shuffle(torch.cat(halves, dim=1), 2))
        return stages, before, pool(relu(self.bn2(self.conv2(x)), inplace=True))


def shufflenetv2(classes: int, channels: int) -> ShuffleNetV2:
    """ShuffleNet V2 of size 1 with a 1x1 stem and no pooling before the stages; weights start as PyTorch makes them.

    [B, channels, H, W] -> [B, classes], any H and W from 4 on.
    Source: "ShuffleNet V2", arXiv:1807.11164, table 5 (1x); small-image form as in arXiv:1910.10699.
    """
    return ShuffleNetV2(classes, channels)
