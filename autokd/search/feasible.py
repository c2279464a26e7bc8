"""Which students fit which budget, known before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from autokd.errors import AutokdError, Faults
from autokd.files import cache_root, write_text

if TYPE_CHECKING:
    from autokd.config.trial import StudentConfig, TeacherConfig

__all__ = ["Feasible", "Notes", "admits", "feasible", "measure"]

Pair = tuple[str | None, str]  # teacher, student; no teacher for training with labels alone


class Cost(Protocol):
    """params: learnable numbers. macs: multiply-accumulates of one image's forward pass."""

    @property
    def params(self) -> int: ...

    @property
    def macs(self) -> int: ...


class Counted(NamedTuple):
    params: int
    macs: int


@dataclass(frozen=True)
class Feasible:
    """`costs` of each student by name, `pairs` of each budget by name, the students that fit none, and teachers' costs."""

    costs: dict[str, Any]
    pairs: dict[str, tuple[Pair, ...]]
    unused: tuple[str, ...] = ()
    teachers: Mapping[str, Any] = field(default_factory=dict)

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
    return Feasible(costs, by_budget, tuple(sorted(set(costs) - used)), teachers)


def measure(
    data: Any, students: Iterable[StudentConfig], teachers: Iterable[TeacherConfig], card: Any = None
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Parameters and multiply-accumulates of every student and teacher, by name, on images of this data set.

    card: what the data set is, where that is known already.
    """
    from autokd.data.training import describe

    card = card or describe(data.name, root=data.root, options=data.options)
    notes = Notes()

    def cost(name: str, options: dict[str, Any]) -> Cost:
        return notes.cost(name, options, classes=card.classes, channels=card.channels, size=card.height)

    told = (
        {student.name: cost(student.name, student.options) for student in students},
        {teacher.name: cost(teacher.model, teacher.options) for teacher in teachers},
    )
    notes.keep()
    return told


class Notes:
    """Costs counted by earlier processes, in a file of the cache folder, so that a search starts without importing torch.

    A note holds as long as the code that builds and counts the zoo is the same; own networks are counted every time.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_root() / "costs.json"
        self._code = _code()
        self._new = False
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
            self.known: dict[str, list[int]] = dict(told["costs"]) if told["code"] == self._code else {}
        except (OSError, ValueError, KeyError, TypeError):
            self.known = {}

    def cost(self, name: str, options: dict[str, Any], **image: Any) -> Cost:
        try:
            key = json.dumps([name, options, image], sort_keys=True)
        except TypeError:  # an option that is no plain value
            key = ""
        found = self.known.get(key)
        if found is not None:
            return Counted(*found)
        from autokd.cost.count import count

        counted = count(name, options=options, **image)
        if key and ":" not in name:
            self.known[key] = [counted.params, counted.macs]
            self._new = True
        return counted

    def keep(self) -> None:
        """Write what was counted, where that can be done."""
        if not self._new:
            return
        try:
            write_text(self.path, json.dumps({"code": self._code, "costs": self.known}))
        except OSError:
            pass  # a note not kept is counted again


def _code() -> str:
    """A hash of the files that decide a cost."""
    root = Path(__file__).resolve().parents[1]
    files = sorted([*(root / "models").glob("*.py"), *(root / "cost").glob("*.py")])
    return blake2b(b"".join(path.name.encode() + path.read_bytes() for path in files), digest_size=8).hexdigest()


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
            budget.limits((teachers[t].params, teachers[t].macs) if t in teachers else None).get(limit)
            for t, _ in pairs
        ]
        if any(bound is not None for bound in bounds) and pairs:
            smallest = min((student for _, student in pairs), key=lambda name: getattr(costs[name], limit))
            least.append(f"{smallest} needs {getattr(costs[smallest], limit):,} {limit}")
    told = f"raise the limit or add a smaller student: {', '.join(least)} at least" if least else "add students"
    return AutokdError(f"no student fits the budget {budget}", where=where, fix=told)
