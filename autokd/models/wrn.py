"""Wide ResNets: batch norm and ReLU come before each convolution."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.functional import relu

from autokd.models._init import normal_by_outputs
from autokd.models.features import Staged, pool
from autokd.rooms import Fraction

__all__ = ["wrn"]

PATTERN = r"wrn_(?P<depth>\d+)_(?P<width>[1-9]\d*)"
EXAMPLE = "wrn_{depth}_{width}: depth 10, 16, 22, 28, 40, ... (6n + 4), width 1, 2, 3, ..."
DEPTHS = (10, 6)
SMALLEST = 4
SIZES = {
    "wrn_16_1": (180_916, 26_663_168),
    "wrn_16_2": (703_284, 101_118_464),
    "wrn_40_1": (569_780, 83_286_272),
    "wrn_40_2": (2_255_156, 327_610_880),
}


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = None  # published checkpoints spell it so
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The sum, and the batch norm of the input: what the stage before looks like just before its ReLU."""
        before = self.bn1(x)
        active = relu(before)
        out = relu(self.bn2(self.conv1(active)), inplace=True)
        if self.dropout:
            out = drop(out, self.dropout, self.training)
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        return shortcut + self.conv2(out), before


class _Group(nn.Module):
    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            _Block(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1, dropout) for i in range(blocks)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, before = self.layer[0](x)
        for block in self.layer[1:]:
            x, _ = block(x)
        return x, before


class WideResNet(Staged):
    """Stages: the stem and the three groups, as sums that no batch norm or ReLU has touched yet."""

    def __init__(self, classes: int, channels: int, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.block1 = _Group(blocks, 16, 16 * width, 1, dropout)
        self.block2 = _Group(blocks, 16 * width, 32 * width, 2, dropout)
        self.block3 = _Group(blocks, 32 * width, 64 * width, 2, dropout)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes)
        normal_by_outputs(self)

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        stages, before = [self.conv1(x)], []
        for group in (self.block1, self.block2, self.block3):
            x, normed = group(stages[-1])  # each batch norm runs once, so its statistics move once a step
            stages.append(x)
            before.append(normed)
        before.append(self.bn1(x))
        return stages, before, pool(relu(before[-1]))


def wrn(classes: int, channels: int, depth: int, width: int, *, dropout: Fraction = 0.0) -> WideResNet:
    """Wide ResNet: 16 stem filters, stages of 16, 32 and 64 times `width`; `dropout` between a block's convolutions.

    [B, channels, H, W] -> [B, classes], any H and W from 4 on.

    dropout: probability that a value between a block's two convolutions is dropped in training

    Source: "Wide Residual Networks", arXiv:1605.07146, section 2.
    """
    return WideResNet(classes, channels, (depth - 4) // 6, width, dropout)
