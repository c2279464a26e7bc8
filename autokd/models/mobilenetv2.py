"""MobileNetV2 at half width, for small images, in the two forms that published work mixes up."""

from __future__ import annotations

from torch import Tensor, nn

from autokd.models._init import normal_by_outputs
from autokd.models.features import Staged, pool

__all__ = ["mobilenetv2"]

PATTERN = r"mobilenetv2_half(?P<stem>_s1)?"
EXAMPLE = "mobilenetv2_half (stem of stride 2), mobilenetv2_half_s1 (stem of stride 1: four times the arithmetic)"
ALIASES = {"MobileNetV2": "mobilenetv2_half", "mobile_half": "mobilenetv2_half"}
AMBIGUOUS = {"mobilenetv2": "mobilenetv2_half (stem of stride 2) or mobilenetv2_half_s1 (stride 1)"}
SMALLEST = 4
SIZES = {"mobilenetv2_half": (812_836, 6_523_648), "mobilenetv2_half_s1": (812_836, 25_710_592)}

# (expansion, outputs at full width, repeats, stride of the first)
_ROWS = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_SEEN = (1, 2, 4, 6)  # rows whose output is a stage


class _Block(nn.Module):
    """Widen, filter each channel on its own, narrow without a ReLU; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.same else self.conv(x)


class MobileNetV2(Staged):
    """Stages: the stem after its ReLU, and four narrow outputs, which no ReLU follows."""

    head = "classifier"

    def __init__(self, classes: int, channels: int, stem_stride: int) -> None:
        super().__init__()
        inputs = 16
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, inputs, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()
        )
        self.blocks = nn.ModuleList()
        for expansion, full, repeats, stride in _ROWS:
            row = nn.Sequential()
            for number in range(repeats):
                row.append(_Block(inputs, full // 2, expansion, stride if number == 0 else 1))
                inputs = full // 2
            self.blocks.append(row)
        self.conv2 = nn.Sequential(nn.Conv2d(inputs, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.Linear(1280, classes))
        normal_by_outputs(self, linear_std=0.01)

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        convolution, norm, active = self.conv1
        before = [norm(convolution(x))]
        x = active(before[0])
        stages = [x]
        for number, row in enumerate(self.blocks):
            x = row(x)
            if number in _SEEN:
                stages.append(x)
                before.append(x)
        return stages, before, pool(self.conv2(x))


def mobilenetv2(classes: int, channels: int, stem: str = "") -> MobileNetV2:
    """MobileNetV2 at width 0.5 with ReLU. The `_s1` form has a stem of stride 1; both have the same parameters and key
    names.

    [B, channels, H, W] -> [B, classes], any H and W from 4 on. A checkpoint of one form loads into the other and scores
    badly.
    Source: "MobileNetV2", arXiv:1801.04381, table 2; stem stride 2: arXiv:1910.10699, stride 1: arXiv:2107.13715.
    """
    return MobileNetV2(classes, channels, 1 if stem else 2)
