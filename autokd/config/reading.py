"""From a document to the parts of a search space, with every fault gathered on the way."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from autokd.config.limits import Budget, Deployment
from autokd.config.sections import (
    BudgetSection,
    DataSection,
    Rungs,
    SearchSettings,
    SpaceFile,
    StudentItem,
    StudentsSection,
    TeacherSection,
    TrainSection,
)
from autokd.config.shipped import base_of
from autokd.config.tree import fixed_policy, fixed_recipe, needs_teacher, parse_tree
from autokd.config.trial import DataConfig, StudentConfig, TeacherConfig, TeacherTraining
from autokd.config.units import Amount, short
from autokd.errors import AutokdError, Faults, SpaceError, did_you_mean, readable
from autokd.machine import expanded
from autokd.models import zoo
from autokd.rooms import catalogue, complain
from autokd.space.document import Document, Place

__all__ = ["Reader"]

_SOURCES = ("checkpoint", "weights", "train")


class Reader:
    """Reads one document. `tell` notes a fault at a place; `parts` gives what a SearchSpace is made of."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults: list[tuple[tuple[int, int], SpaceError]] = []
        self.notes: list[str] = []

    def tell(self, place: Place, what: str, fix: str) -> None:
        fault = SpaceError(what, where=self.document.where(place), fix=fix)
        if str(fault) not in [str(known) for _, known in self.faults]:
            self.faults.append((self.document.order(place), fault))

    def note(self, place: Place, text: str) -> None:
        self.notes.append(f"{self.document.where(place)}: {text}")

    def sorted(self) -> list[SpaceError]:
        """Every fault in the order of the file's lines, those of the command line last."""
        return [fault for _, fault in sorted(self.faults, key=lambda item: item[0])]

    def override(self, text: str) -> None:
        """Apply one `--set`. Naming another source of a teacher's weights puts the one in the file aside."""
        if not isinstance(self.document.values, dict):
            return
        try:
            place = self.document.override(text)
        except Faults as error:
            self.faults += [((1, 0), SpaceError(f.what, where=f.where, fix=f.fix)) for f in error.faults]
            return
        except SpaceError as error:
            self.faults.append(((1, 0), error))
            return
        if len(place) >= 3 and place[0] == "teachers" and place[2] in _SOURCES:
            for other in _SOURCES:
                if other != place[2]:
                    self.document.drop((*place[:2], other))

    def parts(self) -> dict[str, Any] | None:
        values = self.document.values
        if not isinstance(values, dict) or not values:
            what = "the file is empty" if values is None or values == {} else "a search space is a mapping"
            self.tell((), what, f"its sections: {', '.join(SpaceFile.model_fields)}")
            return None
        said = {key: value for key, value in values.items() if value is not None or key not in SpaceFile.model_fields}
        file, wrong = self._validate(said)
        taught = bool(self.document.get(("teachers",)))
        tree = parse_tree(values.get("space"), ("space",), self.tell, default="kd" if taught else "ce")
        data = self._data(None if "data" in wrong else file.data)
        teachers = self._teachers(file)
        students, cheaper = self._students(values.get("students"), values.get("pairs"))
        listed = self._pairs(values.get("pairs"), students)
        budgets = self._budgets(file)
        search = file.search if wrong & {"search", "data"} else self._search(file)
        if tree is not None and not taught:
            needing = [name for name in tree.method.names if needs_teacher(name)]
            if needing:
                place = next(
                    (p for p in (("space", "method"), ("space",)) if self.document.get(p) is not None), ("space",)
                )
                fix = "add teachers: {NAME: {model: …, checkpoint: …}}, or train with method: ce alone"
                self.tell(place, f"{', '.join(needing)} needs a teacher and there is none", fix)
        if self.faults or tree is None or data is None:
            return None
        unpaired = [name for name in teachers if listed is not None and name not in {t for t, _ in listed}]
        for name in unpaired:
            self.note(("teachers", name), f"the teacher {name!r} stands in no pair and is not used")
        return {
            "name": file.name,
            "data": data,
            "teachers": teachers,
            "students": students,
            "cheaper_than_teacher": cheaper,
            "listed": listed,
            "tree": tree,
            "budgets": budgets,
            "search": search,
            "resources": file.resources,
            "tracking": file.tracking,
            "finalize": file.finalize,
            "confirm": file.confirm,
            "signals": file.signals,
        }

    # -- sections ------------------------------------------------------------------------------------------------------

    def _validate(self, values: dict[str, Any]) -> tuple[SpaceFile, set[str]]:
        """The file with its sections; those named beside it were told to be at fault and stand at their defaults."""
        try:
            return SpaceFile.model_validate(values), set()
        except ValidationError as error:
            for item in _without_misspelt(error.errors(), SpaceFile):
                self._explain(item, SpaceFile, ())
            wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
            sound = {key: value for key, value in values.items() if key not in wrong}
            return SpaceFile.model_validate({"name": "x", "data": {"name": "x"}, **sound}), wrong

    def _explain(self, item: Any, model: type[BaseModel], base: Place) -> None:
        """One of pydantic's errors in our words, at its line."""
        place = (*base, *(part for part in item["loc"]))
        label = ".".join(str(part) for part in place if not isinstance(part, int)) or "the space"
        last = str(place[-1]) if place else "the space"
        kind, context, given = item["type"], item.get("ctx", {}), item.get("input")
        if kind == "extra_forbidden":
            owner = _model_at(model, item["loc"][:-1])
            known = list(owner.model_fields) if owner else []
            title = ".".join(str(part) for part in place[:-1] if not isinstance(part, int)) or "a search space"
            fix = f"keys of {title}: {', '.join(known)}{did_you_mean(last, known)}"
            self.tell(place, f"unknown key {last!r}", fix)
        elif kind == "missing":
            above = ".".join(str(part) for part in place[:-1] if not isinstance(part, int)) or "a search space"
            self.tell(place[:-1], f"{above} needs {last!r}", f"add {last}: …")
        elif kind == "literal_error":
            owner = _model_at(model, item["loc"][:-1])
            words = _words(owner.model_fields[last].annotation) if owner else []
            told = ", ".join(words)
            self.tell(
                place, f"{last} is one of {told}, not {given!r}", f"write one of them{did_you_mean(str(given), words)}"
            )
        elif kind == "told":
            what = context["what"]
            self.tell(
                place, what if what[:4] == "noth" else f"{last} {what}" if what[:4] == "must" else what, context["fix"]
            )
        elif kind in _TYPES:
            what, fix = _TYPES[kind]
            self.tell(place, f"{label} is {what}, not {given!r}", fix)
        elif kind in _BOUNDS:
            bound = next(iter(value for key, value in context.items() if key in ("gt", "ge", "lt", "le")))
            self.tell(place, f"{label} must be {_BOUNDS[kind]} {bound:g}, not {given!r}", "change the number")
        elif kind == "range":
            self.tell(place, f"{label} must be {context['range']}, not {given!r}", "change the number")
        elif kind == "string_pattern_mismatch":
            fix = "letters, digits, '.', '_' and '-', starting with a letter or a digit"
            self.tell(place, f"{given!r} cannot be a {last}", fix)
        else:
            self.tell(place, f"{label}: {item['msg']}", "see `autokd schema` for what may stand here")

    def _data(self, data: DataSection | None) -> DataConfig | None:
        written = self.document.get(("data",))
        if not isinstance(written, dict):
            return None
        sets = catalogue("data.sets")
        name = written.get("name")
        entry = sets.get(name) if isinstance(name, str) else None
        if isinstance(name, str) and entry is None:
            self.tell(
                ("data", "name"), f"unknown data set {name!r}", f"known: {', '.join(sets)}{did_you_mean(name, sets)}"
            )
        options = written.get("options")
        if entry is not None:
            known = [s for s in entry.settings if s.name != "root"]
            for key, value in (options or {}).items() if isinstance(options, dict) else ():
                setting = next((s for s in known if s.name == key), None)
                names = [s.name for s in known]
                if setting is None:
                    fix = f"options of {name}: {', '.join(names) or 'none'}{did_you_mean(key, names)}"
                    self.tell(("data", "options", key), f"{name} has no option {key!r}", fix)
                elif trouble := complain(setting, value):
                    self.tell(("data", "options", key), trouble, str(setting))
            for setting in known:
                if setting.required and setting.name not in (options or {}):
                    self.tell(("data",), f"{name} needs {setting.name}", f"write options: {{{setting.name}: …}}")
        if data is None:
            return None
        self._statistics(data.mean, data.std, ("data",))
        root, split_file = data.root, data.split_file
        if split_file is not None:
            split_file = self._file(split_file, ("data", "split_file"), "the split file")
        if root is not None:
            root = str(self._absolute(root))
            if readable(root) != root:
                what = f"the path {readable(root)} is not UTF-8, and no space file holds it"
                self.tell(("data", "root"), what, "rename the folder")
        values = data.model_dump() | {"root": root, "split_file": split_file}
        return DataConfig(**values)

    def _search(self, file: SpaceFile) -> SearchSettings:
        """The settings of the search, which compare nothing where no image is held out to compare by."""
        held, split_file = file.data.validation > 0, file.data.split_file
        if split_file is not None:
            path = self._find(split_file)
            held = path is None or _holds_out(path)
        if file.search.select == "validation":
            if not held:
                what = "no image is held out, and trials are compared by their validation accuracy"
                fix = "write search: {select: last}: every trial runs to its end and none is ranked; or hold out a share of 0.1"
                self.tell(("data", "validation" if split_file is None else "split_file"), what, fix)
            return file.search
        if held:
            what = "select: last ranks no trial, and images are held out to rank them by"
            self.tell(("search", "select"), what, "write data: {validation: 0}, or take select out")
        contrary = (
            ("scheduler", file.search.scheduler != "none", "a scheduler compares trials"),
            ("rungs", file.search.rungs.count > 0, "rungs compare trials"),
            ("sampler", file.search.sampler != "random", "a sampler learns from the scores of trials"),
        )
        for key, wrong, what in contrary:
            if wrong and self.document.get(("search", key)) is not None:
                self.tell(("search", key), f"{what}, and with select: last none has a score", "take it out")
        if self.document.get(("confirm",)) is not None:
            what = "a confirmation compares students by their validation accuracy, and select: last holds nothing out"
            self.tell(("confirm",), what, "take the section out: finalize trains with several seeds")
        if not held:
            self.notes.append(
                "no image is held out (search.select: last): every trial is trained to its end and none is ranked; "
                "autokd finalize tests the last epoch of each, once"
            )
        return file.search.model_copy(update={"scheduler": "none", "sampler": "random", "rungs": Rungs(count=0)})

    def _statistics(self, mean: Sequence[float] | None, std: Sequence[float] | None, place: Place) -> None:
        if (mean is None) != (std is None):
            given = "mean" if std is None else "std"
            self.tell((*place, given), "mean and std go together", "give both, one number a channel each")
        elif mean is not None and std is not None:
            if len(mean) != len(std):
                self.tell(
                    (*place, "std"), f"mean has {len(mean)} numbers and std {len(std)}", "one number a channel each"
                )
            if any(value <= 0 for value in std):
                self.tell((*place, "std"), "a standard deviation is above 0", "pixels from 0 to 1 are divided by it")

    def _teachers(self, file: SpaceFile) -> dict[str, TeacherConfig]:
        written = self.document.get(("teachers",))
        made: dict[str, TeacherConfig] = {}
        if not isinstance(written, dict):
            return made
        for name, item in written.items():
            place: Place = ("teachers", name)
            if not isinstance(item, dict):
                continue
            model = self._model(item.get("model"), item.get("options"), (*place, "model"))
            named = [key for key in _SOURCES if item.get(key) is not None]
            if not named:
                fix = "one of checkpoint: FILE, weights: NAME (torchvision, timm), train: {epochs: 240}"
                self.tell(place, f"nothing says where the weights of {name!r} come from", fix)
            elif len(named) > 1:
                self.tell((*place, named[1]), f"{' and '.join(named)} exclude each other", "keep one of them")
            checkpoint = item.get("checkpoint")
            if isinstance(checkpoint, str):
                checkpoint = self._file(checkpoint, (*place, "checkpoint"), "the checkpoint", teacher=name)
            if item.get("weights") is not None and isinstance(model, str) and zoo_kind(model) in ("zoo", "own"):
                fix = "only torchvision: and timm: models have published weights; give a checkpoint: FILE or train: {…}"
                self.tell((*place, "weights"), f"{model} has no published weights", fix)
            training = self._training(item.get("train"), (*place, "train"))
            section = file.teachers.get(name)
            if section is None or model is None:
                continue
            self._statistics(section.mean, section.std, place)
            made[name] = self._teacher(name, model, section, checkpoint, training)
        return made

    @staticmethod
    def _teacher(
        name: str, model: str, section: TeacherSection, checkpoint: str | None, training: TeacherTraining | None
    ) -> TeacherConfig:
        return TeacherConfig(
            name=name,
            model=model,
            options=section.options,
            checkpoint=checkpoint,
            weights=section.weights,
            training=training,
            mean=section.mean,
            std=section.std,
            saw_validation=section.saw_validation,
        )

    def _training(self, written: Any, place: Place) -> TeacherTraining | None:
        if not isinstance(written, dict):
            return None
        own = set(TrainSection.model_fields)
        rest = {key: value for key, value in written.items() if key not in own}
        recipe = fixed_recipe(rest, place, self.tell)
        known = [*own, *recipe.__dataclass_fields__]
        for key in rest:
            if key not in known:
                fix = f"keys of train: {', '.join(sorted(known))}{did_you_mean(key, known)}"
                self.tell((*place, key), f"unknown key {key!r}", fix)
        policy, settings = fixed_policy(written.get("policy", "none"), (*place, "policy"), self.tell)
        try:
            section = TrainSection.model_validate(written)
        except ValidationError:  # told with the rest of the file
            return None
        ratio = section.ratio if section.ratio is not None else 0.5
        return TeacherTraining(
            epochs=section.epochs,
            seed=section.seed,
            views_seed=section.views_seed,
            recipe=recipe,
            policy=policy,
            policy_settings=settings,
            ratio=0.0 if policy == "none" else ratio,
        )

    def _students(self, written: Any, pairs: Any) -> tuple[dict[str, StudentConfig], bool]:
        found: dict[str, StudentConfig] = {}
        if written is None:
            if isinstance(pairs, list):  # pairs name their students themselves
                for i, pair in enumerate(pairs):
                    if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str) and pair[1] not in found:
                        self._add_student(pair[1], ("pairs", i, 1), found)
            else:
                fix = "add students: [resnet8, resnet20], or pairs: [[teacher, student]]"
                self.tell((), "nothing says which students to try", fix)
            return found, False
        if isinstance(written, list):
            for i, item in enumerate(written):
                self._add_student(item, ("students", i), found)
            if not written:
                self.tell(("students",), "the list of students is empty", "name at least one, such as resnet8")
            return found, False
        if not isinstance(written, dict):
            self.tell(
                ("students",), f"students is a list of names, not {written!r}", "write students: [resnet8, resnet20]"
            )
            return found, False
        try:
            section = StudentsSection.model_validate(written)
        except ValidationError as error:
            for item in error.errors():
                loc = tuple(part for part in item["loc"] if part not in ("str", "StudentItem"))
                self._explain({**item, "loc": loc}, StudentsSection, ("students",))
            return found, False
        zoo_names = zoo.names()
        for i, allowed in enumerate(section.allow if section.allow is not None else ["*"]):
            at: Place = ("students", "allow", i) if section.allow is not None else ("students",)
            if isinstance(allowed, str) and any(sign in allowed for sign in "*?["):
                matching = [name for name in zoo_names if fnmatchcase(name, allowed)]
                if not matching:
                    self.tell(at, f"no model of the zoo matches {allowed!r}", "`autokd models` lists them")
                for name in matching:
                    if name not in found:
                        self._add_student(name, at, found)
            else:
                self._add_student(allowed if isinstance(allowed, str) else allowed.model_dump(), at, found)
        for i, denied in enumerate(section.deny):
            matching = [name for name in found if fnmatchcase(name, denied)]
            if not matching:
                fix = f"allowed are: {', '.join(found)}{did_you_mean(denied, found)}"
                self.tell(("students", "deny", i), f"{denied!r} is not among the students", fix)
            for name in matching:
                del found[name]
        if not found and not self.faults:
            self.tell(("students",), "no student is left", "allow more or deny less")
        return found, section.cheaper_than_teacher

    def _add_student(self, item: Any, place: Place, found: dict[str, StudentConfig]) -> None:
        if isinstance(item, str):
            item = {"model": item, "name": item}
        try:
            student = StudentItem.model_validate(item)
        except ValidationError as error:
            for one in error.errors():
                self._explain(one, StudentItem, place)
            return
        model = self._model(student.model, student.options, (*place, "model"))
        name = student.name or student.model
        if name in found:
            self.tell(place, f"the student {name!r} stands here twice", "take one out, or give it a name of its own")
        elif model is not None:
            found[name] = StudentConfig(model, student.options)

    def _pairs(self, written: Any, students: dict[str, StudentConfig]) -> tuple[tuple[str, str], ...] | None:
        if written is None:
            return None
        if not isinstance(written, list) or not written:
            self.tell(("pairs",), "pairs is a list of [teacher, student]", "for example pairs: [[wrn_40_2, wrn_16_2]]")
            return None
        teachers = self.document.get(("teachers",), {})
        teachers = teachers if isinstance(teachers, dict) else {}
        made: list[tuple[str, str]] = []
        for i, pair in enumerate(written):
            at: Place = ("pairs", i)
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(word, str) for word in pair):
                self.tell(at, f"{pair!r} is no [teacher, student]", "for example [wrn_40_2, wrn_16_2]")
                continue
            teacher, student = pair
            if teacher not in teachers:
                fix = f"teachers: {', '.join(teachers) or 'none'}{did_you_mean(teacher, teachers)}"
                self.tell((*at, 0), f"there is no teacher {teacher!r}", fix)
            if student not in students and self.document.get(("students",)) is not None:
                fix = f"students: {', '.join(students)}{did_you_mean(student, students)}"
                self.tell((*at, 1), f"there is no student {student!r}", fix)
            if (teacher, student) in made:
                self.tell(at, f"the pair [{teacher}, {student}] stands here twice", "take one out")
            made.append((teacher, student))
        for i, name in enumerate(students if len(made) == len(written) else ()):
            if self.document.get(("students",)) is not None and name not in {student for _, student in made}:
                at = ("students", i) if isinstance(self.document.get(("students",)), list) else ("students",)
                self.tell(at, f"the student {name!r} stands in no pair", "add a pair for it, or take it out")
        return tuple(made)

    def _budgets(self, file: SpaceFile) -> tuple[Budget, ...]:
        written = self.document.get(("budgets",))
        lines: dict[str, Place] = {}
        for i, item in enumerate(written if isinstance(written, list) else ()):
            name = item.get("name") if isinstance(item, dict) else None
            if isinstance(name, str):
                if name in lines:
                    earlier = self.document.where(lines[name])
                    self.tell(
                        ("budgets", i, "name"), f"there are two budgets {name!r}", f"the other is {earlier}: rename one"
                    )
                lines.setdefault(name, ("budgets", i, "name"))
        return tuple(self._budget(section, ("budgets", i)) for i, section in enumerate(file.budgets)) or (
            Budget(name="any"),
        )

    def _budget(self, section: BudgetSection, place: Place) -> Budget:
        limits: dict[str, Any] = {}
        shares: dict[str, float] = {}
        for cost, key, given in _limits_of(section):
            at = (*place, *key)
            if not isinstance(self.document.get(at[:-1]), dict):  # latency: 5 ms
                at = at[:-1]
            if given.share:
                shares[cost] = given.value
                if not self.document.get(("teachers",)):
                    example = {"latency_ms": "5 ms", "file_size": "1 MB", "memory": "1 MB"}.get(cost, "45 M")
                    what = "a share of the teacher, and there is no teacher"
                    self.tell(at, what, f"write {'a number such as ' * (example == '45 M')}{example}")
                continue
            value = given.value
            if given.flops and key == ("params",):
                self.tell(at, "parameters are not counted in FLOPs", "write params: 0.3 M, or macs: …")
            elif given.flops or key == ("flops",):
                value /= 2
                self.note(at, f"{short(given.value)} FLOPs are {short(value)} MACs (one MAC is two FLOPs)")
            limits[cost] = value
        timing: dict[str, Any] = {}
        if section.latency is not None:
            deployment = section.latency.model_dump(exclude={"max", "statistic"})
            timing = {"statistic": section.latency.statistic, "deployment": Deployment(**deployment)}
        where = self.document.where((*place, "name"))
        return Budget(section.name, of_teacher=shares, where=where, **limits, **timing)

    # -- models and files ----------------------------------------------------------------------------------------------

    def _model(self, name: Any, options: Any, place: Place) -> str | None:
        """The model's name with its file made absolute; None where it was told to be at fault."""
        if not isinstance(name, str):
            return None  # told with the rest of the file
        try:
            found = zoo.resolve(name, options if isinstance(options, dict) else None)
        except AutokdError as error:
            self.tell(place, error.what, error.fix)
            return None
        if found.kind != "own" or not zoo.is_file(found.place):
            return name
        path = self._find(found.place)
        if path is None:
            near = did_you_mean(Path(found.place).name, _names_beside(self._absolute(found.place)))
            fix = f"looked for {self._absolute(found.place)}{near}"
            self.tell(place, f"there is no file {found.place}", fix)
            return None
        offers = _callables(path)
        if offers is not None and found.attribute not in offers:
            fix = f"it defines: {', '.join(offers) or 'nothing'}{did_you_mean(found.attribute, offers)}"
            self.tell(place, f"{found.place} defines no {found.attribute!r}", fix)
            return None
        return f"{path}:{found.attribute}"

    def _file(self, written: str, place: Place, title: str, teacher: str = "") -> str:
        path = self._find(written)
        if path is None:
            near = did_you_mean(Path(written).name, _names_beside(self._absolute(written)))
            ways = f"give another with --set {'.'.join(map(str, place))}=FILE"
            if teacher:
                ways += ", or train it: replace checkpoint by train: {epochs: 240}"
            self.tell(place, f"{title} {written} does not exist", f"{ways}{near}")
            return written
        if not path.is_file():
            self.tell(place, f"{title} {written} is a folder", "name the file in it")
        return str(path)

    def _find(self, written: str) -> Path | None:
        path = self._absolute(written)
        if path.exists():
            return path
        folder = self.document.folder
        if folder is not None and not Path(written).is_absolute():
            for place in filter(None, (folder, base_of(folder))):
                beside = (place / written).resolve()
                if beside.exists():
                    return beside
        return None

    @staticmethod
    def _absolute(written: str) -> Path:
        return expanded(written).resolve()


