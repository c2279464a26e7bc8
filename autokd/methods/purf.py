"""PURF: the teacher's maps, partly smoothed across neighbouring channels, as targets of a feature method."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from autokd.methods._features import Changed, Features
from autokd.methods.at import WEIGHTS as AT_WEIGHTS
from autokd.methods.at import at
from autokd.methods.crd import WEIGHTS as CRD_WEIGHTS
from autokd.methods.crd import crd
from autokd.methods.fitnet import WEIGHTS as FITNET_WEIGHTS
from autokd.methods.fitnet import fitnet
from autokd.methods.reviewkd import WEIGHTS as REVIEWKD_WEIGHTS
from autokd.methods.reviewkd import reviewkd
from autokd.methods.spkd import WEIGHTS as SPKD_WEIGHTS
from autokd.methods.spkd import spkd
from autokd.rooms import Count, Fraction

__all__ = ["purf"]

SEARCH = {
    "purf": {
        "base": {"choose": ["fitnet", "at", "spkd", "crd", "reviewkd"]},
        "reach": {"choose": [1, 2, 3, 5]},
        "share": {"uniform": [0, 1]},
        "blend": {"uniform": [0, 1]},
        "kernel": {"choose": ["mean", "gauss"]},
        "neighbours": {"choose": ["index", "alike"]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LEVEL = "features"

_PARTS: dict[str, tuple[Any, float]] = {
    "fitnet": (fitnet, FITNET_WEIGHTS["kd_weight"]),
    "at": (at, AT_WEIGHTS["kd_weight"]),
    "spkd": (spkd, SPKD_WEIGHTS["kd_weight"]),
    "crd": (crd, CRD_WEIGHTS["kd_weight"]),
    "reviewkd": (reviewkd, REVIEWKD_WEIGHTS["kd_weight"]),
}


class purf(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Counterpart of PURF (Partly Unified Recalibrated Feature map): a feature method on smoothed teacher channels.

    Each map of the teacher is smoothed along its channels: channel c becomes the weighted mean of itself and of its `reach`
    neighbours on each side ("index": next in number, reflected at the ends; "alike": the 2 x reach channels with the largest
    cosine to it over batch and places), with equal weights ("mean") or a Gaussian of standard deviation reach / 2 in the
    neighbours' order ("gauss"). `share` of the channels, those with the smallest mean absolute activation in the batch, take
    (1 - blend) x themselves + blend x the smoothed channel; the others stay. The pooled vector is treated as a map of one
    place. The loss is the `base` method's with its default settings, times its published weight, so that kd_weight 1
    means the published strength for every base. Nothing here is learned but what the base learns. Returns a scalar.

    No code and no formulas are public. Decided here: the filter, that the least active channels are the smoothed ones
    (the abstract says that channels are activated unevenly), and that logits are left alone.

    base: the feature method that reads the smoothed teacher
    reach: neighbours of a channel on each side
    share: share of the channels that are smoothed: the least active ones
    blend: how far a channel moves to its smoothed self; 0: not at all
    kernel: neighbours count equally (mean), or by a Gaussian of their order (gauss)
    neighbours: channels next in number (index), or most alike in what they show (alike)

    Source: the abstract of "Partly Unified Recalibrated Feature map" (a counterpart, not a reproduction).
    """

    def __init__(
        self,
        *,
        base: Literal["fitnet", "at", "spkd", "crd", "reviewkd"] = "fitnet",
        reach: Count = 1,
        share: Fraction = 0.5,
        blend: Fraction = 1.0,
        kernel: Literal["mean", "gauss"] = "mean",
        neighbours: Literal["index", "alike"] = "index",
    ) -> None:
        super().__init__()
        self.reach, self.share, self.blend, self.kernel, self.neighbours = reach, share, blend, kernel, neighbours
        made, self.strength = _PARTS[base]
        self.base = made() if isinstance(made, type) else made
        self.kind = base

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        if hasattr(self.base, "build_parts"):
            self.base.build_parts(student_features, teacher_features)

    def know_data(self, index: Tensor, labels: Tensor) -> None:
        if hasattr(self.base, "know_data"):
            self.base.know_data(index, labels)

    def forward(
        self, student_features: Features, teacher_features: Features, index: Tensor, labels: Tensor, epoch: float
    ) -> Tensor:
        teacher = self.smoothed(teacher_features)
        if self.kind == "crd":
            return self.strength * self.base(student_features, teacher.pooled, index, labels)
        extras = {"epoch": epoch} if self.kind == "reviewkd" else {}
        return self.strength * self.base(student_features, teacher, **extras)

    def smoothed(self, teacher: Features) -> Changed:
        """The teacher's features as the base method sees them, in float32."""
        pooled = self._smooth(teacher.pooled[:, :, None, None]).flatten(1)
        stages, before = (tuple(map(self._smooth, maps)) for maps in (teacher.stages, teacher.before_relu))
        return Changed(stages, pooled, teacher.logits, before)

    def _smooth(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same, partly smoothed over C."""
        x = x.detach().float()
        channels = x.shape[1]
        count, reach = round(self.share * channels), min(self.reach, (channels - 1) // 2)
        if not count or not reach:
            return x
        quiet = x.abs().mean(dim=(0, 2, 3)).argsort(stable=True)[:count]  # [count] channels
        steps = torch.arange(-reach, reach + 1)
        if self.neighbours == "index":
            numbers = torch.arange(channels, dtype=torch.float32)[None, None]
            order = pad(numbers, (reach, reach), mode="reflect")[0, 0].long().unfold(0, 2 * reach + 1, 1).to(x.device)
        else:
            rows = normalize(x.transpose(0, 1).flatten(1), dim=1)  # [C, BHW]
            alike = (rows @ rows.T).fill_diagonal_(math.inf)  # itself first, then by likeness
            order = alike.topk(2 * reach + 1, dim=1).indices
            steps = (torch.arange(2 * reach + 1) + 1) // 2  # the two nearest count as neighbours at distance 1
        weights = torch.ones(2 * reach + 1) if self.kernel == "mean" else (-2 * (steps / reach).square()).exp()
        weights = (weights / weights.sum()).to(x.device)
        mixed = torch.einsum("bnkhw,k->bnhw", x[:, order[quiet]], weights)
        result = x.clone()
        result[:, quiet] = (1 - self.blend) * x[:, quiet] + self.blend * mixed
        return result
