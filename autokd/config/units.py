"""Amounts as people write them: `45 M`, `0.3 k`, `90 MFLOPs`, `500 kB`, `5 ms`, `10 % of teacher`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["Amount", "amount", "milliseconds", "short", "short_ms", "short_size", "size"]

_FACTORS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_NUMBER = r"(?P<number>[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_AMOUNT = re.compile(
    rf"{_NUMBER}\s*(?P<factor>[kKMGT]?)\s*(?P<unit>MACs?|FLOPs?|params?|parameters|images|views)?", re.ASCII
)
_SIZE = re.compile(rf"{_NUMBER}\s*(?P<factor>[kKMGT]?)(?P<unit>i?B|\s*bytes?)?", re.ASCII)
_TIME = re.compile(rf"{_NUMBER}\s*(?P<unit>us|µs|ms|s)", re.ASCII)
_BINARY = {"": 1.0, "k": 1024.0, "K": 1024.0, "M": 1024.0**2, "G": 1024.0**3, "T": 1024.0**4}
_MS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
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
    if share := _share(text):
        return share
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{written!r} is not an amount; write a number such as 45 M, 300 k, 2 G or 1e6")
    value = float(match["number"].replace("_", "")) * _FACTORS[match["factor"]]
    flops = (match["unit"] or "").startswith("FLOP")
    return Amount(_finite(round(value, 6), written), flops=flops)


def size(written: object) -> Amount:
    """Read a number of bytes, `1 MB` (a million), `1 MiB` (1024 x 1024), 500000. Raises ValueError with the way out."""
    if isinstance(written, (int, float)) and not isinstance(written, bool):
        return Amount(_finite(float(written), written))
    text = str(written).strip() if isinstance(written, str) else ""
    if share := _share(text):
        return share
    match = _SIZE.fullmatch(text)
    if match is None or (match["unit"] == "iB" and not match["factor"]):
        raise ValueError(f"{written!r} is not a size; write bytes, such as 1 MB, 500 kB or 2 MiB")
    factor = (_BINARY if match["unit"] == "iB" else _FACTORS)[match["factor"]]
    return Amount(_finite(round(float(match["number"].replace("_", "")) * factor, 6), written))


def milliseconds(written: object) -> Amount:
    """Read a time, `5 ms`, `800 us`, `0.2 s`, in milliseconds. Raises ValueError with the way out."""
    if isinstance(written, (int, float)) and not isinstance(written, bool):
        raise ValueError(f"{written!r} has no unit of time; write {written!r} ms")
    text = str(written).strip() if isinstance(written, str) else ""
    if share := _share(text):
        return share
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{written!r} is not a time; write 5 ms, 800 us or 0.2 s")
    return Amount(_finite(round(float(match["number"].replace("_", "")) * _MS[match["unit"]], 9), written))


def _share(text: str) -> Amount | None:
    match = _SHARE.fullmatch(text)
    return Amount(_finite(float(match["number"].replace("_", "")) / 100, text), share=True) if match else None


def short(value: float) -> float | int | str:
    """The shortest way to write an amount that is read back as exactly the same number: 45 M, 300 k, 12345678."""
    for word in ("T", "G", "M", "k"):
        text = f"{value / _FACTORS[word]:.6g}"
        if value >= _FACTORS[word] and "e" not in text and amount(f"{text} {word}").value == value:
            return f"{text} {word}"
    return int(value) if value == int(value) else value


def short_size(value: float) -> float | int | str:
    """The shortest way to write a number of bytes: 1 MB, 500 kB, 12345678."""
    text = short(value)
    return f"{text}B" if isinstance(text, str) else text


def short_ms(value: float) -> str:
    """A time that is read back as exactly the same number."""
    text = f"{value:g}"
    return f"{text if milliseconds(f'{text} ms').value == value else repr(value)} ms"


def _finite(value: float, written: object) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{written!r} is not a finite amount; leave the limit out where there is none")
    return value
