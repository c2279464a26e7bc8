"""A grid: a list of configurations decided beforehand, run by the search that runs everything else.

To the brain it is one more space, whose only knob is which arm comes next: so a grid has the engines, the cache, the table,
MLflow and the resume of a search, and nothing of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from autokd.config.search_space import Pair, SearchSpace
from autokd.config.sections import Budget
from autokd.config.trial import TeacherConfig, TrialConfig
from autokd.errors import AutokdError
from autokd.space.domains import Drawer

__all__ = ["ARM", "Grid", "grid"]

ARM = "arm"  # the knob


@dataclass(frozen=True)
class Grid(SearchSpace):
    """A search space of named configurations, each trained once, in the order given, to its end.

    labels: what MLflow says of an arm beside its name. files: written into the run folder, by name, before anything runs.
    looks: scores of an arm before its end, with a checkpoint each; only the end is compared.
    """

    arms: dict[str, TrialConfig] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    looks: int = 1

    def pairs(self) -> list[Pair]:
        """(teacher, student) of every arm; the student goes by its name in the space."""
        names = dict(reversed(_hashed(self.students)))
        return list(
            dict.fromkeys(
                (arm.teacher.name if arm.teacher else None, names[_one(arm.student)]) for arm in self.arms.values()
            )
        )

    def sample(self, draw: Drawer, pairs: Sequence[Pair], seed: int) -> TrialConfig:
        """The arm that `draw` chooses; its seed is its own."""
        return self.arms[draw.choose(ARM, list(self.arms))]

    def starts(self, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
        return [{ARM: name} for name in self.arms]

    def key(self, config: TrialConfig) -> str:
        """What makes two arms the same: all but where the teacher's weights lie; arms may differ in their seed alone."""
        teacher = TeacherConfig(config.teacher.name, config.teacher.model) if config.teacher else None
        return replace(config, teacher=teacher).key

    def tags(self, values: Mapping[str, Any]) -> dict[str, str]:
        """What stands with a trial in the ledger and in MLflow. values: what was drawn."""
        name = values[ARM]
        return {ARM: name, "seed": str(self.arms[name].seed), **self.labels.get(name, {})}


def grid(
    space: SearchSpace,
    arms: Mapping[str, TrialConfig],
    *,
    teachers: Mapping[str, TeacherConfig] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    files: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Grid:
    """A grid on the data, the machine and the students of a space. One budget without limits; nothing stops early.

    teachers: those of the arms, in place of the space's. Raises AutokdError where there is no arm, where two arms are the same,
    or where one has a student or a teacher that is not there.
    """
    if not arms:
        raise AutokdError("a grid without arms has nothing to train")
    teachers = dict(space.teachers if teachers is None else teachers)
    known = {student for student, _ in _hashed(space.students)}
    for label, arm in arms.items():
        if _one(arm.student) not in known:
            raise AutokdError(f"{label}: the space has no student {arm.student.name!r}")
        if arm.teacher is not None and arm.teacher.name not in teachers:
            raise AutokdError(f"{label}: there is no teacher {arm.teacher.name!r}", fix=f"one of {', '.join(teachers)}")
    limits = {"trials": len(arms), "hours": None, "images": None, "gpu_hours": None}
    search = space.search.model_copy(update={**limits, "scheduler": "none", "sampler": "random", "start": []})
    kept = {one.name: getattr(space, one.name) for one in fields(SearchSpace)}
    kept |= {"teachers": teachers, "budgets": (Budget("study"),), "search": search, "start": ()}
    kept |= {"listed": None, "cheaper_than_teacher": False, "name": name or space.name}
    made = Grid(
        **kept, arms=dict(arms), labels={k: dict(v) for k, v in (labels or {}).items()}, files=dict(files or {})
    )
    seen: dict[str, str] = {}
    for label, arm in made.arms.items():
        twin = seen.setdefault(made.key(arm), label)
        if twin != label:
            raise AutokdError(f"the arms {twin!r} and {label!r} are the same")
    return made


def _hashed(students: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_one(student), name) for name, student in students.items()]


def _one(student: Any) -> str:
    return repr((student.name, sorted(student.options.items())))
