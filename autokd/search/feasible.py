"""Which students fit which budget, known before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autokd.config.limits import COSTS, Budget, Deployment
from autokd.errors import AutokdError, as_one
from autokd.files import cache_root
from autokd.search.notes import keep_notes, key_of, read_notes

if TYPE_CHECKING:
    from autokd.config.trial import StudentConfig, TeacherConfig
    from autokd.cost.latency import Estimate, Timing

__all__ = ["Feasible", "Notes", "admits", "costs_of", "costs_under", "feasible", "measure", "checked_students", "timed"]

Pair = tuple[str | None, str]  # teacher, student; no teacher for training with labels alone


class Cost(Protocol):
    """What a student costs, by the names of autokd.config.limits.COSTS; `timings` has its latencies by deployment."""

    @property
    def params(self) -> int: ...

    @property
    def macs(self) -> int: ...


@dataclass(frozen=True)
class Counted:
    """file_size and memory: bytes."""

    params: int
    macs: int
    file_size: int
    memory: int
    timings: Mapping[Deployment, Timing] = field(default_factory=dict)


@dataclass(frozen=True)
class Feasible:
    """`costs` of each student by name, `pairs` of each budget by name, the students that fit none, and teachers' costs.

    marginal: students by budget, for which the limit on the latency lies inside the measured interval; the measured value
    itself decided. doubtful: students by budget, whose latency (or their teacher's, if the limit is a share of it) is not
    trustworthy and excluded nobody. latencies: what was timed, where (autokd.search.timed), as the ledger keeps it; None where
    nothing was.
    """

    costs: dict[str, Any]
    pairs: dict[str, tuple[Pair, ...]]
    unused: tuple[str, ...] = ()
    teachers: Mapping[str, Any] = field(default_factory=dict)
    marginal: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    latencies: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    doubtful: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def admitting(self, pair: Pair) -> tuple[str, ...]:
        """The budgets whose limits this pair's student keeps."""
        return tuple(name for name, pairs in self.pairs.items() if pair in pairs)

    def told(self, name: str, budgets: Sequence[Budget]) -> dict[str, Any]:
        """A student's costs as the ledger and the result table have them.

        latency_ms is under the conditions of the first budget that limits it; latencies has all by their conditions.
        """
        cost = self.costs[name]
        found = {one: getattr(cost, one) for one in COSTS if getattr(cost, one, None) is not None}
        timed = {b.conditions: b for b in budgets if b.timed}
        latencies = {key: value for key, b in timed.items() if (value := costs_under(b, cost).get("latency_ms")) is not None}
        if latencies:
            found |= {"latency_ms": latencies.get(next(iter(timed))), "latencies": latencies}
        return found


def costs_under(budget: Budget, cost: Any) -> dict[str, float]:
    """A network's costs by name, its latency under the budget's conditions; without those that are not known."""
    found = {name: getattr(cost, name) for name in COSTS if getattr(cost, name, None) is not None}
    timing = _timing(budget, cost)
    return found | ({"latency_ms": timing.value} if timing is not None else {})


def _timing(budget: Budget, cost: Any) -> Estimate | None:
    timing = getattr(cost, "timings", {}).get(budget.deployment) if budget.timed else None
    return timing.of(budget.statistic) if timing is not None else None


def admits(budget: Budget, cost: Any, teacher: Any | None = None) -> bool:
    """Whether a student of this cost keeps every limit of the budget; some limits are shares of its teacher's cost.

    A latency that is not trustworthy excludes nobody.
    """
    known = costs_under(budget, cost)
    if "latency_ms" in known and _doubtful(budget, cost, teacher):
        known["latency_ms"] = 0.0
    return _admits(budget, known, costs_under(budget, teacher) if teacher is not None else None)


def _doubtful(budget: Budget, cost: Any, teacher: Any | None) -> bool:
    timings = [getattr(cost, "timings", {}).get(budget.deployment)]
    if "latency_ms" in budget.of_teacher:
        timings.append(getattr(teacher, "timings", {}).get(budget.deployment))
    return budget.timed and any(one is not None and one.doubt for one in timings)


def _admits(budget: Budget, cost: dict[str, float], teacher: dict[str, float] | None) -> bool:
    """A network is not timed that keeps another limit of no budget that asks for its latency: then it keeps none."""
    if teacher is not None and not set(budget.of_teacher) <= set(teacher):
        return False
    return set(budget.limits(teacher)) <= set(cost) and budget.admits(cost, teacher)


def feasible(
    pairs: Iterable[Pair],
    budgets: Sequence[Budget],
    costs: dict[str, Any],
    teachers: dict[str, Any],
    *,
    cheaper: bool = True,
    latencies: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Feasible:
    """Divide the pairs over the budgets.

    costs, teachers: what every student and teacher costs, by name (`Cost`). With `cheaper` a pair is kept where the
    student costs less than its teacher: fewer multiply-accumulates, or as many and fewer parameters.
    Raises AutokdError or Faults naming every budget that no student keeps.
    """
    pairs = list(dict.fromkeys((teacher, student) for teacher, student in pairs))
    kept = [pair for pair in pairs if not cheaper or _cheaper(costs[pair[1]], teachers.get(pair[0] or ""))]

    def fitting(budget: Budget, some: list[Pair]) -> tuple[Pair, ...]:
        return tuple(pair for pair in some if admits(budget, costs[pair[1]], teachers.get(pair[0] or "")))

    by_budget = {budget.name: fitting(budget, kept) for budget in budgets}
    faults = [_unmet(b, fitting(b, pairs), pairs, costs, teachers) for b in budgets if not by_budget[b.name]]
    if faults:
        raise as_one(faults)
    used = {student for found in by_budget.values() for _, student in found}
    unused = tuple(sorted(set(costs) - used))

    def marked(mark: Callable[[Budget, Any, Any], bool], among: Callable[[Budget], Iterable[Pair]]) -> dict[str, tuple[str, ...]]:
        some = {b.name: dict.fromkeys(s for t, s in among(b) if mark(b, costs[s], teachers.get(t or ""))) for b in budgets}
        return {name: tuple(students) for name, students in some.items() if students}

    marginal, doubtful = marked(_marginal, lambda budget: kept), marked(_doubtful, lambda budget: by_budget[budget.name])
    return Feasible(costs, by_budget, unused, teachers, marginal, latencies, tuple(notes), doubtful)


def _marginal(budget: Budget, cost: Any, teacher: Any | None) -> bool:
    """Whether the limit on the latency lies inside what was measured, and no other limit decides."""
    timing, known = _timing(budget, cost), costs_under(budget, cost)
    of_teacher = costs_under(budget, teacher) if teacher is not None else None
    low = high = budget.latency_ms
    share, theirs = budget.of_teacher.get("latency_ms"), _timing(budget, teacher)
    if share is not None and theirs is not None:
        low, high = share * theirs.low, share * theirs.high
    if timing is None or low is None or high is None or timing.high < low or high < timing.low:
        return False
    if _doubtful(budget, cost, teacher):
        return False
    return _admits(budget, known | {"latency_ms": 0.0}, of_teacher)


def costs_of(space: Any, card: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What every student and teacher of a space costs that can be counted, by the names that the space gives them."""
    costs: dict[str, Any] = {}
    teachers: dict[str, Any] = {}
    faults: list[AutokdError] = []
    for name, student in space.students.items():
        try:
            costs[name] = measure(space.data, [student], [], card)[0][student.name]
        except AutokdError as fault:
            faults.append(fault)
    for teacher in space.teachers.values():
        try:
            teachers |= measure(space.data, [], [teacher], card)[1]
        except AutokdError as fault:
            faults.append(fault)
    if faults:
        raise as_one(faults)
    return costs, teachers


def checked_students(
    space: Any,
    costs: dict[str, Any],
    teachers: dict[str, Any],
    card: Any,
    *,
    every: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[str, ...]:
    """Notes of autokd.search.check_students. Raises AutokdError or Faults for students that cannot be trained, together with
    budgets that no student keeps."""
    from autokd.search.check_students import check_students

    try:
        return check_students(space, card, code=_code(), every=every, tell=tell)
    except AutokdError as fault:
        raise _with_budgets(space, costs, teachers, fault) from fault


def _with_budgets(space: Any, costs: dict[str, Any], teachers: dict[str, Any], fault: AutokdError) -> AutokdError:
    """The fault, together with budgets that no student keeps, as far as that is known without latencies."""
    untimed = [budget for budget in space.budgets if not budget.timed]
    try:
        feasible(space.pairs(), untimed, costs, teachers, cheaper=space.cheaper_than_teacher)
    except AutokdError as more:
        return as_one([fault, more])
    return fault


def timed(
    space: Any,
    costs: dict[str, Any],
    teachers: dict[str, Any],
    card: Any,
    *,
    past: Iterable[Mapping[str, Any]] = (),
    tell: Callable[[str], None] = lambda text: None,
    again: bool = False,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, tuple[str, ...]]:
    """Costs with the latencies that the budgets ask for; what was timed, as the ledger keeps it; and what to tell of it.

    Only what keeps the other limits of a budget is timed. past: the events of the run's earlier sessions.
    """
    from autokd.search.timed import Asked, of_ledger, time_all

    asked: dict[tuple[str, str, Deployment], Asked] = {}
    image = {"classes": card.classes, "channels": card.channels, "size": card.size}

    def ask(role: str, name: str, model: str, options: dict[str, Any], budget: Budget) -> None:
        made = Asked(name, model, options, **image, deployment=budget.deployment, where=budget.where)
        asked.setdefault((role, name, budget.deployment), made)

    for budget in space.budgets:
        for teacher, student in space.pairs() if budget.timed else ():
            counted = costs_under(budget, costs[student]) | {"latency_ms": 0.0}
            theirs = costs_under(budget, teachers[teacher]) | {"latency_ms": 1.0} if teacher is not None else None
            if _admits(budget, counted, theirs):
                config = space.students[student]
                ask("student", student, config.name, config.options, budget)
                if teacher is not None and "latency_ms" in budget.of_teacher:
                    ask("teacher", teacher, space.teachers[teacher].model, space.teachers[teacher].options, budget)
    if not asked:
        return costs, teachers, None, ()
    try:
        measured = time_all(list(asked.values()), kept=of_ledger(past), tell=tell, again=again, code=_code())
    except AutokdError as fault:
        raise _with_budgets(space, costs, teachers, fault) from fault
    costs, teachers = dict(costs), dict(teachers)
    entries = []
    for (role, name, deployment), one in asked.items():
        timing, group = measured.timings[one.key], costs if role == "student" else teachers
        group[name] = replace(group[name], timings={**group[name].timings, deployment: timing})
        entries.append({role: name, "deployment": str(deployment), "network": one.key, **timing.to_dict()})
    return costs, teachers, {"machine": dict(measured.machine), "timings": entries}, measured.notes


def measure(
    data: Any, students: Iterable[StudentConfig], teachers: Iterable[TeacherConfig], card: Any = None
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """What every student and teacher costs that can be counted, by name, on images of this data set.

    card: what the data set is, where that is known already.
    """
    from autokd.data.training import describe

    card = card or describe(data.name, root=data.root, options=data.options)
    notes = Notes()

    def cost(name: str, options: dict[str, Any]) -> Cost:
        return notes.cost(name, options, classes=card.classes, channels=card.channels, size=card.size)

    told = (
        {student.name: cost(student.name, student.options) for student in students},
        {teacher.name: cost(teacher.model, teacher.options) for teacher in teachers},
    )
    notes.keep()
    return told


class Notes:
    """Costs counted by earlier processes, in a file of the cache folder, so that a search starts without importing torch.

    A note holds as long as the code that builds and counts a network is the same, autokd's and its library's. One's own networks
    are counted by every command: their code is run, so that what has changed around it is met.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_root() / "costs.json"
        self._code = _code()
        self._new = False
        self.known: dict[str, list[int]] = read_notes(self.path, self._code, "costs")

    def cost(self, name: str, options: dict[str, Any], **image: Any) -> Cost:
        key = key_of(name, options, image)
        found = self.known.get(key)
        if found is not None:
            params, macs, file_size, memory = found
            return Counted(params, macs, file_size, memory)
        counted = _counted(name, options, **image)
        if key:
            self.known[key] = [counted.params, counted.macs, counted.file_size, counted.memory]
            self._new = True
        return counted

    def keep(self) -> None:
        """Write what was counted, where that can be done."""
        if self._new:
            keep_notes(self.path, self._code, "costs", self.known)


def _counted(name: str, options: dict[str, Any], **image: Any) -> Counted:
    from autokd.cost.count import count, examine
    from autokd.cost.file_size import file_size
    from autokd.cost.memory import memory
    from autokd.models.fuse import fused

    cost = count(name, options=options, **image)
    places = {key: image[key] for key in ("channels", "size")}

    def look(model: Any) -> tuple[int, int]:
        deployed = fused(model)
        return file_size(deployed), memory(deployed, **places)

    size, live = examine(name, look, options=options, **image)
    return Counted(cost.params, cost.macs, size, live)


def _code() -> str:
    """A hash of what decides a cost: these files, and the library that counts."""
    root = Path(__file__).resolve().parents[1]
    files = sorted([*(root / "models").glob("*.py"), *(root / "cost").glob("*.py")])
    parts = [metadata.version("torch").encode(), *(path.name.encode() + path.read_bytes() for path in files)]
    return blake2b(b"".join(parts), digest_size=8).hexdigest()


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
    for limit in COSTS:
        bounds = [budget.limits(costs_under(budget, teachers[t]) if t in teachers else None).get(limit) for t, _ in pairs]
        known = {s: value for _, s in pairs if (value := costs_under(budget, costs[s]).get(limit)) is not None}
        if any(bound is not None for bound in bounds) and known:
            smallest = min(known, key=lambda name: known[name])
            least.append(f"{smallest} needs {_needs(limit, known[smallest])}")
    told = f"raise the limit or add a smaller student: {', '.join(least)} at least" if least else "add students"
    return AutokdError(f"no student fits the budget {budget}", where=where, fix=told)


def _needs(limit: str, value: float) -> str:
    """'1,234 params', '9,999 bytes of memory', '2.5 ms'."""
    if limit == "latency_ms":
        return f"{value:.3g} ms"
    return f"{value:,} " + {"file_size": "bytes of file", "memory": "bytes of memory"}.get(limit, limit)
