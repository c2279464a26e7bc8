"""The fourteen ops that RandAugment and TrivialAugment pick from, at some of the levels 0 to 30."""

from __future__ import annotations

from autokd.augment.policy import Step

__all__ = ["pool"]


def pool(
    first: int, last: int, *, shear: float, shift: tuple[str, float], turn: float, enhance: float, bits: int
) -> tuple[Step, ...]:
    """Each op at the levels first to last (one level: that one). The other arguments are the magnitudes at level 30;
    `bits`: how many of the eight posterize takes away there; `shift`: which op shifts, and how far."""
    levels = range(first, last + 1)

    def steps(op: str, magnitudes: list[float], sign: bool = True) -> Step:
        return Step(op, magnitudes[0], sign, choices=tuple(magnitudes) if len(magnitudes) > 1 else ())

    def upto(largest: float) -> list[float]:
        return [largest * level / 30 for level in levels]

    way, far = shift
    return (
        Step("identity"),
        steps("shear_x", upto(shear)),
        steps("shear_y", upto(shear)),
        steps(f"{way}_x", upto(far)),
        steps(f"{way}_y", upto(far)),
        steps("rotate", upto(turn)),
        steps("brightness", upto(enhance)),
        steps("color", upto(enhance)),
        steps("contrast", upto(enhance)),
        steps("sharpness", upto(enhance)),
        steps("posterize", [8.0 - round(level * bits / 30) for level in levels], sign=False),
        steps("solarize", [255.0 - 255.0 * level / 30 for level in levels], sign=False),
        Step("autocontrast"),
        Step("equalize"),
    )
