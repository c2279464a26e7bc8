"""The ops there are, read from their files' syntax trees (no torch), and what may be asked of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from autokd.errors import AutokdError, did_you_mean
from autokd.rooms import Entry, catalogue, load

__all__ = ["complaints", "entry", "function", "limits", "names", "neutral", "scaled"]

_ROOM = "augment.ops"


def names() -> list[str]:
    return sorted(catalogue(_ROOM))


def entry(op: str) -> Entry:
    """The catalogue entry of an op. AutokdError where there is no such op."""
    found = catalogue(_ROOM).get(op)
    if found is None:
        raise AutokdError(f"there is no op {op!r}", fix=f"ops: {', '.join(names())}{did_you_mean(op, names())}")
    return found


@lru_cache(maxsize=None)
def function(op: str) -> Callable[..., Any]:
    return load(entry(op))


def limits(op: str) -> tuple[float, float] | None:
    """The smallest and the largest magnitude, or None where the op takes none."""
    found = entry(op).facts.get("LIMITS", {}).get(op)
    return (float(found[0]), float(found[1])) if found else None


def neutral(op: str) -> float | None:
    """The magnitude at which nothing changes, where there is one."""
    return entry(op).facts.get("NEUTRAL", {}).get(op)


def scaled(op: str, magnitude: float, strength: float) -> float:
    """`magnitude` moved away from (strength > 1) or towards (strength < 1) the neutral one, held inside the limits."""
    still, bounds = neutral(op), limits(op)
    if still is None or bounds is None or strength == 1:
        return magnitude
    value = min(max(still + (magnitude - still) * strength, bounds[0]), bounds[1])
    return float(round(value)) if op in entry(op).facts.get("WHOLE", ()) else value


def complaints(op: Any, magnitude: Any, sign: Any = False, probability: Any = 1.0) -> list[tuple[str, str]]:
    """Everything wrong with a step that a person wrote, as (what, the way out)."""
    if op not in catalogue(_ROOM):
        return [(f"there is no op {op!r}", f"ops: {', '.join(names())}{did_you_mean(str(op), names())}")]
    found, bounds = [], limits(op)
    if bounds is None:
        if magnitude is not None:
            found.append((f"{op} takes no magnitude, not {magnitude!r}", "leave `magnitude` out"))
    elif magnitude is None:
        found.append((f"{op} needs a magnitude", f"`magnitude` of {op} is from {bounds[0]:g} to {bounds[1]:g}"))
    elif isinstance(magnitude, bool) or not isinstance(magnitude, (int, float)):
        found.append((f"magnitude of {op} is a number, not {magnitude!r}", f"from {bounds[0]:g} to {bounds[1]:g}"))
    elif not bounds[0] <= magnitude <= bounds[1]:
        found.append((f"magnitude of {op} is from {bounds[0]:g} to {bounds[1]:g}, not {magnitude:g}", summary(op)))
    elif op in entry(op).facts.get("WHOLE", ()) and magnitude != int(magnitude):
        found.append((f"magnitude of {op} is a whole number, not {magnitude:g}", summary(op)))
    if not isinstance(sign, bool):
        found.append((f"sign of {op} is true (a fair coin) or false, not {sign!r}", "leave `sign` out, or write true"))
    elif sign and (bounds is None or bounds[0] >= 0):
        found.append((f"{op} has no sign", "leave `sign` out"))
    if isinstance(probability, bool) or not isinstance(probability, (int, float)) or not 0 <= probability <= 1:
        found.append((f"probability of {op} is from 0 to 1, not {probability!r}", "0.3 is JDA's for CIFAR-100"))
    return found


def summary(op: str) -> str:
    return f"{op}: {entry(op).summary}"
