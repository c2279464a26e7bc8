"""How long a search will take on this machine: some training steps are timed, and the search is simulated with what they took.

Steps are timed one after another in this process, within a limit of time, with teachers of random weights; what was not reached
is put together from what was. The simulation draws trials from the space, and pauses and resumes them as the search does. What
depends on scores that nobody knows yet is drawn at random, several times over.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError, TrialFailed
from autokd.machine import cpus
from autokd.search.plan import Plan, plan_of
from autokd.search.share import rate, share_of
from autokd.search.simulate import SCHEDULERS, replay
from autokd.track.curves import Curve

if TYPE_CHECKING:
    from autokd.config.trial import StudentConfig, TeacherConfig, TrialConfig
    from autokd.search.feasible import Feasible
    from autokd.train.workshop import Workshop

__all__ = ["SECONDS", "Estimate", "Unknown", "estimate", "predict"]

SECONDS = 8.0  # of timing; the step that is under way is finished
SEARCHES = 20  # simulated
_EACH = 0.25  # seconds of steps for each combination of student and method
_LARGE = 4e9  # bytes of training images that are not read for a few steps
_START = 20.0  # seconds for Ray, the processes of the trials and the report
_MARK = 0.1  # seconds of a checkpoint
_SCORED = 1 / 3  # an image that is scored takes this share of one that is trained on: the forward pass
_MOST = 2000  # trials of a simulated search; more are as many times as long
_FASTER, _SLOWER = 0.75, 1.6  # the range: memory orders that a search finds to be faster; trials that slow each other down

Kind = tuple[str, str]  # student, method


class Unknown(Exception):
    """No estimate is made; the words say why."""


@dataclass(frozen=True)
class Estimate:
    """All in seconds. low, high: its range. teachers: of it, for the training of teachers. places: trials at once.

    busy: as in `Timings`. timed: what the timing took;
    steps, students, kinds: that were timed, of `all_kinds` combinations of student and method.
    begun, ended: trials of a search, in the mean.
    """

    seconds: float
    low: float
    high: float
    teachers: float
    places: int
    busy: float
    timed: float
    steps: int
    students: int
    kinds: int
    all_kinds: int
    begun: float
    ended: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Timings:
    """Seconds of a training step by kind, and of a teacher's answer to an image; by teacher, of an image it is trained on."""

    kinds: dict[Kind, float]
    answers: dict[str, float]
    training: dict[str, float]
    steps: int = 0
    seconds: float = 0.0
    busy: float = 1.0  # seconds for a second of computing: above 1 where other processes want the same processors

    def step(self, kind: Kind, macs: Mapping[str, float]) -> float:
        """Of any kind: one that was not timed takes what its student and its method take beside others."""
        if kind in self.kinds:
            return self.kinds[kind]
        student, method = kind
        near = min({name for name, _ in self.kinds}, key=lambda name: abs(math.log(macs[name] / macs[student])))
        of_student = {m: s for (name, m), s in self.kinds.items() if name == near}
        ratios = [
            seconds / self.kinds[name, other]
            for (name, m), seconds in self.kinds.items()
            if m == method
            for other in of_student
            if (name, other) in self.kinds
        ]
        base = of_student.get(method) or statistics.fmean(of_student.values()) * (statistics.fmean(ratios) if ratios else 1.0)
        return base * macs[student] / macs[near]


