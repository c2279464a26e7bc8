"""Turn an image by right angles: no pixel is lost and none is made up."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.errors import AutokdError

__all__ = ["quarter_turn"]
LIMITS = {"quarter_turn": (0, 3)}
NEUTRAL = {"quarter_turn": 0}
WHOLE = ("quarter_turn",)


def quarter_turn(images: Tensor, magnitude: Tensor) -> Tensor:
    """Turn by `magnitude` right angles, counter-clockwise. The images must be square.

    images: [n, C, S, S] uint8. magnitude: [n], whole. Returns [n, C, S, S] uint8.
    Source: METHODS section 4; torch.rot90.
    """
    if images.shape[-1] != images.shape[-2]:
        raise AutokdError(
            f"a right-angle rotation needs square images, not {tuple(images.shape[-2:])}", fix="use `rotate` instead"
        )
    turned = torch.empty_like(images)
    for turns in magnitude.unique():
        rows = (magnitude == turns).nonzero()[:, 0].to(images.device)
        turned[rows] = images[rows].rot90(int(turns), (2, 3))
    return turned
