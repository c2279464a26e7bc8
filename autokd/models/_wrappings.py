"""What published checkpoints wrap around the weights of a network: keys of a file, prefixes of names, and counters beside them.

Whatever is taken off or left out is named in what is returned; nothing here compares shapes or values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autokd.errors import AutokdError

__all__ = ["Unwrapped", "alias", "some", "unwrap"]

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema", "params_ema")
WRAPPERS = ("model", "state_dict", "net", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")  # DataParallel, torch.compile, a class around the network
_BACKBONE = "backbone."
_HELPERS = ("auxiliary_classifier.", "proj_head.")  # heads that HSAKD and SSKD train beside their backbone
_COUNTERS = ("n_averaged", "total_ops", "total_params", "initted", "step")  # of torch's AveragedModel, thop and ema-pytorch
_SHOWN = 6


@dataclass(frozen=True)
class Unwrapped:
    """The weights under the network's own names. `passed_over`: other sets of weights that the file holds. `left_out`: names in
    the file that are no part of the network. `strangers`: values that are no tensors."""

    weights: dict[str, Tensor]
    wrapper: str | None
    passed_over: tuple[str, ...]
    prefixes: tuple[str, ...]
    left_out: tuple[str, ...]
    strangers: tuple[str, ...]


def unwrap(where: str, content: Any, own: Iterable[str]) -> Unwrapped:
    """Find the weights in what a file holds, for a network whose state dict has the names `own`.

    Averaged weights (EMA) are taken where the file holds both them and the raw ones, as timm and torchvision's recipes do.
    Raises AutokdError where there are none, or where two networks in the file fit alike.
    """
    names = set(own)
    found, wrapper, passed_over = _choose(where, content)
    strangers = tuple(key for key, value in found.items() if not isinstance(value, Tensor))
    weights = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    counters = [key for key, value in weights.items() if key not in names and _counts(key, value)]
    weights = {key: value for key, value in weights.items() if key not in counters}
    weights, prefixes, left_out = _strip(weights, names)
    weights, more, outside = _cover(where, weights, names)
    return Unwrapped(weights, wrapper, passed_over, (*prefixes, *more), (*counters, *left_out, *outside), strangers)


def alias(weights: dict[str, Tensor], own: Iterable[str]) -> tuple[dict[str, Tensor], tuple[tuple[str, str], ...]]:
    """`classifier.*` and `classifier.0.*` taken for each other where the network has the one and the file the other."""
    names = set(own)
    renamed = []
    for short, long in (("classifier.weight", "classifier.0.weight"), ("classifier.bias", "classifier.0.bias")):
        for found, wanted in ((short, long), (long, short)):
            if wanted in names and wanted not in weights and found in weights and found not in names:
                weights = {wanted if key == found else key: value for key, value in weights.items()}
                renamed.append((found, wanted))
    return weights, tuple(renamed)


def some(keys: Iterable[str]) -> str:
    """'(8): a, b, c, d, e, f and 2 more'."""
    keys = list(keys)
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"({len(keys)}): {', '.join(keys[:_SHOWN])}{more}"


def _choose(where: str, content: Any) -> tuple[dict[str, Any], str | None, tuple[str, ...]]:
    if not isinstance(content, dict):
        kind = f"a {type(content).__name__}"
        raise AutokdError(f"the file holds {kind}, not a state dict", where=where, fix="save model.state_dict()")
    if _is_state(content):
        return content, None, ()
    there = [key for key in (*AVERAGED, *WRAPPERS) if _is_state(content.get(key))]
    if there:
        return content[there[0]], there[0], tuple(there[1:])
    for key in (*AVERAGED, *WRAPPERS, None):  # some values are no tensors: quantised weights, or what trained them
        inside = content if key is None else content.get(key)
        if isinstance(inside, dict) and _mostly_tensors(inside):
            return inside, key, ()
    keys = ", ".join(map(str, list(content)[:12]))
    raise AutokdError(
        f"no weights under {', '.join(WRAPPERS)}; the file holds: {keys or 'nothing'}",
        where=where,
        fix="save the state dict alone, or under one of those names",
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _counts(key: str, value: Tensor) -> bool:
    return key.rpartition(".")[2] in _COUNTERS and value.numel() <= 1


def _mostly_tensors(value: dict[Any, Any]) -> bool:
    tensors = sum(isinstance(item, Tensor) for item in value.values())
    return all(isinstance(key, str) for key in value) and 2 * tensors >= len(value) > 0


def _strip(weights: dict[str, Tensor], own: set[str]) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Take off what every name of the file begins with and no name of the network does."""
    stripped: list[str] = []
    left_out: list[str] = []
    again = bool(weights)
    while again:
        again = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in weights) and not any(key.startswith(prefix) for key in own):
                weights = {key[len(prefix) :]: value for key, value in weights.items()}
                stripped.append(prefix)
                again = True
        inside = {key for key in weights if key.startswith(_BACKBONE)}
        if inside and not any(key.startswith(_BACKBONE) for key in own):
            helpers = {key for key in weights if key.startswith(_HELPERS)}
            left_out += sorted(helpers)
            kept = {key: value for key, value in weights.items() if key not in helpers}
            weights = {key.removeprefix(_BACKBONE): value for key, value in kept.items()}
            stripped.append(_BACKBONE)
            again = True
    return weights, tuple(stripped), tuple(left_out)


def _cover(
    where: str, weights: dict[str, Tensor], own: set[str]
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """The part of a file that is the network, where it stands beside other things (a loss, a second copy) under a prefix."""
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    if not needed or needed <= set(weights):
        return weights, (), ()
    first = min(needed)
    starts = [key[: -len(first)] for key in weights if key.endswith(f".{first}")]
    fitting = [start for start in starts if all(start + key in weights for key in needed)]
    chosen = [start for start in fitting if "ema" in start] or fitting
    if not chosen:
        return weights, (), ()
    if len(chosen) > 1:
        raise AutokdError(
            f"the file holds {len(chosen)} networks that fit: under {', '.join(start.rstrip('.') for start in chosen)}",
            where=where,
            fix="save the state dict of the one that is meant to a file of its own",
        )
    (start,) = chosen
    inside = {key[len(start) :]: value for key, value in weights.items() if key.startswith(start)}
    return inside, (start,), tuple(key for key in weights if not key.startswith(start))
