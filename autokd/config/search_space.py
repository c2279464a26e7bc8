"""A search space: everything a person asks for, checked before anything runs, and the trials that can be drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from autokd.config.limits import Budget
from autokd.config.reading import Reader
from autokd.config.schema import schema
from autokd.config.sections import (
    ConfirmSettings,
    FinalizeSettings,
    Resources,
    SearchSettings,
    SignalSettings,
    Tracking,
)
from autokd.config.shipped import find_space
from autokd.config.tree import Knob, Tree, needs_teacher, searched
from autokd.config.trial import DataConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.config.units import short, short_ms, short_size
from autokd.errors import Faults, did_you_mean
from autokd.space.document import Document, Place, dump, plain
from autokd.space.domains import Branches, Choose, Drawer, Int, Node, Tell

__all__ = ["Pair", "SearchSpace", "Size", "load_space", "schema"]

Pair = tuple[str | None, str]  # teacher (None: trained without one), student


@dataclass(frozen=True)
class Size:
    """How large a space is: `points` discrete configurations, over each of which `ranges` knobs are continuous."""

    points: int
    ranges: int

    def __str__(self) -> str:
        points = f"{self.points:,}" if self.points < 10**6 else f"{self.points:.1e}"
        ranges = f" x {self.ranges} continuous range{'s' * (self.ranges != 1)}" if self.ranges else ""
        return f"{points} configuration{'s' * (self.points != 1)}{ranges}"


@dataclass(frozen=True)
class SearchSpace:
    """What a search may try and how far it goes. Made by `load_space`; equal spaces draw equal trials."""

    name: str
    data: DataConfig
    teachers: dict[str, TeacherConfig]
    students: dict[str, StudentConfig]  # by the name that stands in pairs and tables
    tree: Tree
    budgets: tuple[Budget, ...]
    listed: tuple[tuple[str, str], ...] | None = None  # (teacher, student) where the file lists pairs
    cheaper_than_teacher: bool = False
    search: SearchSettings = field(default_factory=SearchSettings)
    resources: Resources = field(default_factory=Resources)
    tracking: Tracking = field(default_factory=Tracking)
    finalize: FinalizeSettings = field(default_factory=FinalizeSettings)
    signals: SignalSettings = field(default_factory=SignalSettings)
    confirm: ConfirmSettings | None = None  # None: only when asked for
    start: tuple[dict[str, Any], ...] = ()  # points of the file, by knob path
    notes: tuple[str, ...] = field(default=(), compare=False)  # what was understood in another way than it was written
    source: str = field(default="", compare=False)

    @property
    def methods(self) -> tuple[str, ...]:
        return self.tree.method.names

    def pairs(self) -> list[Pair]:
        """Every (teacher, student) of the space before costs are looked at; (None, student) where a method has no teacher."""
        listed = self.listed
        if listed is None:
            listed = tuple((teacher, student) for student in self.students for teacher in self.teachers)
        found: list[Pair] = list(listed) if any(map(needs_teacher, self.methods)) else []
        if not all(map(needs_teacher, self.methods)):
            students = dict.fromkeys(student for _, student in listed) or self.students
            found += [(None, student) for student in students]
        return found

    def sample(self, draw: Drawer, pairs: Sequence[Pair], seed: int) -> TrialConfig:
        """One trial among `pairs`, every open setting decided by `draw`. `seed` is the trial's.

        A knob is asked for only where it matters. Its path names it: "method", "method.kd.temperature", "ratio", "student";
        "teacher", or "teacher[student]" where students differ in the teachers they may have. What has one value is not asked.
        """
        return self._build(lambda path, node: node.draw(draw, path), pairs, seed)

    def starts(self, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
        """Points tried first, by knob path: the published values of every method, then the file's own `start`.

        A point says nothing of student and teacher unless the file does: those are left to the sampler. A point of the file
        whose pair is not among `pairs` is left out.
        """
        points = [self._point({"method": method}, pairs)[0] for method in self._usable(pairs).names]
        for asked in self.start:
            try:
                point, unused = self._point(asked, pairs)
            except LookupError:
                continue
            if not unused:
                points.append(point)
        unique: list[dict[str, Any]] = []
        for point in points:
            if point not in unique:
                unique.append(point)
        return unique

    def knobs(self) -> list[Knob]:
        """Everything that is searched, in the order in which it is drawn."""
        pairs = self.pairs()
        found = self.tree.knobs()
        cut = 1 if found and found[0].path == "method" else 0
        who: list[Knob] = []
        for path, options in _roles(pairs, self.methods):
            if len(options) > 1:
                base, _, inside = path.rstrip("]").partition("[")
                condition = f"student is {inside}" if base == "teacher" else "the method has no teacher"
                condition = condition if inside else ""
                who.append(Knob(path, Choose(options), condition))
        return [*found[:cut], *who, *found[cut:]]

    def size(self) -> Size:
        pairs = self.pairs()
        alone = sum(teacher is None for teacher, _ in pairs)
        points = self.tree.points(lambda method: len(pairs) - alone if needs_teacher(method) else alone)
        continuous = [knob for knob in self.knobs() if not isinstance(knob.domain, (Choose, Int))]
        return Size(points, len(continuous))

    def to_yaml(self) -> str:
        """The file that says the same with every default filled in; read back, it is an equal space."""
        return dump(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The values of `to_yaml`: what load_space takes, as dicts, lists and scalars."""
        students = [_student_item(name, student) for name, student in self.students.items()]
        made: dict[str, Any] = {
            "name": self.name,
            "data": asdict(self.data),
            "teachers": {name: _teacher_item(teacher) for name, teacher in self.teachers.items()},
            "students": {"allow": students, "deny": [], "cheaper_than_teacher": self.cheaper_than_teacher},
        }
        if self.listed is not None:
            made["pairs"] = [list(pair) for pair in self.listed]
        made["space"] = self.tree.emit()
        made["budgets"] = [_budget_item(budget) for budget in self.budgets]
        search = self.search.model_dump() | {"start": list(self.start)}
        made["search"] = search
        for part in ("resources", "tracking", "finalize", "signals"):
            made[part] = getattr(self, part).model_dump()
        if self.confirm is not None:
            made["confirm"] = self.confirm.model_dump()
        return plain(made)

    def _usable(self, pairs: Sequence[Pair]) -> Branches:
        """The methods that have a pair to train."""
        taught = any(teacher is not None for teacher, _ in pairs)
        options = tuple(option for option in self.tree.method.options if taught or not needs_teacher(option[0]))
        if not options or not pairs:
            raise ValueError("no pair for any method of the space")
        names = [name for name, _ in options]
        return Branches(options, self.tree.method.prior if self.tree.method.prior in names else names[0])

    def _build(self, pick: Callable[[str, Node], Any], pairs: Sequence[Pair], seed: int) -> TrialConfig:
        tree = replace(self.tree, method=self._usable(pairs))
        method, loss = tree.method_of(pick)
        roles = dict(_roles(pairs, tree.method.names))
        alone = not needs_teacher(method.name)
        path = "student[alone]" if alone and "student[alone]" in roles else "student"
        student = pick(path, Choose(roles[path]))
        teacher = None
        if not alone:
            path = f"teacher[{student}]" if f"teacher[{student}]" in roles else "teacher"
            teacher = pick(path, Choose(roles[path]))
        policy, ratio = tree.policy_of(pick)
        return TrialConfig(
            data=self.data,
            student=self.students[student],
            teacher=self.teachers[teacher] if teacher is not None else None,
            policy=policy,
            ratio=ratio,
            method=method,
            loss=loss,
            recipe=tree.recipe_of(pick),
            epochs=self.search.epochs,
            seed=seed,
        )

    def _point(self, asked: Mapping[str, Any], pairs: Sequence[Pair]) -> tuple[dict[str, Any], list[str]]:
        """Priors, except where `asked` says otherwise; and what of `asked` is not part of that point.

        Raises LookupError where a value is outside its domain, with (path, value, domain) as its arguments.
        """
        point: dict[str, Any] = {}
        met: set[str] = set()

        def pick(path: str, node: Node) -> Any:
            role = path.split("[")[0]
            met.add(role)
            who = role in ("student", "teacher")
            value = asked.get(role, node.options[0] if who and isinstance(node, Choose) else node.prior)
            if role in asked and not node.holds(value):
                raise LookupError(role, value, node)
            if searched(node) and (role in asked or not who):
                point[path] = value
            return value

        self._build(pick, pairs, 0)
        return point, [path for path in asked if path not in met]


