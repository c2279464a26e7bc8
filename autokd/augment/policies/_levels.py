"""The magnitudes of AutoAugment's ten levels, and how a strength scales a chain."""

from __future__ import annotations

from autokd.augment.policy import Policy, Step

__all__ = ["chain", "step"]

# magnitude at level 0 and at level 9; None: the op takes no magnitude
_GRID: dict[str, tuple[float, float] | None] = {
    "shear_x": (0, 0.3),
    "shear_y": (0, 0.3),
    "translate_x": (0, 150 / 331),
    "translate_y": (0, 150 / 331),
    "rotate": (0, 30),
    "color": (0, 0.9),
    "contrast": (0, 0.9),
    "sharpness": (0, 0.9),
    "brightness": (0, 0.9),
    "posterize": (8, 4),
    "solarize": (256, 0),
    "autocontrast": None,
    "equalize": None,
    "invert": None,
}
_SIGNED = {"shear_x", "shear_y", "translate_x", "translate_y", "color", "contrast", "sharpness", "brightness"}


def step(op: str, level: int = 0) -> Step:
    """The op at one of ten levels, as AutoAugment's port has it: a coin for the sign of all but rotate, whose sign is fixed."""
    ends = _GRID[op]
    if ends is None:
        return Step(op)
    value = ends[0] + (ends[1] - ends[0]) * level / 9
    return Step(op, float(round(value)) if op == "posterize" else value, op in _SIGNED)


def chain(name: str, levels: list[tuple[str, int]], *, probability: float, strength: float) -> Policy:
    """The ops in order, each with the same probability, their magnitudes scaled by `strength`."""
    steps = (step(op, level).scaled(strength) for op, level in levels)
    return Policy(name, tuple(Step(s.op, s.magnitude, s.sign, probability) for s in steps))
