"""Leave the image as it is."""

from __future__ import annotations

from torch import Tensor

__all__ = ["identity"]


def identity(images: Tensor) -> Tensor:
    """The same images, [n, C, H, W]. RandAugment and TrivialAugment count it among their ops.

    Source: "RandAugment", arXiv:1909.13719.
    """
    return images
