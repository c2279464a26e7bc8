"""Amounts as people write them: `45 M`, `0.3 k`, `90 MFLOPs`, `10 % of teacher`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["Amount", "amount", "short"]

_FACTORS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_NUMBER = r"(?P<number>[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_AMOUNT = re.compile(
    rf"{_NUMBER}\s*(?P<factor>[kKMGT]?)\s*(?P<unit>MACs?|FLOPs?|params?|parameters|images|views)?", re.ASCII
)
_SHARE = re.compile(rf"{_NUMBER}\s*%(?:\s+of\s+(?:the\s+)?teacher)?", re.ASCII)


@dataclass(frozen=True)
class Amount:
    """A number, or a share of what the teacher has. `flops` says that it was written as FLOPs, two of which make one MAC."""

    value: float
    share: bool = False  # value is then a fraction of the teacher's: 0.1
    flops: bool = False


def amount(written: object) -> Amount:
    """Read an amount. Raises ValueError with the way out where it is none."""
    if isinstance(written, (int, float)) and not isinstance(written, bool):
        return Amount(_finite(float(written), written))
    text = str(written).strip() if isinstance(written, str) else ""
    if match := _SHARE.fullmatch(text):
        return Amount(_finite(float(match["number"].replace("_", "")) / 100, written), share=True)
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{written!r} is not an amount; write a number such as 45 M, 300 k, 2 G or 1e6")
    value = float(match["number"].replace("_", "")) * _FACTORS[match["factor"]]
    flops = (match["unit"] or "").startswith("FLOP")
    return Amount(_finite(round(value, 6), written), flops=flops)


def short(value: float) -> float | int | str:
    """The shortest way to write an amount that is read back as exactly the same number: 45 M, 300 k, 12345678."""
    for word in ("T", "G", "M", "k"):
        text = f"{value / _FACTORS[word]:.6g}"
        if value >= _FACTORS[word] and "e" not in text and amount(f"{text} {word}").value == value:
            return f"{text} {word}"
    return int(value) if value == int(value) else value


def _finite(value: float, written: object) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{written!r} is not a finite amount; leave the limit out where there is none")
    return value