def _holds_out(split_file: Path) -> bool:
    """Whether a split file names images to validate on; what is wrong with the file is told where it is opened."""
    try:
        told = json.loads(split_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not isinstance(told, dict) or bool(told.get("validation", True))


def zoo_kind(model: str) -> str:
    try:
        return zoo.resolve(model).kind
    except AutokdError:
        return ""


_TYPES = {
    "string_type": ("a word", "put it in quotes if it looks like a number"),
    "int_type": ("a whole number", "for example 24"),
    "int_from_float": ("a whole number", "for example 24"),
    "float_type": ("a number", "for example 0.5 or 1e-3"),
    "bool_type": ("true or false", "YAML 1.2 knows no yes and no: write true or false"),
    "list_type": ("a list", "put it in brackets: [a, b]"),
    "tuple_type": ("a list", "put it in brackets: [0.5, 0.5, 0.5]"),
    "dict_type": ("a mapping", "write key: value below it"),
    "model_type": ("a mapping", "write key: value below it"),
    "model_attributes_type": ("a mapping", "write key: value below it"),
    "too_short": ("a list of at least one number", "give one number a channel"),
    "finite_number": ("a finite number", "leave it out where there is no limit"),
}
_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


def _model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The section that stands at a place of pydantic's."""
    here: Any = model
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        elif get_origin(here) in (dict, list, tuple):
            here = get_args(here)[-1]
        here = _section_of(here)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _limits_of(section: BudgetSection) -> list[tuple[str, Place, Amount]]:
    """Every limit that is written: the name of the cost, where it stands in the budget, and how much."""
    keys = {name: name for name in ("params", "macs", "file_size", "memory")} | {"flops": "macs"}
    found: list[tuple[str, Place, Any]] = [(cost, (key,), getattr(section, key)) for key, cost in keys.items()]
    if section.latency is not None:
        found.append(("latency_ms", ("latency", "max"), section.latency.max))
    return [one for one in found if one[2] is not None]


def _without_misspelt(errors: Sequence[Any], model: type[BaseModel]) -> list[Any]:
    """The errors but for keys that are missing because they stand there in another spelling, which is told already."""
    meant: set[tuple[Any, str]] = set()
    for item in errors:
        owner = _model_at(model, item["loc"][:-1]) if item["type"] == "extra_forbidden" else None
        if owner is not None:
            meant.add((item["loc"][:-1], did_you_mean(str(item["loc"][-1]), owner.model_fields)))
    return [
        item
        for item in errors
        if item["type"] != "missing" or (item["loc"][:-1], f" (did you mean {item['loc'][-1]!r}?)") not in meant
    ]


def _section_of(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        return next((part for part in get_args(annotation) if part is not type(None)), None)
    return annotation


def _words(annotation: Any) -> list[str]:
    return [str(word) for word in get_args(annotation)]


def _names_beside(path: Path) -> list[str]:
    folder = path.parent
    return [item.name for item in folder.iterdir()] if folder.is_dir() else []


def _callables(path: Path) -> list[str] | None:
    """Names a Python file defines at its top; None where it cannot be read, or imports under names we cannot follow."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(alias.name == "*" for alias in node.names):
                return None
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, (ast.If, ast.Try)):
            return None
    return names
