"""Two families of published CIFAR checkpoints, written out as a person's own models.

A network that autokd does not know is a function that returns a `torch.nn.Module`. autokd calls it with `classes` (and
`channels` and `size` where it takes them) and with the `options` of the space file:

    teachers:
      resnet20:
        model: examples/public_teachers.py:resnet_option_a
        options: {depth: 20}
        checkpoint: resnet20-12fca82f.th
        mean: [0.485, 0.456, 0.406]
        std: [0.229, 0.224, 0.225]

Names of attributes are the names in the checkpoint, so they are not free.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, relu

__all__ = ["resnet_option_a", "resnet_wide_stem"]


class _OptionABlock(nn.Module):
    """Basic block whose shortcut has no weights: every second pixel, and zeros for the channels that are new."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.new = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if self.new:
            half = self.new // 2
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new - half))
        return relu(out + x)


class OptionAResNet(nn.Module):
    """The CIFAR-10 network of "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2."""

    def __init__(self, depth: int, classes: int, channels: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_OptionABlock(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(_OptionABlock(16, 32, 2), *(_OptionABlock(32, 32, 1) for _ in range(blocks - 1)))
        self.layer3 = nn.Sequential(_OptionABlock(32, 64, 2), *(_OptionABlock(64, 64, 1) for _ in range(blocks - 1)))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def resnet_option_a(depth: int, classes: int = 10, channels: int = 3) -> OptionAResNet:
    """The CIFAR-10 checkpoints of github.com/akamaster/pytorch_resnet_cifar10 (depth 20, 32, 44, 56, 110).

    Their images are scaled to 0..1 and normalised with ImageNet's mean and deviation.
    """
    return OptionAResNet(depth, classes, channels)


class _SumBlock(nn.Module):
    """Basic block that hands its sum on without a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + self.shortcut(x)


class WideStemResNet(nn.Module):
    """Stem of 64 filters, stages of 16, 32 and 64, one ReLU at the end of each stage, and a classifier that reads 2x2
    pooled maps.
    """

    def __init__(self, depth: int, classes: int, channels: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_SumBlock(64, 16, 1), *(_SumBlock(16, 16, 1) for _ in range(blocks - 1)))
        self.layer2 = nn.Sequential(_SumBlock(16, 32, 2), *(_SumBlock(32, 32, 1) for _ in range(blocks - 1)))
        self.layer3 = nn.Sequential(_SumBlock(32, 64, 2), *(_SumBlock(64, 64, 1) for _ in range(blocks - 1)))
        self.linear = nn.Linear(256, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3):
            x = relu(layer(x))
        return self.linear(avg_pool2d(x, 4).flatten(1))  # [B, 64, 2, 2] -> [B, 256]


def resnet_wide_stem(depth: int, classes: int = 100, channels: int = 3) -> WideStemResNet:
    """The CIFAR-100 checkpoints of github.com/karanchahal/distiller (depth 8, 14, 20, 26, 32), for images of 32x32.

    Their images are scaled to 0..1 and normalised with mean (0.507, 0.487, 0.441) and deviation (0.267, 0.256, 0.276).
    """
    return WideStemResNet(depth, classes, channels)
