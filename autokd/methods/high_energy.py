"""High-energy-only augmentation around any logit method: augment the images of which the teacher is least confident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from autokd.methods._soft import energy, inner
from autokd.rooms import Fraction, NonNegative, Positive

__all__ = ["high_energy"]

SEARCH = {
    "high_energy": {
        "base": {"choose": ["kd", "ccd", "dkd", "dist", "mlkd", "energy_kd", "logit_standardise"]},
        "share": {"uniform": [0.1, 1]},
        "keep": {"choose": ["uncertain", "confident"]},
        "energy_temperature": {"choose": [4.0, 1.0, 2.0, 8.0]},
    }
}
WEIGHTS = {"ce_weight": 0.1, "kd_weight": 0.9}
BASE_WEIGHTS = {  # the base's own on a batch of plain views
    "kd": {"ce_weight": 0.1, "kd_weight": 0.9},
    "ccd": {"ce_weight": 1.0, "kd_weight": 1.0},
    "dkd": {"ce_weight": 1.0, "kd_weight": 1.0},
    "dist": {"ce_weight": 1.0, "kd_weight": 2.0},
    "mlkd": {"ce_weight": 0.1, "kd_weight": 0.9},
    "energy_kd": {"ce_weight": 0.1, "kd_weight": 0.9},
    "logit_standardise": {"ce_weight": 0.1, "kd_weight": 9.0},
}
LEVEL = "logits"


class high_energy(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """The `base` method over the plain rows + the same over those augmented rows whose image has a high energy for the teacher.

    The energy is -T_E logsumexp(logits / T_E) of plain_teacher_logits, the teacher's answer to the plain view of the row's image;
    the bar is the quantile that leaves `share` of the training images above it (as they are stored, found once before
    training; without a training set, of the batch). `keep` "confident" keeps the images below the opposite quantile
    instead. Rows that are not kept count nothing. The plain rows are one batch for the base and the kept augmented rows
    another, however many they are; the two losses are added. The settings below `energy_temperature` are the base's of
    that name (none given: the base's own default).

    student_logits, teacher_logits, plain_teacher_logits: [N, C]. augmented: bool [N]. Returns a scalar, zero where no row
    is kept.

    As published, set ce_on_augmented: false and a mixing policy (cutmix; mixup): no label is asked of an augmented view, and
    kd as base gives 0.9 x mean(plain) + 0.9 x mean(mixed). Every augmented view passes through the student all the same, so
    `share` changes the loss and not the time. The published code mixes chosen images among themselves; here a policy mixes
    with any image.

    base: the method that is applied to the rows that are kept
    share: share of the training images whose augmented views are kept
    keep: keep images that the teacher is uncertain of (high energy), or those it is confident of
    energy_temperature: T_E of the energy
    temperature, alpha, beta, gamma, warmup, t_confident, t_uncertain: the base's setting of that name; null: the base's default

    Source: "Maximizing discrimination capability of knowledge distillation with energy function", arXiv:2311.14334.
    """

    def __init__(
        self,
        *,
        base: Literal["kd", "ccd", "dkd", "dist", "mlkd", "energy_kd", "logit_standardise"] = "kd",
        share: Fraction = 0.5,
        keep: Literal["uncertain", "confident"] = "uncertain",
        energy_temperature: Positive = 4.0,
        temperature: Positive | None = None,
        alpha: NonNegative | None = None,
        beta: NonNegative | None = None,
        gamma: NonNegative | None = None,
        warmup: NonNegative | None = None,
        t_confident: Positive | None = None,
        t_uncertain: Positive | None = None,
    ) -> None:
        super().__init__()
        given = {"temperature": temperature, "alpha": alpha, "beta": beta, "gamma": gamma, "warmup": warmup}
        given |= {"t_confident": t_confident, "t_uncertain": t_uncertain}
        self.share, self.keep, self.energy_temperature = share, keep, energy_temperature
        self.base, self.wanted = inner(base, given)
        self.reads = tuple(dict.fromkeys((*self.wanted, "student_logits", "plain_teacher_logits", "augmented")))
        self.bar: Tensor  # of the data and the teacher, not of the training: no part of a checkpoint
        self.register_buffer("bar", torch.empty(0), persistent=False)

    def know_energies(self, of: Callable[[float], Tensor]) -> None:
        """Find the bar. `of(T_E)`: the teacher's energy of every training image, [n]."""
        self.bar = self._bar(of(self.energy_temperature))[None]
        if hasattr(self.base, "know_energies"):
            self.base.know_energies(of)

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        plain_teacher_logits: Tensor,
        augmented: Tensor,
        labels: Tensor | None = None,
        epoch: float = 0.0,
    ) -> Tensor:
        known: dict[str, Any] = {"student_logits": student_logits, "teacher_logits": teacher_logits, "labels": labels}
        known |= {"plain_teacher_logits": plain_teacher_logits, "augmented": augmented}
        total = student_logits.float().sum() * 0
        for kept in (~augmented, augmented & self.chosen(plain_teacher_logits)):
            if bool(kept.any()):
                rows = {name: known[name][kept] for name in self.wanted if name != "epoch"}
                total = total + self.base(**rows, **({"epoch": epoch} if "epoch" in self.wanted else {}))
        return total

    def chosen(self, plain_teacher_logits: Tensor) -> Tensor:
        """Whether an image's augmented views count: bool [N]."""
        found = energy(plain_teacher_logits, self.energy_temperature)
        if self.share == 1:
            return torch.ones_like(found, dtype=torch.bool)  # below the bar of stored images, too
        bar = self.bar[0] if len(self.bar) else self._bar(found)
        return found >= bar if self.keep == "uncertain" else found <= bar

    def _bar(self, energies: Tensor) -> Tensor:
        return energies.float().quantile(1 - self.share if self.keep == "uncertain" else self.share)
