"""In which precision a network computes: what is asked for, and torch's switches for as long as it is.

float32 has 24 bits of each number. On NVIDIA GPUs since Ampere torch multiplies in TF32 (11 bits) where that is allowed, which
it is for convolutions by default; bfloat16 has 8. All of them add in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from autokd.errors import AutokdError

# No `__all__`: the catalogue of this room lists network families, and this file offers none.

PRECISIONS = ("auto", "float32", "tf32", "bf16")
_AMPERE = (8, 0)  # the first that multiplies in TF32


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """float32: no product of float32 numbers is rounded before it is added. tf32: TF32 wherever a GPU has it, in matrix products
    too. auto and bf16 leave torch as it is. What was set before is set again afterwards.

    Raises AutokdError for another word.
    """
    if precision not in PRECISIONS:
        raise AutokdError(f"no precision {precision!r}", fix=f"one of: {', '.join(PRECISIONS)}")
    if precision in ("auto", "bf16"):
        yield
        return
    before = _switches()
    _set(tf32=precision == "tf32" and device.type == "cuda")
    try:
        yield
    finally:
        _restore(before)


def used(precision: str, device: torch.device, *, autocast: bool) -> str:
    """What a student is trained in on this device: float32, tf32 or bf16. autocast: whether its pass is bfloat16's."""
    if autocast:
        return "bf16"
    capable = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _AMPERE
    return "tf32" if precision == "tf32" and capable else "float32"


def of_teacher(precision: str, device: torch.device) -> str:
    """The precision of a teacher whose student has this one. It is never in bfloat16, and on a CPU there is but one: auto."""
    return precision if device.type == "cuda" and precision in ("float32", "tf32") else "auto"


def _switches() -> dict[str, Any]:
    """By torch's older names, which it keeps in step with its newer ones; by the newer where somebody has set those apart."""
    try:
        return {"products": torch.get_float32_matmul_precision(), "cudnn": torch.backends.cudnn.allow_tf32}
    except RuntimeError:
        return {"each": [one.fp32_precision for one in _each()]}


def _set(*, tf32: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 recommends its newer names, with which its compiler did not work
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32


def _restore(before: dict[str, Any]) -> None:
    if "each" in before:
        for one, precision in zip(_each(), before["each"], strict=True):
            one.fp32_precision = precision
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision(before["products"])
        torch.backends.cudnn.allow_tf32 = before["cudnn"]


def _each() -> list[Any]:
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    return [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul]  # type: ignore[attr-defined]
