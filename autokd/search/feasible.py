"""Which students fit which budget, known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError, Faults

if TYPE_CHECKING:
    from autokd.config.trial import StudentConfig, TeacherConfig
    from autokd.cost.count import Cost

__all__ = ["Feasible", "admits", "feasible", "measure"]

Pair = tuple[str | None, str]  # teacher, student; no teacher for training with labels alone


@dataclass(frozen=True)
class Feasible:
    """`costs` of each student by name, `pairs` of each budget by name, and the students that fit none."""

    costs: dict[str, Any]
    pairs: dict[str, tuple[Pair, ...]]
    unused: tuple[str, ...] = ()

    def admitting(self, pair: Pair) -> tuple[str, ...]:
        """The budgets whose limits this pair's student keeps."""
        return tuple(name for name, pairs in self.pairs.items() if pair in pairs)


def admits(budget: Any, cost: Any, teacher: Any | None = None) -> bool:
    """Whether a student of this cost keeps every limit of the budget; some limits are shares of its teacher's cost."""
    return budget.admits(cost.params, cost.macs, (teacher.params, teacher.macs) if teacher is not None else None)


def feasible(
    pairs: Iterable[Pair],
    budgets: Sequence[Any],
    costs: dict[str, Any],
    teachers: dict[str, Any],
    *,
    cheaper: bool = True,
) -> Feasible:
    """Divide the pairs over the budgets.

    costs, teachers: `.params` and `.macs` of every student and teacher by name. With `cheaper` a pair is kept where the
    student costs less than its teacher: fewer multiply-accumulates, or as many and fewer parameters.
    Raises AutokdError or Faults naming every budget that no student keeps.
    """
    pairs = list(dict.fromkeys((teacher, student) for teacher, student in pairs))
    kept = [pair for pair in pairs if not cheaper or _cheaper(costs[pair[1]], teachers.get(pair[0] or ""))]

    def fitting(budget: Any, some: list[Pair]) -> tuple[Pair, ...]:
        return tuple(pair for pair in some if admits(budget, costs[pair[1]], teachers.get(pair[0] or "")))

    by_budget = {budget.name: fitting(budget, kept) for budget in budgets}
    faults = [_unmet(b, fitting(b, pairs), pairs, costs, teachers) for b in budgets if not by_budget[b.name]]
    if faults:
        raise faults[0] if len(faults) == 1 else Faults(faults)
    used = {student for found in by_budget.values() for _, student in found}
    return Feasible(costs, by_budget, tuple(sorted(set(costs) - used)))


def measure(
    data: Any, students: Iterable[StudentConfig], teachers: Iterable[TeacherConfig]
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Parameters and multiply-accumulates of every student and teacher, by name, on images of this data set."""
    from autokd.cost.count import count
    from autokd.data.training import describe

    card = describe(data.name, root=data.root, options=data.options)

    def cost(name: str, options: dict[str, Any]) -> Cost:
        return count(name, classes=card.classes, channels=card.channels, size=card.height, options=options)

    return (
        {student.name: cost(student.name, student.options) for student in students},
        {teacher.name: cost(teacher.model, teacher.options) for teacher in teachers},
    )


def _cheaper(student: Any, teacher: Any | None) -> bool:
    return teacher is None or (student.macs, student.params) < (teacher.macs, teacher.params)


def _unmet(
    budget: Any, dear: tuple[Pair, ...], pairs: list[Pair], costs: dict[str, Any], teachers: dict[str, Any]
) -> AutokdError:
    where = str(getattr(budget, "where", "") or "")
    if dear:
        return AutokdError(
            f"the students that fit the budget {budget} are no cheaper than their teachers",
            where=where,
            fix=f"pair {', '.join(sorted({student for _, student in dear}))} with a larger teacher",
        )
    least = []
    for limit in ("params", "macs"):
        bounds = [
            budget.limits((teachers[t].params, teachers[t].macs) if t in teachers else None).get(limit) for t, _ in pairs
        ]
        if any(bound is not None for bound in bounds) and pairs:
            smallest = min((student for _, student in pairs), key=lambda name: getattr(costs[name], limit))
            least.append(f"{smallest} needs {getattr(costs[smallest], limit):,} {limit}")
    told = f"raise the limit or add a smaller student: {', '.join(least)} at least" if least else "add students"
    return AutokdError(f"no student fits the budget {budget}", where=where, fix=told)
