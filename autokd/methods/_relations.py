"""How the rows of a batch stand to one another, and how far two samples are from one distribution."""

from __future__ import annotations

import torch
from torch import Tensor

_BANDS = (0.25, 0.5, 1.0, 2.0, 4.0)


def squared_distances(one: Tensor, other: Tensor) -> Tensor:
    """[M, D], [N, D] -> [M, N]. By differences: the expanded square loses small distances to rounding."""
    return (one[:, None] - other[None]).square().sum(dim=2)


def distances(x: Tensor) -> Tensor:
    """Euclidean distances within a batch over their mean (the diagonal left out): [B, D] -> [B, B]; one row gives zero."""
    size = len(x)
    if size < 2:
        return x.new_zeros(size, size)
    found = (squared_distances(x, x) + 1e-12).sqrt() * (1 - torch.eye(size, device=x.device, dtype=x.dtype))
    return found / (found.sum() / (size * (size - 1))).clamp_min(1e-6)


def pairwise(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two matrices of relative distances, a scalar."""
    return (distances(student) - distances(teacher)).square().mean()


def mmd(one: Tensor, other: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two samples [M, D] and [N, D], a scalar.

    The kernel is the mean of five Gaussians exp(-d^2 / width) whose widths are the median squared distance of the joint
    sample times 1/4, 1/2, 1, 2 and 4. It may fall below zero. A sample of one has no spread to compare: zero.
    """
    m, n = len(one), len(other)
    if m < 2 or n < 2:
        return (one.sum() + other.sum()) * 0
    joint = torch.cat([one, other])
    squares = squared_distances(joint, joint)
    off = ~torch.eye(m + n, dtype=torch.bool, device=joint.device)
    median = squares.detach()[off].median().clamp_min(1e-6)
    kernel = torch.stack([(-squares / (median * band)).exp() for band in _BANDS]).mean(dim=0) * off
    within = kernel[:m, :m].sum() / (m * (m - 1)) + kernel[m:, m:].sum() / (n * (n - 1))
    return within - 2 * kernel[:m, m:].mean()
