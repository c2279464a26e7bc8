"""Energy distillation: each image has a temperature of its own, by how confident the teacher is of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autokd.methods._soft import divergence, energy
from autokd.rooms import Fraction, Positive

__all__ = ["energy_kd"]

SEARCH = {
    "energy_kd": {
        "t_confident": {"uniform": [1, 10]},
        "t_middle": {"uniform": [1, 10]},
        "t_uncertain": {"uniform": [1, 10]},
        "confident_share": {"uniform": [0, 0.5]},
        "uncertain_share": {"uniform": [0, 0.5]},
        "energy_temperature": {"choose": [4.0, 1.0, 2.0, 8.0]},
    }
}
WEIGHTS = {"ce_weight": 0.1, "kd_weight": 0.9}
LEVEL = "logits"


class energy_kd(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """KD at a temperature of each row's own: t_confident, t_middle or t_uncertain, by the teacher's energy of the view.

    student_logits, teacher_logits: [N, C]. The energy is -T_E logsumexp(logits / T_E) with T_E = `energy_temperature`: low where
    the teacher is confident. Rows below the `confident_share` quantile of the energies take t_confident, rows above the
    1 - `uncertain_share` quantile t_uncertain, the rest (and rows in both parts) t_middle. The quantiles are those of the
    training images as they are stored, neither cropped nor augmented, found once before training; without a training set
    they are the batch's. Returns a scalar: the mean over rows of T^2 KL(teacher || student), in nats.

    t_confident: temperature of rows on which the teacher is confident (low energy)
    t_middle: temperature of the rows between
    t_uncertain: temperature of rows on which the teacher is uncertain (high energy)
    confident_share: share of the training images that count as confident
    uncertain_share: share of them that count as uncertain
    energy_temperature: T_E of the energy itself

    Source: "Maximizing discrimination capability of knowledge distillation with energy function", arXiv:2311.14334.
    The paper's text gives confident images the higher temperature (the default here); the released code does the
    opposite (t_confident 2, t_uncertain 6), and finds its quantiles on augmented images.
    """

    def __init__(
        self,
        *,
        t_confident: Positive = 6.0,
        t_middle: Positive = 4.0,
        t_uncertain: Positive = 2.0,
        confident_share: Fraction = 0.2,
        uncertain_share: Fraction = 0.2,
        energy_temperature: Positive = 4.0,
    ) -> None:
        super().__init__()
        self.t_confident, self.t_middle, self.t_uncertain = t_confident, t_middle, t_uncertain
        self.shares = (confident_share, 1 - uncertain_share)
        self.energy_temperature = energy_temperature
        self.bounds: Tensor  # of the data and the teacher, not of the training: no part of a checkpoint
        self.register_buffer("bounds", torch.empty(0), persistent=False)

    def know_energies(self, of: Callable[[float], Tensor]) -> None:
        """Find the quantiles. `of(T_E)`: the teacher's energy of every training image, [n]."""
        self.bounds = self._bounds(of(self.energy_temperature))

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return divergence(student_logits, teacher_logits, self.temperatures(teacher_logits)).mean()

    def temperatures(self, teacher_logits: Tensor) -> Tensor:
        """The temperature of each row, [N]."""
        found = energy(teacher_logits, self.energy_temperature)
        low, high = self.bounds if len(self.bounds) else self._bounds(found)
        confident, uncertain = found < low, found > high
        middle = torch.full_like(found, self.t_middle)
        chosen = torch.where(confident & ~uncertain, torch.full_like(found, self.t_confident), middle)
        return torch.where(uncertain & ~confident, torch.full_like(found, self.t_uncertain), chosen)

    def _bounds(self, energies: Tensor) -> Tensor:
        return energies.float().quantile(torch.tensor(self.shares, device=energies.device))
