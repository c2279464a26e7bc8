"""The fourteen ops that RandAugment and TrivialAugment pick from, at some of the levels 0 to 30."""

from __future__ import annotations

import numpy as np

from autokd.augment.policy import Step

__all__ = ["pool"]

_LEVELS = 31


def pool(
    first: int,
    last: int,
    *,
    shear: float,
    shift: tuple[str, float],
    turn: float,
    enhance: float,
    bits: int,
    implementation: str,
) -> tuple[Step, ...]:
    """Each op at the levels first to last (one level: that one). The other arguments are the magnitudes at level 30;
    `bits`: how many of the eight posterize takes away there; `shift`: which op shifts, and how far. implementation: whose ops
    slant, shift and turn: torchvision's (nearest pixel, black enters) or autoaugment's, which are JDA's (bicubic, grey)."""
    levels = range(first, last + 1)

    def steps(op: str, magnitudes: list[float], sign: bool = True) -> Step:
        return Step(op, magnitudes[0], sign, choices=tuple(magnitudes) if len(magnitudes) > 1 else ())

    def upto(largest: float) -> list[float]:
        return [_level(largest, level) for level in levels]

    way, far = shift
    black = "_black" * (implementation == "torchvision")
    return (
        Step("identity"),
        steps(f"shear_x{black}", upto(shear)),
        steps(f"shear_y{black}", upto(shear)),
        steps(f"{way}_x{black}", upto(far)),
        steps(f"{way}_y{black}", upto(far)),
        steps(f"rotate{black}", upto(turn)),
        steps("brightness", upto(enhance)),
        steps("color", upto(enhance)),
        steps("contrast", upto(enhance)),
        steps("sharpness", upto(enhance)),
        steps("posterize", [8.0 - round(level * bits / 30) for level in levels], sign=False),
        steps("solarize", [255.0 - 255.0 * level / 30 for level in levels], sign=False),
        Step("autocontrast"),
        Step("equalize"),
    )


def _level(largest: float, level: int) -> float:
    """Entry `level` of torch.linspace(0, largest, 31), which counts in float32, from the end in its second half, and rounds once.

    A blend's factor is rounded from it, and a shift drops its fraction: 32 pixels at level 15 are 15.999999, so 15.
    """
    end = np.float32(largest)
    step = np.float32(end / np.float32(_LEVELS - 1))
    first = level < _LEVELS // 2
    return float(np.float32(float(step) * level if first else float(end) - float(step) * (_LEVELS - 1 - level)))
