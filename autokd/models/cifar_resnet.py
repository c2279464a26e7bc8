"""ResNets for small images: a 3x3 stem and three stages of basic blocks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from autokd.errors import AutokdError
from autokd.models._init import kaiming_fan_out
from autokd.models.features import Staged, pool, through

__all__ = ["resnet"]

PATTERN = r"resnet(?P<depth>\d+)(x(?P<width>\d+(\.\d+)?))?"
EXAMPLE = "resnet{depth}, resnet{depth}x{width}: depth 8, 14, 20, ... (6n + 2), width any factor such as 0.5 or 4"
DEPTHS = (8, 6)  # the first, and the step to the next
AMBIGUOUS = {
    "resnet50": "resnet50_cifar (bottleneck blocks) or torchvision:resnet50",
    "resnet152": "torchvision:resnet152",
}
SMALLEST = 4  # pixels a side
SIZES = {  # name: (parameters, multiply-accumulates) at 3x32x32 and 100 classes
    "resnet8": (83_892, 12_507_392),
    "resnet14": (181_108, 26_663_168),
    "resnet20": (278_324, 40_818_944),
    "resnet32": (472_756, 69_130_496),
    "resnet44": (667_188, 97_442_048),
    "resnet56": (861_620, 125_753_600),
    "resnet110": (1_736_564, 253_155_584),
    "resnet8x4": (1_233_540, 177_071_104),
    "resnet32x4": (7_433_860, 1_083_040_768),
}


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut. The ReLU after the sum belongs to the caller, who may want both sides of
    it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = relu(self.bn1(self.conv1(x)), inplace=True)
        return self.bn2(self.conv2(x)) + shortcut


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(outputs if i else inputs, outputs, 1 if i else stride) for i in range(blocks))


class CifarResNet(Staged):
    """Stages: the stem and the three groups of blocks, each after its ReLU."""

    def __init__(self, classes: int, channels: int, blocks: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        stem, first, second, third = widths
        self.conv1 = nn.Conv2d(channels, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(blocks, stem, first, 1)
        self.layer2 = _stage(blocks, first, second, 2)
        self.layer3 = _stage(blocks, second, third, 2)
        self.fc = nn.Linear(third, classes)
        kaiming_fan_out(self)

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        stages, before = through(self.bn1(self.conv1(x)), (self.layer1, self.layer2, self.layer3))
        return stages, before, pool(stages[-1])


def resnet(classes: int, channels: int, depth: int, width: float = 1.0) -> CifarResNet:
    """CIFAR ResNet of basic blocks: 16 stem filters, stages of 16, 32 and 64, times `width`.

    [B, channels, H, W] -> [B, classes], any H and W from 4 on. The published x4 networks widen the stem by 2 only (32,
    64, 128, 256), and so does width 4 here; every other width scales the stem too.
    Source: "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2; x4: arXiv:1910.10699.
    """
    narrow = round(16 * width)
    widths = (32, 64, 128, 256) if width == 4 else (narrow, narrow, round(32 * width), round(64 * width))
    if min(widths) < 1:
        raise AutokdError(f"a width factor of {width:g} leaves no filters", fix="the smallest factor is 1/16")
    return CifarResNet(classes, channels, (depth - 2) // 6, widths)
