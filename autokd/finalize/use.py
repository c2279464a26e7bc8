"""An exported student at work: its score on images of one's own, and its answers to single files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError

if TYPE_CHECKING:
    import numpy as np

    from autokd.data.images import Images
    from autokd.finalize.facts import Facts
    from autokd.finalize.student import Student

__all__ = ["Answer", "answers", "evaluate", "outside", "scores"]

_CHUNK = 64


@dataclass(frozen=True)
class Answer:
    """One file's answer: (class, probability), the likeliest first; or `fault`, why there is none."""

    file: Path
    top: tuple[tuple[str, float], ...] = ()
    fault: str | None = None


def evaluate(
    student: Student, data: str | Path, *, label: str = "label", image: str | None = None, faulty: str = "stop"
) -> dict[str, Any]:
    """The score of a student on a folder of images per class, or a table: see `scores`. AutokdError where they do not fit.

    faulty: an image that cannot be read stops, or is left out (`skip`) and stands in the answer's `skipped`.
    """
    images = outside(student.facts, data, label=label, image=image, faulty=faulty)
    logits = student.logits(images.pixels)
    return {
        "model": str(student.path),
        "data": str(data),
        "runtime": student.runtime,
        **scores(logits, images.labels, student.facts),
        "skipped": [] if images.reading is None else [one.file for one in images.reading.faulty],
    }


def outside(
    facts: Facts, data: str | Path, *, label: str = "label", image: str | None = None, faulty: str = "stop"
) -> Images:
    """Every image of a folder per class or a table, brought to the student's size, with its class numbers."""
    from autokd.data.outside import open_outside

    size = facts.height if facts.height == facts.width else None
    how: dict[str, Any] = {"channels": facts.channels, "size": size, **facts.looks}
    images = open_outside(data, facts.classes, label=label, image=image, faulty=faulty, **how)
    if images.pixels.shape[2:] != (facts.height, facts.width):
        raise AutokdError(
            f"images are {images.pixels.shape[3]} x {images.pixels.shape[2]} pixels", where=str(data),
            fix=f"the student reads {facts.width} x {facts.height}",
        )  # fmt: skip
    return images


def scores(logits: np.ndarray, labels: np.ndarray, facts: Facts) -> dict[str, Any]:
    """{images, classes, top1, low, high, interval, ece, nll, brier, bins, above, per_class} of one student on labelled images."""
    import numpy as np

    from autokd.finalize.measures import calibration, kept_above, per_class
    from autokd.select.interval import answers_interval

    correct = logits.argmax(axis=1) == labels
    low, high = answers_interval(correct[None])
    kept = facts.threshold
    return {
        "images": len(labels),
        "classes": len(np.unique(labels)),
        "top1": float(correct.mean()),
        "low": low,
        "high": high,
        "interval": "95 %, bootstrap over images, Wilson where wider",
        **calibration(logits, labels),
        "above": None if kept is None else {"threshold": kept, **kept_above(logits, labels, kept)},
        "per_class": per_class(logits, labels, facts.classes),
    }


def answers(student: Student, files: Sequence[str | Path], *, top: int = 1) -> Iterator[Answer]:
    """The `top` likeliest classes of each image file, in order. A file that cannot be read comes with its fault instead."""
    import numpy as np

    from autokd.finalize.measures import probabilities

    facts = student.facts
    for at in range(0, len(files), _CHUNK):
        chunk = [(file, *_read(file, facts)) for file in map(Path, files[at : at + _CHUNK])]
        good = [pixels for _, pixels, _ in chunk if pixels is not None]
        chances = iter(probabilities(student.logits(np.stack(good))) if good else ())
        for file, pixels, fault in chunk:
            if pixels is None:
                yield Answer(file, fault=fault)
                continue
            row = next(chances)
            order = np.argsort(-row, kind="stable")[:top]
            yield Answer(file, tuple((facts.classes[number], float(row[number])) for number in order))


def _read(file: Path, facts: Facts) -> tuple[np.ndarray | None, str | None]:
    from autokd.data.decode import decode

    size = facts.height if facts.height == facts.width else None
    try:
        pixels = decode(file, colour="grey" if facts.channels == 1 else "rgb", size=size, where=str(file), **facts.looks)
    except AutokdError as fault:
        return None, fault.what
    if pixels.shape[1:] != (facts.height, facts.width):
        return (
            None,
            f"it is {pixels.shape[2]} x {pixels.shape[1]} pixels; the student reads {facts.width} x {facts.height}",
        )
    return pixels, None
