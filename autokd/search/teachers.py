"""Teachers that a run has had before: taken up again where they are still what they were, and refused in words where not.

Nothing here imports torch: the driver compares what was recorded with what a worker has just measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autokd.config.trial import DataConfig, TeacherConfig
from autokd.errors import AutokdError
from autokd.files import in_file_name, sha256_of, vouched
from autokd.search.work import measured, teacher_from
from autokd.train.recorded import changed, quality_of

__all__ = ["compare", "known_teachers", "recorded_teachers", "trained_before", "verify"]

Event = Mapping[str, Any]


def recorded_teachers(past: Iterable[Event]) -> dict[str, Event]:
    """What the ledger last said of each teacher."""
    return {event["teacher"]: event for event in past if event["event"] == "teacher"}


def known_teachers(past: Iterable[Event]) -> dict[str, TeacherConfig]:
    """Teachers of earlier sessions whose weights still lie where they lay, as they were written."""
    return {name: teacher_from(event["config"]) for name, event in recorded_teachers(past).items() if _lies_there(event)}


def _lies_there(event: Event) -> bool:
    checkpoint = event["config"].get("checkpoint")
    if checkpoint is None:
        return True
    path = Path(checkpoint)
    if not path.exists() or not vouched(path):
        return False
    return event.get("sha256") in (None, sha256_of(path))


def trained_before(name: str, folder: str | Path) -> bool:
    """Whether a teacher of that name was trained in this folder, with whatever data and recipe."""
    from glob import escape

    return any(Path(folder).glob(f"{escape(in_file_name(name))}-*.safetensors"))


def compare(name: str, before: Event, facts: Event, *, trained_here: bool) -> str:
    """What was measured of a teacher now (`prepare_teacher`), against what the run has recorded of it.

    trained_here: the space says how it is trained, so that it may have been trained again. Returns a sentence where it was and is
    not as good or as bad as before, else "". Raises AutokdError where the run would go on with another teacher, or other data.
    """
    where, new = str(facts.get("checkpoint") or ""), "begin a new search"
    if _differ(before, facts, "data"):
        raise AutokdError(
            f"the data is not what this run began with: the teacher {name!r} was measured on other images, labels or class names",
            fix=f"put the data back as it was, or {new}: what was trained on the one is not comparable with the other",
        )
    if not trained_here and _differ(before, facts, "sha256"):
        raise AutokdError(
            f"the weights of {name!r} are not those that this run began with",
            where=where,
            fix=f"put the file back, or {new} with the other weights",
        )
    then, now = quality_of(before), quality_of(facts)
    if then is None or now is None or then.agrees(now):
        return ""
    if facts.get("trained"):
        return f"the teacher {name!r} was trained again on this machine, and has {now}; the run began with {then}"
    raise changed(name, where, then, now, then=before.get("versions"), fix=f"put back what changed, or {new}")


def verify(workshop: Any, data: DataConfig, config: TeacherConfig, past: Iterable[Event]) -> None:
    """Measure a teacher that a run was trained with before it is used once more. Raises AutokdError where it is another."""
    before = recorded_teachers(past).get(config.name)
    if before is not None:
        compare(config.name, before, measured(workshop, data, config), trained_here=False)


def _differ(before: Event, facts: Event, word: str) -> bool:
    return None not in (before.get(word), facts.get(word)) and before[word] != facts[word]
