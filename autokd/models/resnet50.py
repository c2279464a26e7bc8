"""ResNet-50 of bottleneck blocks with a stem for small images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from autokd.models._init import kaiming_fan_out
from autokd.models.features import Staged, pool, through

__all__ = ["resnet50_cifar"]

PATTERN = r"resnet50_cifar"
EXAMPLE = "resnet50_cifar"
ALIASES = {"ResNet50": "resnet50_cifar"}
SMALLEST = 8
SIZES = {"resnet50_cifar": (23_705_252, 1_298_014_208)}


class _Block(nn.Module):
    """1x1, 3x3 (which carries the stride), 1x1, beside a shortcut. The ReLU after the sum belongs to the caller."""

    def __init__(self, inputs: int, narrow: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * narrow
        self.conv1 = nn.Conv2d(inputs, narrow, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = relu(self.bn1(self.conv1(x)), inplace=True)
        x = relu(self.bn2(self.conv2(x)), inplace=True)
        return self.bn3(self.conv3(x)) + shortcut


def _stage(blocks: int, inputs: int, narrow: int, stride: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(4 * narrow if i else inputs, narrow, 1 if i else stride) for i in range(blocks))


class ResNet50(Staged):
    """Stages: the stem and the four groups, each after its ReLU."""

    head = "linear"

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(3, 64, 64, 1)
        self.layer2 = _stage(4, 256, 128, 2)
        self.layer3 = _stage(6, 512, 256, 2)
        self.layer4 = _stage(3, 1024, 512, 2)
        self.linear = nn.Linear(2048, classes)
        kaiming_fan_out(self)

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        stages, before = through(self.bn1(self.conv1(x)), (self.layer1, self.layer2, self.layer3, self.layer4))
        return stages, before, pool(stages[-1])


def resnet50_cifar(classes: int, channels: int) -> ResNet50:
    """ResNet-50 with a 3x3 stem of stride 1 and no max-pooling.

    [B, channels, H, W] -> [B, classes], any H and W from 8 on.
    Source: "Deep Residual Learning for Image Recognition", arXiv:1512.03385, table 1; stem: arXiv:1910.10699.
    """
    return ResNet50(classes, channels)
