"""Score a network on images held in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from autokd.augment.normalise import normalise

__all__ = ["Score", "predict", "score"]


class Score(tuple):
    """(top1, loss): the share classified rightly and the mean cross-entropy in nats."""

    top1 = property(lambda self: self[0])
    loss = property(lambda self: self[1])


@torch.no_grad()
def predict(
    model: nn.Module,
    pixels: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    batch: int = 512,
    amp: bool = False,
    shown: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Logits of every image. pixels: uint8 [N, C, H, W], on the model's device or not. Returns float32 [N, classes].

    `shown` changes the normalised images first, for a student that is to see less than the data set has.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        parts = []
        for chunk in pixels.split(batch):
            images = normalise(chunk.to(device, non_blocking=True), mean, std)
            images = images if shown is None else shown(images)
            with torch.autocast(device.type, enabled=amp):
                logits = model(images.contiguous(memory_format=torch.channels_last))
            parts.append(logits.float())
        return torch.cat(parts)
    finally:
        model.train(training)


def score(logits: Tensor, labels: Tensor) -> Score:
    """logits: [N, C]. labels: int64 [N]."""
    labels = labels.to(logits.device)
    top1 = (logits.argmax(dim=1) == labels).double().mean().item()
    return Score((top1, nn.functional.cross_entropy(logits, labels).item()))
