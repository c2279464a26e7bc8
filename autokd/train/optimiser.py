"""torch's optimisers without torch's compiler, which they import at their first step.

Outside of compiled code the two do the same, and that import is 900 modules: over a second of each process that trains, and
its memory. What is left out are wrappers that tell the compiler to stay away; where torch has none, nothing changes.
"""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["SGD", "AdamW"]

_WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _light(kind: type[Optimizer]) -> type[Any]:
    """kind: an optimiser of torch. Returns a class of the same behaviour and state."""
    own: dict[str, Any] = {name: unwrap(getattr(kind, name)) for name in _WRAPPED}
    return type(kind.__name__, (kind,), {**own, "step": torch.no_grad()(unwrap(kind.step)), "__module__": __name__})


SGD = _light(torch.optim.SGD)
AdamW = _light(torch.optim.AdamW)
