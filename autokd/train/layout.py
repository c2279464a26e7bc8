"""A workaround for convolutions whose backward pass crashes in channels-last order on x86.

Affected are 1x1 convolutions with a stride and few input channels (torch 2.15 with oneDNN 3.13, found with a guard page behind
every buffer): with AVX-512 fewer than 16 input channels and more than 512 output places, in bfloat16 also fewer places; with AVX2
fewer than 8 input channels at any size. oneDNN accesses memory outside of its buffers: the process ends with SIGSEGV or SIGABRT,
or goes on with corrupted memory. Channels-first order is not affected. Only these layers are switched to it, so that the rest of
the network keeps the speed of channels last (about a third of a step's time).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["compilable", "use_safe_layout", "unsafe"]

_LANES = 16  # float32 numbers in a register of AVX-512
_PLACES = 512  # of the output, up to which float32 is safe with AVX-512
_MARK = "_autokd_safe_order"


def unsafe(layer: nn.Module) -> bool:
    """Whether a layer is affected: a dense 1x1 convolution with a stride, without padding, with fewer than 16 input channels."""
    return (
        isinstance(layer, nn.Conv2d)
        and not isinstance(layer, nn.modules.lazy.LazyModuleMixin)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.padding in ((0, 0), 0, "valid")
        and layer.groups == 1
        and layer.in_channels < _LANES
    )


def use_safe_layout(network: nn.Module) -> nn.Module:
    """Switch affected convolutions of `network` to channels-first images and weights. Results change by rounding only.

    Call it after each `network.to(memory_format=...)`, which changes the weights' layout; repeated calls are harmless.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d) or not unsafe(layer):
            continue
        if layer.weight.stride() != (layer.in_channels, 1, 1, 1):
            with torch.no_grad():  # for `contiguous`, a 1x1 kernel is contiguous in either order
                layer.weight.data = torch.empty_strided(
                    layer.weight.shape, (layer.in_channels, 1, 1, 1), dtype=layer.weight.dtype, device=layer.weight.device
                ).copy_(layer.weight)
        if not getattr(layer, _MARK, False):
            layer.register_forward_pre_hook(_channels_first)
            setattr(layer, _MARK, True)
    return network


def compilable(network: nn.Module, device: torch.device) -> bool:
    """Whether the network may be compiled: `torch.compile` chooses the layout of affected convolutions itself."""
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
    return (images.clone(memory_format=torch.contiguous_format), *rest)  # `contiguous` keeps images of one pixel width
