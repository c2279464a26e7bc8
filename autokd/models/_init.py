"""How the zoo's networks start. Every network says below which of these its published definition used."""

from __future__ import annotations

import math

from torch import nn


def kaiming_fan_out(model: nn.Module) -> None:
    """Convolutions normal with variance 2 / (outputs x kernel area / groups); linear layers as PyTorch makes them."""
    if _without_values(model):
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def normal_by_outputs(model: nn.Module, linear_std: float | None = None) -> None:
    """Convolutions N(0, 2 / (kernel area x outputs)), all biases zero; linear weights N(0, linear_std) where given.

    Unlike Kaiming's fan-out, the number of outputs is not divided by the groups of a depthwise convolution.
    """
    if _without_values(model):
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / (area * module.out_channels)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            if linear_std is not None:
                nn.init.normal_(module.weight, 0.0, linear_std)
            nn.init.zeros_(module.bias)


def _without_values(model: nn.Module) -> bool:
    """On the meta device there is nothing to fill, and drawing there would import PyTorch's compiler: a second and more."""
    return any(parameter.is_meta for parameter in model.parameters())
