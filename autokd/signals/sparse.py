"""Many classes in little space: the k largest logits, and all the others as one mass."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from autokd.signals.filling import Columns

__all__ = ["KL_TEMPERATURES", "columns", "half", "kl_error", "pack", "unpack"]

KL_TEMPERATURES = (1.0, 4.0)  # at which the error of leaving out the small ones is measured
_LARGEST = 65504.0  # of float16


def columns(classes: int, top: int) -> Columns:
    """What is kept of a row of `classes` logits: all of them (top 0), or the `top` largest and the rest as one mass."""
    if not top:
        return {"logits": ("float16", classes)}
    number = "int16" if classes <= 32_767 else "int32"
    return {"logits": ("float16", top), "classes": (number, top), "rest": ("float16", 1), "kl": ("float32", 2)}


def pack(logits: Tensor, top: int) -> dict[str, np.ndarray]:
    """logits [B, C] as the columns of `columns`.

    "rest" is log sum exp over the classes left out, "kl" the error that leaving them out makes, in nats, at each of
    KL_TEMPERATURES.
    """
    logits = logits.float().cpu()
    if not top:
        return {"logits": half(logits).numpy()}
    largest, places = logits.topk(top, dim=1)
    rest = logits.scatter(1, places, -math.inf).logsumexp(1, keepdim=True)
    number = np.int16 if logits.shape[1] <= 32_767 else np.int32
    kept = {
        "logits": half(largest).numpy(),
        "classes": places.numpy().astype(number),
        "rest": half(rest).numpy(),
    }
    again = unpack({name: torch.from_numpy(values) for name, values in kept.items()}, logits.shape[1])
    return {**kept, "kl": torch.stack([kl_error(logits, again, t) for t in KL_TEMPERATURES], 1).float().numpy()}


def unpack(kept: Mapping[str, Tensor], classes: int) -> Tensor:
    """Logits, float32 [B, classes]. Classes that were left out share their mass evenly."""
    largest = kept["logits"].float()
    if "rest" not in kept:
        return largest
    even = kept["rest"].float() - math.log(classes - largest.shape[1])
    return even.expand(-1, classes).scatter(1, kept["classes"].long(), largest)


def kl_error(logits: Tensor, again: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(logits / T) || softmax(again / T)) of each row, float64 [B], in nats."""
    p, q = ((x.double() / temperature).log_softmax(1) for x in (logits, again))
    return (p.exp() * (p - q)).sum(1)


def half(values: Tensor) -> Tensor:
    """float16; what it cannot hold becomes its largest number, and not infinity."""
    return values.clamp(-_LARGEST, _LARGEST).half()
