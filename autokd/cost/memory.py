"""The memory that one inference takes, followed through the network's own operations."""

from __future__ import annotations

import weakref
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autokd.models.build import sides

__all__ = ["memory"]


def memory(model: nn.Module, *, channels: int, size: int | tuple[int, int]) -> int:
    """Peak bytes of one inference on one image [channels, size, size] in the network's own type: weights and activations.

    Weights are parameters and buffers. Activations are the most bytes that are alive at one moment: the image, and each
    operation's result from the moment it is made until the network's code lets go of it, as PyTorch runs it, operation by
    operation; views and results written in place take none. What an operation needs for itself (a convolution's workspace) and
    what the process needs (PyTorch itself) are not in it. The network may lie on the meta device, where nothing is computed.
    """
    some = next(chain(model.parameters(), model.buffers()), None)
    device = some.device if some is not None else torch.get_default_device()
    dtype = some.dtype if some is not None and some.is_floating_point() else torch.get_default_dtype()
    kept = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in chain(model.parameters(), model.buffers())}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    live = _Live(set(kept))
    try:
        with torch.no_grad(), live:
            model(torch.zeros(1, channels, *sides(size), device=device, dtype=dtype))
    finally:
        for module, training in modes.items():
            module.training = training
    return sum(kept.values()) + live.peak


class _Live(TorchDispatchMode):
    """Counts the bytes of results that are alive. known: storages that are not counted."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known = known
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                self._meet(one.untyped_storage())
        self.peak = max(self.peak, self.now)
        return made

    def _meet(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place not in self.known:
            self.known.add(place)
            self.now += size
            weakref.finalize(storage, self._leave, place, size)

    def _leave(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size
