"""Logit standardisation around any logit method: compare the shapes of the answers, whatever their mean and spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from autokd.methods._soft import divergence, inner
from autokd.methods.ccd import confidence
from autokd.methods.mlkd import levels
from autokd.rooms import NonNegative, Positive

__all__ = ["logit_standardise"]

SEARCH = {
    "logit_standardise": {
        "base": {"choose": ["kd", "ccd", "dkd", "dist", "mlkd", "energy_kd"]},
        "temperature": {"log": [1, 6]},
    }
}
WEIGHTS = {"ce_weight": 0.1, "kd_weight": 9.0}
BASE_WEIGHTS = {  # of each base: its own cross-entropy, and 9 for what it compares; mlkd's stand once for each kind of view
    "kd": {"ce_weight": 0.1, "kd_weight": 9.0},
    "dkd": {"ce_weight": 1.0, "kd_weight": 9.0},
    "mlkd": {"ce_weight": 0.2, "kd_weight": 18.0},
    "ccd": {"ce_weight": 1.0, "kd_weight": 9.0},
    "dist": {"ce_weight": 1.0, "kd_weight": 9.0},
    "energy_kd": {"ce_weight": 0.1, "kd_weight": 9.0},
}
LEVEL = "logits"


class logit_standardise(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """The `base` method on logits of which every row has mean 0 and standard deviation 1, the student's and the teacher's.

    Row by row z becomes (z - mean) / (standard deviation + 1e-7), with the unbiased standard deviation. What a base
    derives from the teacher's answers beside the comparison itself is found on the logits as they are: the weights of
    ccd, the energies of energy_kd, the masks and the two consistencies of mlkd. `temperature` and the settings below it are
    the base's of that name (none given: the base's own default); energy_kd has three temperatures in place of one, mlkd
    compares at `temperature`, 2, 3, 5 and 6. The weight 9 multiplies the whole base, so alpha and beta of dkd with it.

    student_logits, teacher_logits: [N, C]; further signals as the base reads them. Returns a scalar.

    base: the method that compares the standardised logits
    temperature, alpha, beta, gamma, warmup, t_confident, t_uncertain: the base's setting of that name; null: the base's default

    Source: "Logit Standardization in Knowledge Distillation", arXiv:2403.01427, algorithm 1.
    The weights of kd, dkd and mlkd as bases are those of its code. It has not the other three: they take its 9, and the
    cross-entropy of the base alone.
    """

    def __init__(
        self,
        *,
        base: Literal["kd", "ccd", "dkd", "dist", "mlkd", "energy_kd"] = "kd",
        temperature: Positive = 2.0,
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
        self.kind, self.temperature = base, temperature
        self.base, self.reads = inner(base, given)

    def know_energies(self, of: Callable[[float], Tensor]) -> None:
        if hasattr(self.base, "know_energies"):
            self.base.know_energies(of)

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        plain_teacher_logits: Tensor | None = None,
        augmented: Tensor | None = None,
        labels: Tensor | None = None,
        epoch: float = 0.0,
    ) -> Tensor:
        student, teacher = standardised(student_logits), standardised(teacher_logits.detach())
        if self.kind == "ccd":
            assert plain_teacher_logits is not None and augmented is not None
            return (
                confidence(teacher_logits, plain_teacher_logits, augmented, temperature=self.temperature)
                * divergence(student, teacher, self.temperature)
            ).mean()
        if self.kind == "mlkd":
            assert augmented is not None
            both = (student, teacher)
            return levels(student_logits, teacher_logits, both, augmented, temperature=self.temperature)
        if self.kind == "energy_kd":
            base: Any = self.base
            return divergence(student, teacher, base.temperatures(teacher_logits)).mean()
        known = {"labels": labels, "epoch": epoch}
        return self.base(student, teacher, **{name: known[name] for name in self.reads if name in known})


def standardised(logits: Tensor) -> Tensor:
    """Every row with mean 0 and standard deviation 1: [N, C] -> [N, C], float32. A row of equal logits becomes zeros."""
    centred = logits.float() - logits.float().mean(dim=1, keepdim=True)
    variance = centred.square().sum(dim=1, keepdim=True) / max(1, logits.shape[1] - 1)
    spread = variance.clamp_min(1e-14).sqrt()  # a root has no derivative at zero
    return centred / (spread + 1e-7)
