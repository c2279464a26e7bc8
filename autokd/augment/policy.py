"""What a policy is: ordered steps, each with an op, a magnitude, a sign and a probability."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

from autokd.augment import known

__all__ = ["Policy", "Step"]


@dataclass(frozen=True)
class Step:
    """One op and when it happens. `choices`, where given, replaces the magnitude by a uniform draw from these."""

    op: str
    magnitude: float | None = None
    sign: bool = False  # the magnitude's sign is a fair coin
    probability: float = 1.0
    choices: tuple[float, ...] = ()

    def scaled(self, strength: float) -> Step:
        """The same step with its distance from the neutral magnitude multiplied by `strength`, held inside the op's limits."""
        if self.magnitude is None:
            return self
        return replace(self, magnitude=known.scaled(self.op, self.magnitude, strength))


@dataclass(frozen=True)
class Policy:
    """How an augmented view is made.

    kind `chain`: every step in order, each with its own probability. `pick`: `picks` steps drawn uniformly with replacement,
    one after another. `mix`: one step, `cutmix` or `mixup`, whose magnitude is the Beta distribution's parameter.
    `after_crop`: the ops are applied to the cropped and flipped image instead of the raw one.
    """

    name: str
    steps: tuple[Step, ...] = ()
    kind: Literal["chain", "pick", "mix"] = "chain"
    picks: int = 1
    after_crop: bool = False

    @property
    def reads_attention(self) -> bool:
        """Whether an op follows a teacher's attention, so that views need its maps."""
        ops = {step.op for step in self.steps} if self.kind != "mix" else set()
        return any("attention" in known.entry(op).reads for op in ops)

    @property
    def key(self) -> str:
        """Canonical JSON of everything the pixels depend on; the name is not part of it."""
        steps = [[s.op, s.magnitude, s.sign, s.probability, list(s.choices)] for s in self.steps]
        picks = self.picks if self.kind == "pick" else 0
        return json.dumps(
            {"kind": self.kind, "picks": picks, "after_crop": self.after_crop, "steps": steps},
            separators=(",", ":"),
            sort_keys=True,
        )
