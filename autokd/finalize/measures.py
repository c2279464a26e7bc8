"""How good answers are, beyond the share that is right: calibration, trust above a threshold, each class, agreement.

All take float logits [N, C] and int labels [N] as NumPy arrays and compute in float64; nothing here knows torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BINS", "agreement", "calibration", "kept_above", "per_class", "probabilities", "threshold_for"]

BINS = 15


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax: [N, C] to [N, C]."""
    return np.exp(_log_probabilities(logits))


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def calibration(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """{ece, nll, brier, bins}: how far confidence is from the share of right answers.

    ece: mean over images of |accuracy - mean confidence| of their span, of `bins` equal spans of confidence, each closed above
    (arXiv:1706.04599, equation 3). nll: mean of -log p(label), in nats. brier: mean of the squared distance between the
    probabilities and the label's one-hot vector, summed over classes, 0 to 2 (Brier 1950). Raises ValueError without images.
    """
    if not len(labels):
        raise ValueError("calibration needs images")
    logs = _log_probabilities(logits)
    chances = np.exp(logs)
    rows = np.arange(len(labels))
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    span = np.clip(np.ceil(confidence * bins), 1, bins).astype(np.int64) - 1  # [N]
    gaps = np.bincount(span, weights=right - confidence, minlength=bins)
    distance = (chances**2).sum(axis=1) - 2 * chances[rows, labels] + 1
    nll = -logs[rows, labels].mean()
    return {
        "ece": float(np.abs(gaps).sum() / len(labels)),
        "nll": float(nll),
        "brier": float(distance.mean()),
        "bins": bins,
    }


def threshold_for(logits: np.ndarray, labels: np.ndarray, target: float) -> float | None:
    """The smallest confidence t such that of the images with confidence >= t at least the share `target` is right.

    It keeps as many images as the target allows. None where no threshold reaches the target; 0 where every image may be kept.
    """
    chances = probabilities(logits)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last = np.append(confidence[order][1:] < confidence[order][:-1], True)  # images of one confidence stay together
    fits = np.flatnonzero((accuracy >= target) & last)
    if not len(fits):
        return None
    return 0.0 if fits[-1] == len(order) - 1 else float(confidence[order][fits[-1]])


def kept_above(logits: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, Any]:
    """{images, coverage, accuracy}: how many images a threshold keeps, and the share of those that is right (None of none)."""
    chances = probabilities(logits)
    kept = chances.max(axis=1) >= threshold
    right = chances.argmax(axis=1) == labels
    accuracy = float(right[kept].mean()) if kept.any() else None
    return {"images": int(kept.sum()), "coverage": float(kept.mean()), "accuracy": accuracy}


def per_class(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """{class, images, recall, precision} of each class; recall is None without images of it, precision where it is never said."""
    answers = logits.argmax(axis=1)
    there, said = (np.bincount(of, minlength=len(classes)) for of in (labels, answers))
    hit = np.bincount(labels[answers == labels], minlength=len(classes))
    return [
        {
            "class": name,
            "images": int(there[one]),
            "recall": float(hit[one] / there[one]) if there[one] else None,
            "precision": float(hit[one] / said[one]) if said[one] else None,
        }
        for one, name in enumerate(classes)
    ]


def agreement(student: np.ndarray, teacher: np.ndarray) -> dict[str, Any]:
    """{same_top1, kl}: the share of images both answer alike, and the mean KL(teacher || student) at temperature 1, in nats."""
    ours, theirs = _log_probabilities(student), _log_probabilities(teacher)
    kl = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    return {"same_top1": float((student.argmax(axis=1) == teacher.argmax(axis=1)).mean()), "kl": float(kl.mean())}
