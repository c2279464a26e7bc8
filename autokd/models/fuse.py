"""Re-parameterised networks: RepVGG, MobileOne, FastViT, RepViT and others.

Their blocks train several branches, which are merged into one convolution for inference. Costs, latency, final scores and exports
are those of the fused network; training uses the branches.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from autokd.errors import AutokdError

# No `__all__`: the catalogue of this room lists network families, and this file offers none.

_WAYS = ("fuse", "reparameterize", "switch_to_deploy")
_TOLERANCE = 1e-3  # of the largest logit: sums in another order differ by some 1e-6 of it


def fused(model: nn.Module, images: Tensor | None = None) -> nn.Module:
    """A fused copy in eval mode; the network itself where there is nothing to fuse.

    A block can be fused if its class has a method `fuse` (it returns the replacement, or changes the block), `reparameterize` or
    `switch_to_deploy` (they change the block) that takes no arguments, as in timm and in the published codes. images: float
    [B, C, H, W] on the network's device; both forms must give the same answers on them. Raises AutokdError if they do not, or if
    a method fails.
    """
    if not any(_ways(module) for module in model.modules()):
        return model
    holder = nn.Module()
    holder.network = copy.deepcopy(model).eval()
    try:
        with torch.no_grad():
            if type(model).__module__.partition(".")[0] == "timm":
                from timm.utils.model import reparameterize_model

                holder.network = reparameterize_model(holder.network, inplace=True)
            else:
                _fuse(holder)
    except Exception as fault:
        raise AutokdError(
            f"{name_of(model)} cannot be re-parameterised: {type(fault).__name__}: {fault}",
            fix=_mend(model),
        ) from fault
    made: Any = holder.network.eval()
    if list(made.state_dict()) == list(model.state_dict()):
        return model  # its blocks had nothing to fuse
    blueprint = getattr(model, "autokd_blueprint", None)
    if blueprint is not None:
        made.autokd_blueprint = replace(blueprint, fused=True)
    if images is not None:
        _compare(model, made, images)
    return made


def _ways(module: nn.Module) -> list[str]:
    """Methods of its class: a layer may have such a name, too."""
    return [word for word in _WAYS if _callable(getattr(type(module), word, None))]


def _callable(method: Any) -> bool:
    if not callable(method) or isinstance(method, property):
        return False
    try:
        wanted = list(inspect.signature(method).parameters.values())[1:]
    except (TypeError, ValueError):
        return False
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in wanted)


def _fuse(parent: nn.Module) -> None:
    for name, child in list(parent.named_children()):
        ways = _ways(child)
        if ways:
            made = getattr(child, ways[0])()
            if ways[0] == "fuse" and isinstance(made, nn.Module) and made is not child:
                setattr(parent, name, made)
                child = made
        _fuse(child)


@torch.no_grad()
def _compare(model: nn.Module, made: nn.Module, images: Tensor) -> None:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        wanted, found = model(images).float(), made(images).float()
    finally:
        for module, training in modes.items():
            module.training = training
    if not bool(wanted.isfinite().all()):
        raise AutokdError(
            f"the logits of {name_of(model)} are not finite, so that its two forms cannot be compared",
            fix="its training diverged: train it with a lower learning rate",
        )
    gap = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
    if not gap <= _TOLERANCE:
        raise AutokdError(
            f"{name_of(model)} gives other answers when it is re-parameterised: by {gap:.2g} of its largest logit",
            fix=_mend(model),
        )


def _mend(model: nn.Module) -> str:
    words = sorted({word for module in model.modules() for word in _ways(module)})
    return f"correct {' and '.join(words)} of its blocks, or rename the method if it does something else"


def name_of(model: nn.Module) -> str:
    """Its name in the space file, or the name of its class."""
    return getattr(getattr(model, "autokd_blueprint", None), "model", type(model).__name__)
