"""Convolutions that torch cannot train in the channels-last order on an x86 processor, and the order that they get instead.

The backward pass of a 1x1 convolution with a stride and few input channels reaches beyond its memory there (torch 2.15 with
oneDNN 3.13, found with a guard page behind every buffer): with AVX-512 where it reads fewer than 16 channels and writes more than
512 places, in bfloat16 also where it writes fewer, and with AVX2 at any size where it reads fewer than 8. The process ends with
SIGSEGV or SIGABRT, or goes on over foreign memory. Channels first it does not happen. Only the convolution itself changes its
order: the rest of the network keeps the speed of channels last, which is a third of a step's time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["compilable", "in_safe_order", "unsafe"]

_LANES = 16  # float32 numbers in a register of AVX-512
_PLACES = 512  # of the output, up to which float32 is right with AVX-512
_MARK = "_autokd_safe_order"


def unsafe(layer: nn.Module) -> bool:
    """Whether a layer is such a convolution: dense, 1x1, with a stride, without padding, on fewer than 16 channels."""
    return (
        isinstance(layer, nn.Conv2d)
        and not isinstance(layer, nn.modules.lazy.LazyModuleMixin)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.padding in ((0, 0), 0, "valid")
        and layer.groups == 1
        and layer.in_channels < _LANES
    )


def in_safe_order(network: nn.Module) -> nn.Module:
    """Let such convolutions of `network` read images and weights channels first. Changes rounding at the most.

    It is to be called after each `network.to(memory_format=...)`, which moves the weights; again and again does no harm.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d) or not unsafe(layer):
            continue
        if layer.weight.stride() != (layer.in_channels, 1, 1, 1):
            with torch.no_grad():  # `contiguous` takes a 1x1 kernel for contiguous in either order
                layer.weight.data = torch.empty_strided(
                    layer.weight.shape, (layer.in_channels, 1, 1, 1), dtype=layer.weight.dtype, device=layer.weight.device
                ).copy_(layer.weight)
        if not getattr(layer, _MARK, False):
            layer.register_forward_pre_hook(_channels_first)
            setattr(layer, _MARK, True)
    return network


def compilable(network: nn.Module, device: torch.device) -> bool:
    """Whether `torch.compile` may have the network: it lays out convolutions as it likes, these too."""
    return device.type != "cpu" or not any(unsafe(layer) for layer in network.modules())


def _channels_first(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    images, *rest = inputs
    if not isinstance(images, Tensor) or images.device.type != "cpu":
        return None
    places = -(-images.shape[-2] // layer.stride[0]) * -(-images.shape[-1] // layer.stride[1])
    half = images.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    if places <= _PLACES and not half and layer.in_channels >= _LANES // 2:
        return None
    if images.stride(1) == images.shape[-2] * images.shape[-1]:
        return None
    return (images.clone(memory_format=torch.contiguous_format), *rest)  # `contiguous` keeps what is one pixel wide
