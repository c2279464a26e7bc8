"""The multi-perspective study as a list of arms: what is trained, what is compared with what, and what is claimed of it.

Everything is decided here, before any score is known. An arm that several findings need is trained once. All arms process
equally many images, but for those of the finding about little data, which are trained for equally many epochs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from autokd.config.search_space import SearchSpace, load_space
from autokd.config.tree import Tree, needs_teacher, parse_tree
from autokd.config.trial import LossConfig, MethodConfig, PolicyConfig, TeacherConfig, TeacherTraining, TrialConfig
from autokd.errors import AutokdError, did_you_mean
from autokd.rooms import catalogue
from autokd.search.grid import Grid, grid
from autokd.search.work import teacher_from
from autokd.seeds import derived

__all__ = [
    "FILE",
    "FINDINGS",
    "FORMS",
    "Claim",
    "Difference",
    "Finding",
    "Point",
    "Study",
    "kept_study",
    "plan_study",
    "published",
    "read_study",
]

FILE = "study.json"  # beside space.yaml in the run folder
FINDINGS = {
    "a": "augmentations, with a teacher that never saw them",
    "b": "a teacher trained with augmentation, and without",
    "c": "how many of the views are augmented, and how strongly",
    "d": "augmentation with little data",
    "e": "augmentation with each method, and CCD against KD",
}
CONTROL = "none"


@dataclass(frozen=True)
class Form:
    """How fine the grids are."""

    policies: tuple[str, ...]
    ratios: tuple[float, ...]
    probabilities: tuple[float, ...]
    fractions: tuple[float, ...]
    methods: tuple[str, ...]
    both_views: bool  # (b) also without augmentation of the student's views
    normalised: bool  # (e) also CCD whose weights have the mean 1


_COMMON = ("rotation", "randaugment", "trivialaugment")
FORMS = {
    "small": Form(_COMMON, (0.25, 0.9), (0.1, 0.6), (0.05, 0.25), ("kd", "ccd", "dkd", "spkd"), False, False),
    "full": Form(
        (*_COMMON, "cutmix", "mixup"),
        (0.1, 0.25, 0.5, 0.75, 0.9),
        (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
        (0.05, 0.1, 0.25, 0.5),
        ("kd", "ccd", "dkd", "dist", "spkd"),
        True,
        True,
    ),
}


@dataclass(frozen=True)
class Point:
    """An arm as one finding shows it: in `series`, at `x` where the finding is a curve."""

    label: str
    arm: str
    series: str = ""
    x: float | None = None


@dataclass(frozen=True)
class Difference:
    """Sum of weight x score over `terms` (arm, weight), within each seed; `sign` +1 where it is claimed to be above zero.

    `of` says whose score: that of the students, or that of the arms' teachers.
    """

    label: str
    terms: tuple[tuple[str, float], ...]
    sign: int = 1
    of: str = "student"  # student | teacher


@dataclass(frozen=True)
class Claim:
    """A sentence that holds where every named difference (by label) has the sign it is claimed to have."""

    text: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One perspective. `skipped` says why it was not run, where it was not."""

    letter: str
    title: str
    points: tuple[Point, ...] = ()
    differences: tuple[Difference, ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    axis: str = ""  # what x is; "" where the points are named and not ordered
    skipped: str = ""


@dataclass(frozen=True)
class Study:
    """Arms by name (as the first seed trains them), and what is asked of them.

    seeds: the numbers of the repetitions, which stand in the trials' names.
    copies: the teachers that stand for one from seed to seed, where it was trained more than once.
    screened: the arms whose policies the training-free screen is computed for.
    """

    name: str
    form: str
    data: str
    student: str
    teacher: str
    policy: str
    epochs: float
    seeds: tuple[int, ...]
    arms: dict[str, TrialConfig]
    findings: tuple[Finding, ...]
    teachers: dict[str, TeacherConfig]
    copies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    screened: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int | None = None  # of the space, from which every repetition has its own; None: a repetition's number is its seed
    images: int | None = None  # of the training part as published, where that is known
    held: int | None = None  # of them for validation, where the data set itself says which

    def trials(self) -> dict[str, TrialConfig]:
        """Every arm with every seed, seed after seed, so that a study that is cut off has whole seeds first."""
        return {trial_name(arm, seed): self.trial(arm, seed) for seed in self.seeds for arm in self.arms}

    def trial(self, arm: str, seed: int) -> TrialConfig:
        config = self.arms[arm].fresh(seed if self.seed is None else derived(self.seed, "study", seed))
        if config.teacher is None or config.teacher.name not in self.copies:
            return config
        copies = self.copies[config.teacher.name]
        return config.with_(teacher=self.teachers[copies[self.seeds.index(seed) % len(copies)]])

    @property
    def validation_images(self) -> int | None:
        data = next(iter(self.arms.values())).data
        if self.images is None or data.split_file:
            return None
        return self.held if self.held is not None else round(self.images * data.validation)

    def views(self, arm: str) -> int | None:
        """How many views one training of this arm processes, about; None where the size of the data is not known."""
        config, held = self.arms[arm], self.validation_images
        if self.images is None or held is None:
            return None
        return round(config.epochs * (self.images - held) * config.data.fraction)

    def teachers_of(self, arm: str) -> tuple[str, ...]:
        """The teachers that this arm learns from, the first seed's first."""
        teacher = self.arms[arm].teacher
        return () if teacher is None else self.copies.get(teacher.name, (teacher.name,))

    def findings_of(self, arm: str) -> str:
        return "".join(dict.fromkeys(one.letter for one in self.findings if any(p.arm == arm for p in one.points)))

    def grid(self, space: SearchSpace) -> Grid:
        """What the search runs. space: the one the study was planned from, or the one a run folder kept."""
        trials = self.trials()
        labels = {
            trial_name(arm, seed): {"study.arm": arm, "study.findings": self.findings_of(arm)}
            for seed in self.seeds
            for arm in self.arms
        }
        name = self.name if self.name.endswith("-study") else f"{self.name}-study"
        return grid(space, trials, teachers=self.teachers, labels=labels, files={FILE: self.to_json()}, name=name)

    def to_json(self) -> str:
        told = {one: getattr(self, one) for one in self.__dataclass_fields__}
        told["arms"] = {name: arm.to_dict() for name, arm in self.arms.items()}
        told["teachers"] = {name: asdict(teacher) for name, teacher in self.teachers.items()}
        told["findings"] = [asdict(finding) for finding in self.findings]
        return json.dumps({"version": 1, **told}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Study:
        told = json.loads(text)
        told.pop("version")
        told["arms"] = {name: TrialConfig.from_dict(values) for name, values in told["arms"].items()}
        told["teachers"] = {name: teacher_from(values) for name, values in told["teachers"].items()}
        told["findings"] = tuple(_finding(values) for values in told["findings"])
        told["copies"] = {name: tuple(copies) for name, copies in told["copies"].items()}
        return cls(**{**told, **{key: tuple(told[key]) for key in ("seeds", "screened", "notes")}})


def trial_name(arm: str, seed: int) -> str:
    return f"{arm} #{seed}"


def kept_study(folder: str | Path) -> tuple[Study, Grid]:
    """The study of a run folder, and its grid. Raises AutokdError where the folder holds none."""
    study = read_study(folder)
    return study, study.grid(load_space(Path(folder) / "space.yaml"))


def read_study(folder: str | Path) -> Study:
    """What a run folder keeps of its study. Raises AutokdError where it holds none."""
    path = Path(folder) / FILE
    try:
        return Study.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AutokdError("this run is no study", where=str(folder), fix="a study's folder has a study.json") from None
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise AutokdError(f"the study's description cannot be read: {fault!r}", where=str(path)) from fault


def plan_study(
    space: SearchSpace,
    *,
    teacher: str | None = None,
    student: str | None = None,
    policy: str | None = None,
    form: str = "small",
    findings: Sequence[str] = tuple(FINDINGS),
    policies: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int = 3,
    train_teachers: int | None = None,
    teacher_seeds: int = 1,
    square: bool = True,
    images: int | None = None,
    held: int | None = None,
) -> Study:
    """Decide the arms. Everything not named is the space's published values; its data, recipe and length are kept.

    teacher, student: by their names in the space; the first of its pairs, and of those one whose teacher is not known to have
    seen augmented views. policy: the one that (b) to (e) are about; the space's JDA, or the data set's. train_teachers: train
    both teachers of (b) for so many epochs. teacher_seeds: how often each teacher that is trained here is trained. square:
    whether the images can be turned by right angles. images: of the training part, for the words of the report; held: of them
    for validation, where the data set says which. Raises AutokdError for what the space does not have.
    """
    shape = FORMS.get(form)
    if shape is None:
        raise AutokdError(f"no form {form!r}", fix=f"one of: {', '.join(FORMS)}")
    for letter in findings:
        if letter not in FINDINGS:
            raise AutokdError(f"no finding {letter!r}", fix=f"one of: {', '.join(FINDINGS)}")
    if space.search.select == "last":
        what = "a study compares validation scores, and nothing is held out (search.select: last)"
        raise AutokdError(what, fix="--set data.validation=0.1 --set search.select=validation")
    if not 1 <= seeds <= 1000 or not 1 <= teacher_seeds <= 1000:
        raise AutokdError("a study has at least one seed, and 1000 at most", fix="--seeds 3")
    _known(methods, list(filter(needs_teacher, catalogue("methods"))), "method with a teacher")
    choices = [*catalogue("augment.policies"), *space.tree.policy.names]
    _known([*policies, *([policy] if policy else [])], choices, "policy")
    chosen = _pair(space, teacher, student)
    planner = _Planner(space, shape, chosen, policy or _policy_of(space), train_teachers, teacher_seeds, square)
    found: list[Finding] = []
    if "a" in findings:
        found.append(planner.policies(policies or shape.policies))
    if "b" in findings:
        found.append(planner.teachers_compared())
    if "c" in findings:
        found += [planner.ratios(), planner.probabilities()]
    if "d" in findings:
        found.append(planner.fractions())
    if "e" in findings:
        found.append(planner.methods(methods or [name for name in shape.methods if name in catalogue("methods")]))
    if not planner.arms:
        why = "; ".join(f"({one.letter}) {one.skipped}" for one in found)
        raise AutokdError(f"nothing of this study can be run: {why}", fix="ask for other findings")
    names, students = chosen
    used = {arm.teacher.name for arm in planner.arms.values() if arm.teacher is not None}
    copies = {name: copies for name, copies in planner.copies.items() if name in used}
    kept = used | {copy for some in copies.values() for copy in some}
    return Study(
        name=space.name,
        form=form,
        data=space.data.name,
        student=students,
        teacher=names,
        policy=planner.policy.name,
        epochs=space.search.epochs,
        seeds=tuple(range(seeds)),
        seed=space.search.seed,
        arms=planner.arms,
        findings=tuple(found),
        teachers={name: one for name, one in planner.known.items() if name in kept},
        copies=copies,
        screened=planner.screened(found),
        notes=tuple(planner.notes()),
        images=images,
        held=held,
    )


class _Planner:
    """Holds the base configuration, and the arms as findings ask for them."""

    def __init__(
        self,
        space: SearchSpace,
        form: Form,
        pair: tuple[str, str],
        policy: str,
        train_teachers: int | None,
        teacher_seeds: int,
        square: bool,
    ) -> None:
        self.space, self.form, self.square = space, form, square
        self.arms: dict[str, TrialConfig] = {}
        self._names: dict[str, str] = {}
        self.known = dict(space.teachers)
        self.copies: dict[str, tuple[str, ...]] = {}
        self.train_teachers = train_teachers
        teacher = space.teachers[pair[0]]
        if teacher.training is not None and train_teachers is not None:
            teacher = replace(teacher, training=replace(teacher.training, epochs=train_teachers))
        self.teacher_seeds = teacher_seeds
        self.teacher = self._teacher(teacher)
        self.policy, ratio = self._policy(policy)
        self.ratio = ratio or 0.5
        method, loss = self._method("kd")
        self.base = TrialConfig(
            data=space.data,
            student=space.students[pair[1]],
            teacher=self.teacher,
            policy=self.policy,
            ratio=self.ratio,
            method=method,
            loss=loss,
            recipe=space.tree.recipe_of(_priors()),
            epochs=space.search.epochs,
        )
        self.plain = self.base.with_(policy=PolicyConfig(CONTROL), ratio=0.0)

    # --- the findings

    def policies(self, names: Iterable[str]) -> Finding:
        points, differences = [Point(CONTROL, self.arm(self.plain))], []
        notes = [self._seen_before()]
        turned = ""
        names = [self.policy.name, *(name for name in names if name not in (CONTROL, self.policy.name))]
        for name in names:
            config = self.base if name == self.policy.name else self.base.with_(policy=self._policy(name)[0])
            if not self.square and name == "rotation":
                notes.append("Rotation was left out: the images are not square.")
                continue
            arm = self.arm(config)
            points.append(Point(name, arm))
            differences.append(_against(f"{name} against {CONTROL}", arm, points[0].arm))
            turned = arm if name == "rotation" else turned
        jda = self.policy.name
        claims = [
            Claim(f"{jda} helps the student of a teacher that did not learn from it", (f"{jda} against {CONTROL}",))
        ]
        if turned:
            differences.append(_against(f"{jda} against rotation", points[1].arm, turned))
            claims.append(Claim(f"{jda} helps more than rotation", (f"{jda} against rotation",)))
        notes.append(
            f"Every arm trains on equally many views; where there is a policy, {self.ratio:.0%} of them are its own."
        )
        return Finding(
            "a",
            "Augmentation, with a teacher that never saw it",
            tuple(points),
            tuple(differences),
            tuple(claims),
            _told(notes),
        )

    def teachers_compared(self) -> Finding:
        title = "A teacher trained with augmentation, and one without"
        training = self.teacher.training
        if training is None and self.train_teachers is None:
            return Finding(
                "b",
                title,
                skipped=f"the teacher {self.teacher.name} is loaded, so there is no twin of it that learned otherwise; "
                "--train-teachers EPOCHS trains both",
            )
        if "teacher" in self.policy.name or catalogue("augment.policies").get(self.policy.name) is None:
            return Finding("b", title, skipped=f"no teacher can be trained with the policy {self.policy.name}")
        if catalogue("augment.policies")[self.policy.name].facts.get("FOLLOWS_TEACHER"):
            return Finding(
                "b", title, skipped=f"{self.policy.name} follows a teacher's attention, and a teacher has none"
            )
        how = training or TeacherTraining(epochs=self.train_teachers or 0)
        bare = replace(how, policy=CONTROL, policy_settings={}, ratio=0.0)
        if training == bare:
            plain = self.teacher
        else:
            plain = self._teacher(_trained(self.teacher, bare, self._free(f"{self.teacher.name}-plain")))
        rich = replace(how, policy=self.policy.name, policy_settings=dict(self.policy.settings), ratio=self.ratio)
        augmented = self._teacher(_trained(self.teacher, rich, self._free(f"{self.teacher.name}-{self.policy.name}")))
        points: list[Point] = []
        differences: list[Difference] = []
        for label, base in ((self.policy.name, self.base), *(((CONTROL, self.plain),) if self.form.both_views else ())):
            pair = [self.arm(base.with_(teacher=one)) for one in (plain, augmented)]
            series = f"student on {label} views"
            points += [Point(f"taught by {one.name}", arm, series) for one, arm in zip((plain, augmented), pair)]
            told = f"students on {label} views: taught by {augmented.name} against by {plain.name}"
            differences.append(_against(told, pair[1], pair[0], sign=-1))
            if label == self.policy.name:
                told = f"teachers: {augmented.name} against {plain.name}"
                differences.insert(0, replace(_against(told, pair[1], pair[0]), of="teacher"))
        notes = [
            f"Both teachers are {self.teacher.model} trained here for {how.epochs} epochs; {augmented.name} on "
            f"{self.ratio:.0%} views of {self.policy.name}.",
        ]
        if self.teacher_seeds == 1:
            notes.append(
                "Each teacher was trained once: what is said of it says nothing of other trainings of it, and the "
                "students' intervals are over students alone (--teacher-seeds trains more)."
            )
        claims = (
            Claim("The teacher trained with augmentation is the more accurate one", (differences[0].label,)),
            Claim("Its student is less accurate all the same", (differences[1].label,)),
        )
        return Finding("b", title, tuple(points), tuple(differences), claims, _told(notes))

    def ratios(self) -> Finding:
        values = sorted({*self.form.ratios, self.ratio})
        control = Point("0", self.arm(self.plain), x=0.0)
        points = [control, *(Point(f"{x:g}", self.arm(self.base.with_(ratio=x)), x=x) for x in values)]
        differences = [_against(f"ratio {p.label} against 0", p.arm, control.arm) for p in points[1:]]
        claims: tuple[Claim, ...] = ()
        middle = next(p for p in points if p.x == self.ratio)
        if points[-1] is not middle:
            differences.append(_against(f"ratio {middle.label} against {points[-1].label}", middle.arm, points[-1].arm))
            claims = (
                Claim(
                    f"A middle share of augmented views ({self.ratio:g}) beats both none and nearly all",
                    (f"ratio {middle.label} against 0", differences[-1].label),
                ),
            )
        note = f"The middle share is the space's own, chosen before the scores were known; the policy is {self.policy.name}."
        title, axis = "Accuracy against the share of augmented views", "share of augmented views"
        return Finding("c", title, tuple(points), tuple(differences), claims, (note,), axis)

    def probabilities(self) -> Finding:
        title = "Accuracy against the probability of each op"
        now = self.policy.settings.get("probability")
        if now is None:
            return Finding("c", title, skipped=f"the ops of {self.policy.name} have no probability to be changed")
        values = sorted({*self.form.probabilities, float(now)})
        control = Point(CONTROL, self.arm(self.plain), f"{CONTROL} (no augmented view)")
        points = [control]
        for x in values:
            policy = replace(self.policy, settings={**self.policy.settings, "probability": x})
            points.append(Point(f"{x:g}", self.arm(self.base.with_(policy=policy)), self.policy.name, x))
        differences = [_against(f"p {p.label} against {CONTROL}", p.arm, control.arm) for p in points[1:]]
        claims: tuple[Claim, ...] = ()
        middle = next(p for p in points if p.x == now)
        if points[-1] is not middle:
            differences.append(_against(f"p {middle.label} against p {points[-1].label}", middle.arm, points[-1].arm))
            text = (
                f"A middle probability ({now:g}) beats both no augmentation and a high probability ({points[-1].label})"
            )
            claims = (Claim(text, (f"p {middle.label} against {CONTROL}", differences[-1].label)),)
        note = f"At a share of {self.ratio:g} augmented views. At p = 0 the augmented view is a second crop of the same image."
        return Finding("c", title, tuple(points), tuple(differences), claims, (note,), "probability of each op")

    def fractions(self) -> Finding:
        points: list[Point] = []
        differences: list[Difference] = []
        ends: dict[float, tuple[str, str]] = {}
        shares = sorted({*self.form.fractions, 1.0})
        for share in shares:
            data = replace(self.space.data, fraction=self.space.data.fraction * share)
            with_, without = (self.arm(one.with_(data=data)) for one in (self.base, self.plain))
            points += [
                Point(f"{share:.0%}", without, CONTROL, share),
                Point(f"{share:.0%}", with_, self.policy.name, share),
            ]
            differences.append(_against(f"{share:.0%}: {self.policy.name} against {CONTROL}", with_, without))
            ends[share] = (with_, without)
        (few, few_plain), (all_, all_plain) = ends[shares[0]], ends[1.0]
        more = f"gain at {shares[0]:.0%} against gain at 100%"
        differences.append(Difference(more, ((few, 1.0), (few_plain, -1.0), (all_, -1.0), (all_plain, 1.0))))
        claims = (
            Claim(f"{self.policy.name} helps with {shares[0]:.0%} of the data", (differences[0].label,)),
            Claim("It helps with few images, and more than with all of them", (differences[0].label, more)),
        )
        notes = (
            "The teacher learned from all of the training split. Epochs are equal, so that a smaller share also means fewer "
            "steps and fewer images processed: compare within a share.",
            "The images of a share are the same for every seed, and those of a smaller share are among those of a larger.",
        )
        title, axis = "Augmentation with little data", "share of the training images"
        return Finding("d", title, tuple(points), tuple(differences), claims, notes, axis)

    def methods(self, names: Sequence[str]) -> Finding:
        points: list[Point] = []
        differences: list[Difference] = []
        arms: dict[str, str] = {}
        jda = self.policy.name
        for name in names:
            method, loss = self._method(name)
            without, with_ = (self.arm(one.with_(method=method, loss=loss)) for one in (self.plain, self.base))
            points += [Point(name, without, CONTROL), Point(name, with_, jda)]
            differences.append(_against(f"{name}: {jda} against {CONTROL}", with_, without))
            arms[name] = with_
        claims = [Claim(f"{jda} helps with every method", tuple(d.label for d in differences))]
        notes = [
            "Each method has the loss weights of the space, or its published ones; without augmented views CCD is KD."
        ]
        if "ccd" in names:
            method, loss = self._method("ccd")
            twin = MethodConfig("kd", {"temperature": method.settings.get("temperature", 4.0)})
            same = self.arm(self.base.with_(method=twin, loss=loss))
            points.append(Point("kd at ccd's settings", same, jda))
            label = "ccd against kd at ccd's settings"
            differences.append(_against(label, arms["ccd"], same))
            claims.append(Claim("CCD beats KD at equal views, temperature and loss weights", (label,)))
            if self.form.normalised and not method.settings.get("normalise_weight"):
                mean = replace(method, settings={**method.settings, "normalise_weight": True})
                arm = self.arm(self.base.with_(method=mean, loss=loss))
                points.append(Point("ccd, weights of mean 1", arm, jda))
                differences.append(_against("ccd, weights of mean 1, against kd at ccd's settings", arm, same))
                notes.append(
                    "With weights of mean 1 CCD says which augmented views count, and not how much all of them do."
                )
        title = "Augmentation with each method, and CCD against KD"
        return Finding("e", title, tuple(points), tuple(differences), tuple(claims), tuple(notes))

    def screened(self, found: Sequence[Finding]) -> tuple[str, ...]:
        """Arms that differ from the base in their policy alone, one a policy, in the order of the findings."""
        seen: dict[str, str] = {}
        for finding in found:
            for point in finding.points:
                arm = self.arms[point.arm]
                if arm.with_(policy=self.policy, ratio=self.ratio) == self.base and arm.ratio in (0.0, self.ratio):
                    seen.setdefault(repr(arm.policy), point.arm)
        return tuple(seen.values())

    def notes(self) -> list[str]:
        told = []
        if self.teacher.saw_validation:
            told.append(
                f"The teacher {self.teacher.name} saw the validation images in its training: its own accuracy on them is "
                "too good, and so may be its students'."
            )
        if self.teacher_seeds > 1 and self.teacher.name not in self.copies:
            told.append(f"The teacher {self.teacher.name} is loaded, and so is the same for every seed.")
        return told

    # --- configurations

    def arm(self, config: TrialConfig) -> str:
        """The name of this configuration among the arms."""
        if config.key not in self._names:
            name = self._name(config)
            self._names[config.key] = name if name not in self.arms else f"{name} ({len(self.arms)})"
            self.arms[self._names[config.key]] = config
        return self._names[config.key]

    def _name(self, config: TrialConfig) -> str:
        words = [config.method.name, config.policy.name]
        if config.method.name in ("kd", "ccd") and (config.method, config.loss) != self._method(config.method.name):
            words[0] += " at ccd's settings" if config.method.name == "kd" else ", mean 1"
        if config.policy.name != CONTROL and config.ratio != self.ratio:
            words.append(f"ratio {config.ratio:g}")
        if config.policy.name == self.policy.name and config.policy != self.policy:
            words.append(f"p {config.policy.settings['probability']:g}")
        if config.data.fraction != self.space.data.fraction:
            words.append(f"{config.data.fraction / self.space.data.fraction:.0%} of the data")
        if config.teacher is not None and config.teacher.name != self.teacher.name:
            words.append(f"taught by {config.teacher.name}")
        return " · ".join(words)

    def _policy(self, name: str) -> tuple[PolicyConfig, float]:
        tree = self.space.tree if name in self.space.tree.policy.names else published({"policy": {name: {}}})
        policy, ratio = tree.policy_of(_priors(policy=name))
        if tree is not self.space.tree:
            ratio = self.space.tree.ratio.prior or 0.5
        return policy, ratio

    def _method(self, name: str) -> tuple[MethodConfig, LossConfig]:
        tree = self.space.tree
        if name in tree.method.names:
            return tree.method_of(_priors(method=name))
        method, weights = published({"method": {name: {}}}).method_of(_priors(method=name))
        loss = tree.method_of(_priors())[1]
        if not needs_teacher(tree.method.prior):
            return method, weights
        return method, replace(loss, ce_weight=weights.ce_weight, kd_weight=weights.kd_weight)

    def _teacher(self, teacher: TeacherConfig) -> TeacherConfig:
        """Enter a teacher, with its copies of other seeds where it is trained here."""
        self.known[teacher.name] = teacher
        training = teacher.training
        if training is not None and self.teacher_seeds > 1:
            copies = [teacher.name]
            for number in range(1, self.teacher_seeds):
                seed = derived(training.seed, "teacher", number)
                views = seed if self.space.data.views_seed is None and training.views_seed is None else training.views_seed
                again = replace(training, seed=seed, views_seed=views)
                copy = replace(teacher, name=self._free(f"{teacher.name}-{number}"), training=again)
                self.known[copy.name] = copy
                copies.append(copy.name)
            self.copies[teacher.name] = tuple(copies)
        return teacher

    def _free(self, name: str) -> str:
        while name in self.known:
            name += "x"
        return name

    def _seen_before(self) -> str:
        training = self.teacher.training
        if training is None:
            return f"The teacher {self.teacher.name} is loaded: whether it ever saw such views is not known here."
        if training.policy == CONTROL:
            return f"The teacher {self.teacher.name} was trained here without augmentation beyond crop and flip."
        return (
            f"The teacher {self.teacher.name} was trained with {training.policy}, so this is not the finding as stated."
        )


def _priors(**named: str) -> Callable[[str, Any], Any]:
    return lambda path, node: named.get(path, node.prior)


def published(part: dict[str, Any]) -> Tree:
    """A method or a policy that the space does not have, with its published settings."""

    def tell(place: Any, what: str, fix: str) -> None:
        raise AutokdError(what, fix=fix)

    tree = parse_tree(part, (), tell)
    if tree is None:
        raise AutokdError(f"{part} cannot be read")
    return tree


def _against(label: str, arm: str, control: str, sign: int = 1) -> Difference:
    return Difference(label, ((arm, 1.0), (control, -1.0)), sign)


def _trained(teacher: TeacherConfig, training: TeacherTraining, name: str) -> TeacherConfig:
    return TeacherConfig(name, teacher.model, teacher.options, training=training)


def _told(notes: Iterable[str]) -> tuple[str, ...]:
    return tuple(note for note in notes if note)


def _known(names: Iterable[str], known: Sequence[str], word: str) -> None:
    known = list(dict.fromkeys(known))
    for name in names:
        if name not in known:
            raise AutokdError(f"no {word} {name!r}{did_you_mean(name, known)}", fix=f"one of: {', '.join(known)}")


def _pair(space: SearchSpace, teacher: str | None, student: str | None) -> tuple[str, str]:
    pairs = [(t, s) for t, s in space.pairs() if t is not None]
    if not pairs and space.teachers:  # the space's only method has no teacher
        pairs = [(t, s) for s in space.students for t in space.teachers]
    if not pairs:
        raise AutokdError("this space has no teacher to learn from", where=space.source, fix="name one in `teachers`")
    _known([teacher] if teacher else [], [t for t, _ in pairs], "teacher")
    _known([student] if student else [], [s for _, s in pairs], "student")
    fitting = [(t, s) for t, s in pairs if teacher in (None, t) and student in (None, s)]
    if not fitting:
        raise AutokdError(f"{teacher} and {student} are no pair of this space", fix="see its `pairs`")

    def augmented(name: str) -> bool:
        training = space.teachers[name].training
        return training is not None and training.policy != CONTROL

    return min(fitting, key=lambda pair: augmented(pair[0]))


def _policy_of(space: SearchSpace) -> str:
    names = [name for name in space.tree.policy.names if name != CONTROL]
    jda = [name for name in names if name.startswith("jda")]
    prior = [space.tree.policy.prior] if space.tree.policy.prior != CONTROL else []
    return (jda or prior or names or ["jda_cifar10" if space.data.name == "cifar10" else "jda_cifar100"])[0]


def _finding(values: dict[str, Any]) -> Finding:
    values = dict(values)
    values["points"] = tuple(Point(**one) for one in values["points"])
    values["differences"] = tuple(
        Difference(**{**one, "terms": tuple((arm, weight) for arm, weight in one["terms"])})
        for one in values["differences"]
    )
    values["claims"] = tuple(Claim(one["text"], tuple(one["parts"])) for one in values["claims"])
    values["notes"] = tuple(values["notes"])
    return Finding(**values)