def estimate(
    space: Any,
    found: Feasible,
    card: Any,
    images: int,
    *,
    seconds: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Estimate:
    """Time training steps of the space's students and predict its search.

    images: that students train on. seconds: of timing, `SECONDS` where left out. Raises Unknown where none can be made.
    """
    limit = SECONDS if seconds is None else seconds
    if space.resources.address:
        raise Unknown("the machines of a cluster may differ from this one")
    if card.train_images and card.train_images * card.channels * card.height * card.width > _LARGE:
        raise Unknown("the images are too many to be read for a few training steps")
    drawn = draws(space, found, _MOST if space.search.trials is None else min(_MOST, space.search.trials), seed=0)
    tell(f"timing training steps (at most about {limit:.0f} s; --no-time leaves it out)")
    try:
        timings, workers, places = _timed(space, found, drawn, limit)
    except (AutokdError, TrialFailed, RuntimeError, MemoryError) as fault:
        raise Unknown(f"no training step could be timed: {str(fault).splitlines()[0][:200]}") from fault
    return predict(space, found, timings, images, places=places, workers=workers)


# --- timing


def _timed(space: Any, found: Feasible, drawn: Sequence[Drawn], limit: float) -> tuple[Timings, int, int]:
    """What training steps take here, the workers of a trial, and the trials at once."""
    import torch

    from autokd.train.workshop import Workshop

    gpus = torch.cuda.device_count()
    threads, of_gpu, workers = share_of(space.resources, gpus)
    before = torch.get_num_threads()
    bench = Workshop("cuda" if of_gpu else "cpu", max(1, int(threads)), signals="live")
    cores = max(1, int(cpus() // (threads * workers)))
    places = max(1, min(cores, int(gpus / of_gpu))) if of_gpu else cores
    if of_gpu and space.resources.gpus is None:
        places = max(1, gpus // workers)  # those that share one are hardly faster together than one that has it alone
    places = min(places, space.search.concurrent or places)
    try:
        with TemporaryDirectory() as folder:
            return _steps(bench, space, drawn, limit, Path(folder)), workers, places
    finally:
        torch.set_num_threads(before)


def _steps(bench: Workshop, space: Any, drawn: Sequence[Drawn], limit: float, folder: Path) -> Timings:
    from autokd.train.teachers import teacher_trial

    start, computed, timings = time.perf_counter(), time.process_time(), Timings({}, {}, {})
    stand_ins: dict[str, TeacherConfig] = {}

    def trained(config: TrialConfig) -> float:
        unheld = replace(config, data=replace(config.data, validation=0.0, split_file=None))
        each, steps = rate(bench.trial(unheld), _EACH)
        timings.steps += steps
        return each

    for name in dict.fromkeys(one.teacher for one in drawn if one.teacher is not None):
        teacher = space.teachers[name]
        stand_ins[name] = _stand_in(bench, space.data, teacher, folder)
        timings.answers[name] = _answer(bench, space.data, stand_ins[name])
        if teacher.training is not None:
            config = teacher_trial(space.data, teacher)
            timings.training[name] = trained(config) / config.recipe.batch
    for one in _in_order(drawn):
        if timings.kinds and time.perf_counter() - start > limit:
            break
        teaches = stand_ins[one.teacher] if one.teacher is not None else None
        timings.kinds[one.kind] = trained(replace(one.config, teacher=teaches))
    timings.seconds = time.perf_counter() - start
    if bench.device.type == "cpu" and (computed := time.process_time() - computed) > 0:
        timings.busy = max(1.0, timings.seconds / computed)
    return timings


def _in_order(drawn: Sequence[Drawn]) -> Iterator[Drawn]:
    """One trial of each kind: first each student and each method once, then what is drawn most often."""
    count = Counter(one.kind for one in drawn)
    by_kind = {one.kind: one for one in drawn if not _has_stage(one.config)}
    if not by_kind:
        raise Unknown("every method of this space trains its teacher first")
    left = sorted(by_kind, key=lambda kind: -count[kind])
    for place in (0, 1):
        for word in dict.fromkeys(kind[place] for kind in left):
            kind = next((kind for kind in left if kind[place] == word), None)
            if kind is not None:
                left.remove(kind)
                yield by_kind[kind]
    yield from (by_kind[kind] for kind in left)


def _has_stage(config: TrialConfig) -> bool:
    """Whether the method trains its teacher before the first step."""
    from autokd.methods.build import build_method

    return hasattr(build_method(config.method.name, config.method.settings).module, "teacher_loss")


def _stand_in(bench: Workshop, data: Any, teacher: TeacherConfig, folder: Path) -> TeacherConfig:
    """The same network with random weights: it takes as long, and neither a training nor a download."""
    from autokd.models.checkpoint import save_weights

    bare = replace(teacher, weights=None, training=None, checkpoint=None)
    path = folder / f"{len(list(folder.iterdir()))}.safetensors"
    save_weights(bench.model(data, bare, seed=0), path)
    return replace(bare, checkpoint=str(path))


def _answer(bench: Workshop, data: Any, teacher: TeacherConfig, batch: int = 64) -> float:
    """Seconds that a teacher takes for an image."""
    unheld = replace(data, validation=0.0, split_file=None)
    network, pixels = bench.teacher(unheld, teacher), bench.data(unheld).pixels[:batch]
    took = []
    for _ in range(3):
        start = time.perf_counter()
        network.logits(pixels).sum().item()
        took.append(time.perf_counter() - start)
    return min(took) / len(pixels)


# --- prediction


def predict(
    space: Any, found: Feasible, timings: Timings, images: int, *, places: int, workers: int = 1, searches: int = SEARCHES
) -> Estimate:
    """The search of a space, from what its steps take. images: that students train on. workers: of a trial."""
    plan = plan_of(space)
    macs = {name: max(1.0, float(cost.macs)) for name, cost in found.costs.items()}
    share = space.data.validation
    scored = images * share / (1 - share) if plan.ranked else 0.0
    every = images / space.data.fraction
    teachers = sorted(space.teachers[name].training.epochs * every * each for name, each in timings.training.items())
    teaching = max([sum(teachers) / places, *teachers[-1:]]) if teachers else 0.0
    made = [
        _search(space, found, plan, timings, macs, images, scored, places=places, workers=workers, spent=teaching, seed=seed)
        for seed in range(searches)
    ]
    start = _START * timings.busy
    totals = sorted(start + teaching + one.seconds for one in made)
    cut = 3600 * plan.hours + start if plan.hours is not None else math.inf
    low, middle, high = (min(cut, totals[int(q * (len(totals) - 1))]) for q in (0.1, 0.5, 0.9))
    kinds = {one.kind for one in draws(space, found, 200, seed=0)} | set(timings.kinds)
    return Estimate(
        seconds=middle, low=min(cut, _FASTER * low), high=min(cut, _SLOWER * high), teachers=teaching, places=places,
        busy=timings.busy, timed=timings.seconds, steps=timings.steps, students=len({name for name, _ in timings.kinds}),
        kinds=len(timings.kinds), all_kinds=len(kinds),
        begun=statistics.fmean(one.begun for one in made), ended=statistics.fmean(one.ended for one in made),
    )  # fmt: skip


@dataclass(frozen=True)
class _Search:
    seconds: float
    begun: float
    ended: float


def _search(
    space: Any,
    found: Feasible,
    plan: Plan,
    timings: Timings,
    macs: Mapping[str, float],
    images: float,
    scored: float,
    *,
    places: int,
    workers: int,
    spent: float,
    seed: int,
) -> _Search:
    """One simulated search. spent: seconds that its teachers took."""
    count = _MOST if plan.trials is None else min(plan.trials, _MOST)
    drawn = draws(space, found, count, seed=seed)
    marks = plan.marks(plan.epochs)
    rungs = [mark.epochs / plan.epochs for mark in marks if mark.rung is not None and not mark.final]
    luck = random.Random(seed)
    line, asked = [], {}
    for number, one in enumerate(drawn):
        batch, name = one.config.recipe.batch, f"{number}"
        step, answers = timings.step(one.kind, macs), 0.0
        if one.teacher is not None and _kept(space, one.config):
            answers = min(0.7 * step, batch * timings.answers[one.teacher])
        each = (step - answers) / batch / workers
        length = plan.epochs * images * each + len(marks) * (_MARK + scored * _SCORED * each)
        final = luck.gauss(0, 1)
        points = tuple((share * length, final + luck.gauss(0, 1 - share)) for share in rungs)
        line.append(Curve(name, found.admitting((one.teacher, one.student)), macs[one.student], (*points, (length, final))))
        if answers:
            asked[name] = (f"{one.teacher} {one.config.policy}", plan.epochs * images * answers / batch)
    mean = statistics.fmean(curve.length for curve in line)
    limits = [math.inf if plan.hours is None else max(0.0, 3600 * plan.hours - spent) * places]
    limits += [math.inf if plan.images is None else plan.images / (plan.epochs * images) * mean]
    limits += [math.inf if plan.gpu_hours is None or not plan.gpus else 3600 * plan.gpu_hours / plan.gpus]
    rule = (SCHEDULERS["strata"] if plan.rungs and plan.ranked else SCHEDULERS["none"])(plan.eta, rungs, list(found.pairs))  # type: ignore[misc]
    told = replay(line, rule, rungs, min(limits), places)
    kept: dict[str, float] = {}  # each view is answered once, for all trials of that teacher and policy
    for name, share in told.reached.items():
        if name in asked:
            key, whole = asked[name]
            kept[key] = max(kept.get(key, 0.0), share * whole)
    times = 1.0 if plan.trials is None else plan.trials / count
    seconds = times * (told.time + sum(kept.values()) / places)
    return _Search(seconds, times * len(told.begun), times * len(told.ended))


def _kept(space: Any, config: TrialConfig) -> bool:
    """Whether the teacher's answers are kept for other trials, as far as that is known before both ways are timed."""
    from autokd.rooms import catalogue

    reads = catalogue("methods")[config.method.name].reads
    return space.signals.mode != "live" and "teacher_features" not in reads


# --- drawing


@dataclass(frozen=True)
class Drawn:
    """A trial, and what its student is called in the space."""

    config: TrialConfig
    student: str

    @property
    def teacher(self) -> str | None:
        return self.config.teacher.name if self.config.teacher is not None else None

    @property
    def kind(self) -> Kind:
        return self.student, self.config.method.name


def draws(space: Any, found: Feasible, count: int, *, seed: int) -> list[Drawn]:
    """Trials as a random search proposes them: round the budgets."""
    chance, groups = _Chance(seed), list(found.pairs.values())
    names = {_known(student): name for name, student in reversed(space.students.items())}
    made = [space.sample(chance, groups[number % len(groups)], number) for number in range(count)]
    return [Drawn(one, names[_known(one.student)]) for one in made]


def _known(student: StudentConfig) -> str:
    return repr((student.name, sorted(student.options.items())))


class _Chance:
    """Draws at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        return self._random.choice(list(options))

    def uniform(self, path: str, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def log(self, path: str, low: float, high: float) -> float:
        return math.exp(self._random.uniform(math.log(low), math.log(high)))

    def integer(self, path: str, low: int, high: int, log: bool = False) -> int:
        return round(self.log(path, low, high)) if log else self._random.randint(low, high)
