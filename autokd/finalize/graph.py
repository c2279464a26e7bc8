"""A student as it is deployed: from grey levels to logits in one graph, normalisation included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from autokd.finalize.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deployed", "program"]


class Deployed(nn.Module):
    """The network behind its own preprocessing. images: uint8 [N, C, H, W]; returns float32 logits [N, classes]."""

    centre: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.network = network
        self.shown = _shown(facts.shown)
        # the operations and their order are those of autokd.augment.normalise, so that no logit moves
        mean, std = (
            torch.tensor(told, dtype=torch.float32).view(1, -1, 1, 1) * 255 for told in (facts.mean, facts.std)
        )
        self.register_buffer("centre", mean)
        self.register_buffer("scale", 1 / std)

    def forward(self, images: Tensor) -> Tensor:
        normalised = (images.to(torch.float32) - self.centre) * self.scale
        return self.network(normalised if self.shown is None else self.shown(normalised)).float()


def _shown(told: dict[str, Any] | None) -> Callable[[Tensor], Tensor] | None:
    if told is None:
        return None
    from autokd.methods.build import build_method

    return build_method(told["method"], told["settings"]).student_images


def program(model: Deployed, images: Tensor) -> torch.export.ExportedProgram:
    """The graph of `model`, for any number of images. images: uint8 [B, C, H, W], two or more, on the CPU.

    Raises whatever torch.export raises for a network it cannot follow.
    """
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    model = model.eval()
    try:
        return torch.export.export(model, (images,), dynamic_shapes=shapes, strict=False)
    except Exception as first:
        try:  # the stricter reading of a network's code follows some that the other does not
            return torch.export.export(model, (images,), dynamic_shapes=shapes, strict=True)
        except Exception:
            raise first from None