def load_space(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> SearchSpace:
    """Read a search space from a YAML file or from Python values, with `path.to.key=value` overrides applied in order.

    A file that is not there may be a space that comes with autokd, by its name: "digits".
    Relative paths in it are looked for in the current folder, then beside the file, and are made absolute. Raises Faults:
    every fault there is, each with its file and line, what it is and the way out.
    """
    document = Document.from_values(source) if isinstance(source, Mapping) else Document.read(find_space(source))
    reader = Reader(document)
    for text in overrides:
        reader.override(text)
    space = _assemble(reader)
    if reader.faults or space is None:
        raise Faults(reader.sorted())
    return space


def _assemble(reader: Reader) -> SearchSpace | None:
    parts = reader.parts()
    if parts is None:
        return None
    space = SearchSpace(source=reader.document.name, notes=tuple(reader.notes), **parts)
    starts = []
    for i, written in enumerate(space.search.start):
        point = _start(space, written, ("search", "start", i), reader.tell)
        starts.append(point)
    return replace(space, start=tuple(starts), search=space.search.model_copy(update={"start": []}))


def _start(space: SearchSpace, written: Mapping[str, Any], place: Place, tell: Tell) -> dict[str, Any]:
    """A point of the file as {knob path: value}, checked against the space."""
    asked: dict[str, Any] = {}
    spots: dict[str, Place] = {}
    nodes = {node.path: node.domain for node in space.tree.nodes()}
    nodes |= {"student": Choose(tuple(space.students)), "teacher": Choose(tuple(space.teachers))}

    def flatten(value: Any, path: str, at: Place) -> None:
        branch = path in ("method", "policy", "recipe.optimizer", "recipe.schedule")
        if branch and isinstance(value, dict) and len(value) == 1:
            name, inner = next(iter(value.items()))
            asked[path], spots[path] = name, at
            for key, item in (inner or {}).items() if isinstance(inner, dict) or inner is None else ():
                flatten(item, f"{path}.{name}.{key}", (*at, name, key))
        elif isinstance(value, dict):
            for key, item in value.items():
                flatten(item, f"{path}.{key}" if path else key, (*at, key))
        else:
            asked[path], spots[path] = value, at

    flatten(dict(written), "", place)
    good = True
    for path, value in asked.items():
        node = nodes.get(path)
        if node is None:
            known = [knob.path.split("[")[0] for knob in space.knobs()]
            fix = f"knobs of this space: {', '.join(dict.fromkeys(known))}{did_you_mean(path, known)}"
            tell(spots[path], f"there is no knob {path!r}", fix)
            good = False
        elif not node.holds(value):
            tell(spots[path], f"{path} cannot be {value!r} here", f"the space has: {node}")
            good = False
    if not good:
        return {}
    # written as the space writes it: 4 is 4.0 where the knob is a float
    asked = {path: _same_type(nodes[path], value) for path, value in asked.items()}
    try:
        _, unused = space._point(asked, space.pairs())
    except LookupError as error:
        path, value, node = error.args
        tell(spots.get(path, place), f"{path} cannot be {value!r} here", f"in this point it may be: {node}")
        return {}
    except ValueError:
        return {}
    for path in unused:
        tell(spots[path], f"{path} does not matter in this point", "name the branch it belongs to, or take it out")
    return asked


def _same_type(node: Node, value: Any) -> Any:
    prior = node.prior
    if isinstance(prior, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(node, Choose):
        return next(option for option in node.options if Choose((option,)).holds(value))
    return value


def _roles(pairs: Sequence[Pair], methods: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The knobs that choose a pair, with their options: student, student[alone], teacher or teacher[student]."""
    taught: dict[str, list[str]] = {}
    for teacher, student in pairs:
        if teacher is not None and teacher not in taught.setdefault(student, []):
            taught[student].append(teacher)
    alone = tuple(dict.fromkeys(student for teacher, student in pairs if teacher is None))
    alone = alone or tuple(dict.fromkeys(student for _, student in pairs))
    roles: list[tuple[str, tuple[str, ...]]] = []
    with_teacher = any(map(needs_teacher, methods)) and taught
    without = not all(map(needs_teacher, methods))
    if with_teacher:
        roles.append(("student", tuple(taught)))
    if without and not (with_teacher and set(alone) == set(taught)):
        roles.append(("student[alone]" if with_teacher else "student", alone))
    if with_teacher:
        same = len({tuple(sorted(teachers)) for teachers in taught.values()}) == 1
        if same:
            roles.append(("teacher", tuple(next(iter(taught.values())))))
        else:
            roles += [(f"teacher[{student}]", tuple(teachers)) for student, teachers in taught.items()]
    return roles


def _student_item(name: str, student: StudentConfig) -> Any:
    if student.name == name and not student.options:
        return name
    return {"model": student.name, "name": name, "options": student.options}


def _teacher_item(teacher: TeacherConfig) -> dict[str, Any]:
    made = asdict(teacher)
    made.pop("name")
    training = made.pop("training")
    for key in ("checkpoint", "weights"):
        if made[key] is None:
            del made[key]
    if training is not None:
        recipe = training.pop("recipe")
        policy, settings = training.pop("policy"), training.pop("policy_settings")
        made["train"] = {**training, "policy": {policy: settings}, **_relevant(recipe)}
    return made


def _relevant(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe with every key: a teacher's training lists them side by side."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in recipe.items()}


def _budget_item(budget: Budget) -> dict[str, Any]:
    def share(name: str) -> str:
        return f"{budget.of_teacher[name] * 100!r} % of teacher"

    made: dict[str, Any] = {"name": budget.name}
    for name, write in (("params", short), ("macs", short), ("file_size", short_size), ("memory", short_size)):
        if (limit := getattr(budget, name)) is not None:
            made[name] = write(limit)
        elif name in budget.of_teacher:
            made[name] = share(name)
    if budget.timed:
        most = short_ms(budget.latency_ms) if budget.latency_ms is not None else share("latency_ms")
        made["latency"] = {"max": most, "statistic": budget.statistic, **asdict(budget.deployment)}
    return made
