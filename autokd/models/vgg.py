"""VGG with batch norm, for small images: five blocks of 3x3 convolutions and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from autokd.models._init import normal_by_outputs
from autokd.models.features import Staged, pool

__all__ = ["vgg"]

PATTERN = r"vgg(?P<depth>8|11|13|16|19)"
EXAMPLE = "vgg8, vgg11, vgg13, vgg16, vgg19"
SMALLEST = 8
SIZES = {
    "vgg8": (3_965_028, 96_192_512),
    "vgg11": (9_277_284, 209_438_720),
    "vgg13": (9_462_180, 284_936_192),
    "vgg16": (14_774_436, 398_182_400),
    "vgg19": (20_086_692, 511_428_608),
}

_CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _block(convolutions: int, inputs: int, outputs: int) -> nn.Sequential:
    """Convolutions with batch norm and ReLU, the last ReLU left to the caller."""
    layers: list[nn.Module] = []
    for i in range(convolutions):
        layers += [nn.Conv2d(outputs if i else inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class Vgg(Staged):
    """Stages: the five blocks after their last ReLU and before the pooling."""

    head = "classifier"

    def __init__(self, classes: int, channels: int, depth: int) -> None:
        super().__init__()
        counts = _CONVOLUTIONS[depth]
        self.block0 = _block(counts[0], channels, 64)
        self.block1 = _block(counts[1], 64, 128)
        self.block2 = _block(counts[2], 128, 256)
        self.block3 = _block(counts[3], 256, 512)
        self.block4 = _block(counts[4], 512, 512)
        self.classifier = nn.Linear(512, classes)
        normal_by_outputs(self, linear_std=0.01)

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        pools = 4 if min(x.shape[-2:]) >= 64 else 3  # larger images are halved once more, after block 3
        stages: list[Tensor] = []
        before: list[Tensor] = []
        for number, block in enumerate((self.block0, self.block1, self.block2, self.block3, self.block4)):
            before.append(block(x))
            stages.append(relu(before[-1]))
            x = max_pool2d(stages[-1], 2) if number < pools else stages[-1]
        return stages, before, pool(stages[-1])


def vgg(classes: int, channels: int, depth: int) -> Vgg:
    """VGG with batch norm and a single linear layer after global pooling.

    [B, channels, H, W] -> [B, classes]; H and W from 8 on.
    Source: "Very Deep Convolutional Networks", arXiv:1409.1556, table 1; vgg8: arXiv:1910.10699.
    """
    return Vgg(classes, channels, depth)
