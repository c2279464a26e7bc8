"""Score a network on images held in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from autokd.augment.normalise import normalise

__all__ = ["Score", "expected_calibration_error", "predict", "score"]


class Score(tuple):
    """(top1, loss, ece): the share classified rightly, the mean cross-entropy in nats, the expected calibration error.

    `right` tells it image by image: bool [N], in the order of the images; None where nobody kept it.
    """

    right: Tensor | None = None
    images: int = 0  # how many were scored
    classes: int = 0  # among how many

    top1 = property(lambda self: self[0])
    loss = property(lambda self: self[1])
    ece = property(lambda self: self[2])


@torch.no_grad()
def predict(
    model: nn.Module,
    pixels: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    batch: int = 512,
    memory_format: torch.memory_format = torch.channels_last,
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
            parts.append(model(images.contiguous(memory_format=memory_format)).float())
        return torch.cat(parts)
    finally:
        model.train(training)


def score(logits: Tensor, labels: Tensor) -> Score:
    """logits: [N, C]. labels: int64 [N]."""
    labels = labels.to(logits.device)
    right = logits.argmax(dim=1) == labels
    top1 = right.double().mean().item()
    loss = nn.functional.cross_entropy(logits, labels).item()
    found = Score((top1, loss, expected_calibration_error(logits, labels)))
    found.right, found.images, found.classes = right, len(labels), logits.shape[1]
    return found


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """How far the confidence of the predicted class is from the share of right predictions, averaged over images.

    Images are put into `bins` equal spans of confidence, each span closed above; the error is the mean over images of
    |accuracy - mean confidence| of their span. logits: [N, C]. labels: int64 [N]. Returns 0 to 1, or NaN where a
    probability is no number.
    Source: "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 2, equation 3.
    """
    confidence, guess = logits.double().softmax(dim=1).max(dim=1)
    if not bool(confidence.isfinite().all()):
        return math.nan
    right = (guess == labels.to(guess.device)).double()
    span = (confidence * bins).ceil().clamp(1, bins).long() - 1  # [N]
    gaps = torch.zeros(bins, dtype=torch.float64, device=span.device).index_add_(0, span, right - confidence)
    return (gaps.abs().sum() / len(labels)).item()
