"""Where the weights of a space's teachers come from, looked at before anything runs. Nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError, as_one

if TYPE_CHECKING:
    from autokd.config.trial import TeacherConfig

__all__ = ["check_teachers"]


def check_teachers(space: Any, card: Any, *, files: bool = False) -> tuple[str, ...]:
    """What a person should know of the teachers' weights. Raises AutokdError or Faults where some cannot serve on this data.

    card: what the data set is. files: checkpoints are loaded into their networks, too, as the search will load them.
    """
    faults: list[AutokdError] = []
    notes: list[str] = []
    for name, teacher in space.teachers.items():
        try:
            if teacher.weights is not None:
                notes += _published(teacher, card)
            elif teacher.checkpoint is not None and files:
                notes += _of_file(teacher, card)
        except AutokdError as fault:
            where = fault.where or f"teachers.{name}"
            faults.append(AutokdError(f"the teacher {name!r}: {fault.what}", where=where, fix=fault.fix))
    if faults:
        raise as_one(faults)
    return tuple(notes)


def _published(teacher: TeacherConfig, card: Any) -> list[str]:
    from autokd.models.published import fitting

    told = fitting(teacher.model, teacher.weights or "", classes=card.classes, channels=card.channels)
    notes = []
    if told.size and (told.size, told.size) != (card.height, card.width):
        here, there = f"{card.height} x {card.width}", f"{told.size} x {told.size}"
        notes.append(f"teacher {teacher.name}: its weights were trained on {there} pixels, the images have {here}")
    for word, own, theirs in (("mean", teacher.mean, told.mean), ("std", teacher.std, told.std)):
        if own is not None and theirs and tuple(own) != theirs:
            given, trained = (", ".join(f"{value:g}" for value in one) for one in (own, theirs))
            notes.append(f"teacher {teacher.name}: {word} is {given} as the space says; its weights were trained with {trained}")
    return notes


def _of_file(teacher: TeacherConfig, card: Any) -> list[str]:
    from autokd.models.build import build
    from autokd.models.checkpoint import load_weights

    image = {"classes": card.classes, "channels": card.channels, "size": card.size}
    model = build(teacher.model, **image, options=teacher.options, seed=0)
    told = load_weights(model, teacher.checkpoint or "").told
    return [f"weights of {teacher.name}: {told}"] if told else []
