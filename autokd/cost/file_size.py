"""The size of the file that a student is exported to, known before there is one."""

from __future__ import annotations

from torch import nn

from autokd.models.checkpoint import saved_bytes

__all__ = ["file_size"]


def file_size(model: nn.Module) -> int:
    """Bytes of the safetensors file of the network's weights, as `autokd finalize` writes it; nothing is written.

    Counted are the learnable numbers and the buffers (running statistics), each in its own type, and the header: the names,
    shapes and places, and what the network is built from.
    """
    return saved_bytes(model)
