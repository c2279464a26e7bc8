"""Features of networks that were never run: random maps of given shapes."""

from __future__ import annotations

import torch

from autokd.models.features import Features

SHAPES = ((4, 8), (6, 8), (8, 4), (10, 2))  # (channels, side) of the stem and three stages


def features(batch=5, shapes=SHAPES, classes=7, seed=0, grad=False, dtype=torch.float32):
    """Stages of the given shapes, their maps before the ReLU, the pooled last stage and a random linear map of it."""
    generator = torch.Generator().manual_seed(seed)
    before = [torch.randn(batch, c, s, s, generator=generator) for c, s in shapes]
    before = [x.to(dtype).requires_grad_(grad) for x in before]
    stages = tuple(x.relu() for x in before)
    pooled = stages[-1].mean((2, 3))
    logits = pooled @ (3 * torch.randn(pooled.shape[1], classes, generator=generator)).to(dtype)
    return Features(stages, pooled, logits, tuple(before))


def of_maps(*maps):
    """Features whose stages are exactly these maps."""
    stages = tuple(maps)
    return Features(stages, stages[-1].mean((2, 3)), torch.zeros(len(stages[0]), 2), stages)
