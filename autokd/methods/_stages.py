"""What feature methods share: which stages belong together, at which size maps meet, and norms that stand a batch of one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, batch_norm

from autokd.errors import AutokdError


def choose(count: int, which: str) -> int:
    """The stage called "first", "middle" or "last" among `count` stages, where stage 0 is the stem (counted if alone)."""
    if which == "last" or count < 2:
        return count - 1
    return 1 if which == "first" else count // 2


def aligned(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of stages, deepest with deepest, without the stems (kept where they are all there is).

    Raises AutokdError where a network shows no stage.
    """
    if not student or not teacher:
        raise AutokdError(
            f"the {'teacher' if student else 'student'} shows no feature maps",
            fix="choose a method that reads logits or pooled vectors",
        )
    students, teachers = list(student[1:] or student), list(teacher[1:] or teacher)
    depth = min(len(students), len(teachers))
    return list(zip(students[-depth:], teachers[-depth:], strict=True))


def same_side(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps [B, *, H, W] averaged down to the smaller of their heights and widths; a map of that size is left alone."""
    size = (min(one.shape[-2], other.shape[-2]), min(one.shape[-1], other.shape[-1]))
    first = one if one.shape[-2:] == size else adaptive_avg_pool2d(one, size)
    second = other if other.shape[-2:] == size else adaptive_avg_pool2d(other, size)
    return first, second


class Norm(nn.BatchNorm2d):
    """Batch norm that falls back on its running statistics where a channel has a single value, which has no spread."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)
