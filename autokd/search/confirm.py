"""The confirmation of a run: its best trials trained again with fresh seeds, racing; then controls, a choice and a verdict.

It is a search of its own in RUN/confirm/ (ledger, table, MLflow, resume), through the same engine and the same cache of
answers; only what comes next is decided by `autokd.select.race` instead of a sampler. What came out stands in
RUN/confirm.json, and the run's own ledger counts what it cost.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.config.search_space import SearchSpace
from autokd.config.sections import ConfirmSettings
from autokd.config.trial import LossConfig, MethodConfig, PolicyConfig, TeacherConfig, TrialConfig
from autokd.errors import AutokdError, SearchFailed
from autokd.files import full_disk, in_shell, write_text
from autokd.search.brain import NOTHING, Brain
from autokd.search.granted import granted
from autokd.search.plan import Plan, limit_of
from autokd.search.run import SPACE, carry_out, environment, fit, observers_of
from autokd.search.study import published
from autokd.search.teachers import known_teachers, recorded_teachers
from autokd.search.work import CHECKPOINTS, DiskFull, read_answers
from autokd.search.work import full_disk as ended_by
from autokd.seeds import derived, scheme_of
from autokd.track.ledger import FILE, FolderLock, Ledger, all_events, clean
from autokd.track.recorder import rows_of
from autokd.track.state import state_message

if TYPE_CHECKING:
    from autokd.search.feasible import Feasible

__all__ = ["FOLDER", "Entry", "Lineup", "Race", "confirm", "kept_settings", "line_up"]

FOLDER, RESULT = "confirm", "confirm.json"
RANDOM = "random"
_FIRST_SEED = 500_001  # of confirmations that counted upwards
_ROOM = "autokd.select."  # a room beside this one: asked by name


@dataclass(frozen=True)
class Entry:
    """One budget: the rows of its candidates by trial, the best first, and the best configuration of a random search.

    limits: the budget as the ledger has it.
    """

    budget: str
    rows: dict[str, dict[str, Any]]
    random: TrialConfig | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    def config(self, trial: str) -> TrialConfig:
        return TrialConfig.from_dict(json.loads(self.rows[trial]["config"]))

    def cost(self, trial: str) -> tuple[float, ...]:
        return import_module(_ROOM + "best").cheapness(self.rows[trial], self.limits)


@dataclass(frozen=True)
class Training:
    """One training of a confirmation. role: "candidate", or the name of a control. of: the trial it is about."""

    budget: str
    role: str
    of: str
    config: TrialConfig

    @property
    def key(self) -> str:
        """Two budgets may ask for the same training; it is made once."""
        teacher = self.config.teacher
        named = TeacherConfig(teacher.name, teacher.model) if teacher is not None else None
        return replace(self.config, teacher=named).key


Results = Mapping[str, Any]  # by key of a training: bool [N], or why it failed


@dataclass(frozen=True)
class Lineup:
    """Who is confirmed, and how: everything the decisions depend on but the results. teachers: resolved, by name."""

    entries: tuple[Entry, ...]
    settings: ConfirmSettings
    seeds: tuple[int, ...] = ()
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)
    taught: dict[str, str] = field(default_factory=dict)  # student: a teacher that goes with it

    def standing(self, entry: Entry, results: Results) -> Any:
        """Where the race of a budget stands (autokd.select.race.Standing)."""
        answers = {}
        for trial in entry.rows:
            for seed in self.seeds:
                found = results.get(self.candidate(entry, trial, seed).key)
                if found is not None:
                    answers[trial, seed] = found
        return import_module(_ROOM + "race").standing(list(entry.rows), self.seeds, answers)

    def candidate(self, entry: Entry, trial: str, seed: int) -> Training:
        return Training(entry.budget, "candidate", trial, entry.config(trial).fresh(seed))

    def arm(self, entry: Entry, trial: str, seeds: Sequence[int], results: Results) -> Any:
        """bool [S, N] of a candidate."""
        import numpy as np

        return np.stack([results[self.candidate(entry, trial, seed).key] for seed in seeds])

    def choice(self, entry: Entry, results: Results) -> tuple[Any, Any]:
        """(the standing, the choice); no choice where not enough seeds have been trained."""
        race = import_module(_ROOM + "race")
        told = self.standing(entry, results)
        if told.rounds < race.LEAST:
            return told, None
        arms = {one: self.arm(entry, one, self.seeds[: told.rounds], results) for one in told.alive}
        costs = {one: entry.cost(one) for one in told.alive}
        return told, race.choose(arms, costs, prefer=self.settings.prefer)

    def controls(self, entry: Entry, trial: str) -> dict[str, TrialConfig]:
        """The controls of a chosen trial by name: its student, its length, its recipe, and no augmentation policy."""
        config = entry.config(trial)
        plain = config.with_(policy=PolicyConfig("none"), ratio=0.0)
        found: dict[str, TrialConfig] = {}
        for name in dict.fromkeys(self.settings.controls):
            if name == "ce":
                found["ce"] = plain.with_(teacher=None, method=MethodConfig("ce"), loss=LossConfig(kd_weight=0.0))
                continue
            teacher = config.teacher or self.teachers.get(self.taught.get(entry.rows[trial]["student"], ""))
            if teacher is not None:
                method, loss = _as_published(name)
                found[name] = plain.with_(teacher=teacher, method=method, loss=loss)
        if entry.random is not None:
            found[RANDOM] = entry.random
        return found

    def budgets_of(self, training: Training) -> list[str]:
        """The budgets that a training is for."""
        shared = [one.budget for one in self.entries if training.of in one.rows]
        return shared if training.role == "candidate" else [training.budget]

    def tags(self, training: Training) -> dict[str, str]:
        """What stands with a training in the ledger and in MLflow; `arm` is its name for a person: "t00003 #2"."""
        who = training.of if training.role == "candidate" else training.role
        number = self.seeds.index(training.config.seed) + 1
        return {"arm": f"{who} #{number}", "role": training.role, "of": training.of, "seed": str(training.config.seed)}

    def wanted(
        self, results: Results, affords: Callable[[int], bool] = lambda count: True
    ) -> Iterator[Training]:
        """The trainings that come next: the races' open rounds, then the controls of budgets whose race is over.

        affords: whether so many more trainings can be paid for. A round that cannot, with the controls that would follow it,
        is not begun; the race then ends with the seeds it has.
        """
        least = import_module(_ROOM + "race").LEAST
        told = {entry.budget: self.choice(entry, results) for entry in self.entries}
        needed: dict[str, Training] = {}
        further: dict[str, Training] = {}
        for entry in self.entries:
            standing = told[entry.budget][0]
            begun = standing.rounds < least or len(standing.wanted) < len(standing.alive)
            for trial, seed in standing.wanted:
                training = self.candidate(entry, trial, seed)
                (needed if begun else further)[training.key] = training
        each = len(self.settings.controls) + self.settings.random
        controls = sum((standing.rounds + 1) * each for standing, _ in told.values() if standing.wanted)
        yield from needed.values()
        go_on = not further or affords(len(needed) + len(further) + controls)
        if go_on:
            yield from further.values()
        elif needed:
            return  # what is left is known when they have ended
        for entry in self.entries:
            standing, chosen = told[entry.budget]
            if chosen is None or (standing.wanted and go_on):
                continue
            for role, config in self.controls(entry, chosen.chosen).items():
                for seed in self.seeds[: standing.rounds]:
                    training = Training(entry.budget, role, chosen.chosen, config.fresh(seed))
                    if training.key not in results:
                        yield training


def _as_published(method: str) -> tuple[MethodConfig, LossConfig]:
    """A method with its published settings, and the published weights of its loss."""
    return published({"method": {method: {}}}).method_of(lambda path, node: node.prior)


class Race(Brain):
    """Proposes what a line-up wants next. No sampler, no rungs: every training goes to its end."""

    def __init__(self, lineup: Lineup, folder: Path, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.lineup, self.folder = lineup, folder
        self.results: dict[str, Any] = {}
        self._made: dict[str, str] = {}  # key of a training: its name here
        self._keys: dict[str, str] = {}
        self._kept: dict[str, tuple[str, int]] = {}  # name: where its answers lie, and of how many images
        self._list: list[Training] | None = None

    def start(self, past: Any = ()) -> None:
        """Also takes up what an earlier session was stopped in, or what failed through no fault of its own."""
        past = list(past)
        super().start(past)
        ends = {event["trial"]: event for event in past if event["event"] == "end"}
        if self.over:
            return
        for trial in [one.trial for one in self.trials.values() if one.status in ("stopped", "failed")]:
            if self.trials[trial].status == "stopped" or ends[trial].get("machine"):
                self.take_up(trial)

    def propose(self) -> Any:
        found = super().propose()
        return None if found is None else replace(found, answers=True)

    @property
    def waiting(self) -> bool:  # type: ignore[override]
        return bool(self.running) and not self.pausing and not self.over

    def _outcome(self) -> tuple[str, str]:
        limit = self._hard_limit()
        if limit:
            return limit
        if self.running or self._more():
            return "paused", f"{len(self.running)} trainings are unfinished"
        return "finished", f"{len(self.trials)} trainings"

    def _to_go_further(self) -> None:
        return None

    def _more(self) -> bool:
        return self._next() is not None

    def _next(self) -> Training | None:
        if self._list is None:
            self._list = list(self.lineup.wanted(self.results, self._affords))
        return next((one for one in self._list if one.key not in self._made), None)

    def _affords(self, count: int) -> bool:
        """Whether so many more trainings, each as dear as those so far, stay within every limit."""
        if not self.ended:
            return True
        limits = (
            (self.plan.images, self.images),
            (3600 * self.plan.hours if self.plan.hours else None, self.elapsed()),
            (3600 * self.plan.gpu_hours if self.plan.gpu_hours else None, self.seconds * self.plan.gpus),
        )
        return all(limit is None or spent * (1 + count / self.ended) <= limit for limit, spent in limits)

    def _draw(self) -> Any:
        training = self._next()
        if training is None:
            return None
        config = self._resolved(training.config)
        pair = self._pair(config)
        number = len(self.trials)
        trial = f"c{number:05d}"
        self._record(
            {
                "event": "trial",
                "trial": trial,
                "number": number,
                "budget": training.budget,
                "budgets": self.lineup.budgets_of(training),
                "teacher": pair[0],
                "student": pair[1],
                "method": config.method.name,
                "policy": config.policy.name,
                "ratio": config.ratio,
                "seed": config.seed,
                **self.feasible.told(pair[1], self.space.budgets),
                "source": "confirm",
                "asked": number,
                "values": {},
                "tags": self.lineup.tags(training),
                "config": config.to_dict(),
            }
        )
        return self.trials[trial]

    # --- events

    def _on_trial(self, event: dict[str, Any]) -> None:
        super()._on_trial(event)
        trial, tags = event["trial"], event["tags"]
        key = Training(event["budget"], tags["role"], tags["of"], self.trials[trial].config).key
        self._made[key], self._keys[trial] = trial, key

    def _on_report(self, event: dict[str, Any]) -> None:
        super()._on_report(event)
        if "answers" in event:
            self._kept[event["trial"]] = (event["answers"], event["val_images"])

    def _on_end(self, event: dict[str, Any]) -> None:
        super()._on_end(event)
        self._list = None
        trial = event["trial"]
        if event["status"] == "done":
            path, images = self._kept[trial]
            self.results[self._keys[trial]] = read_answers(self.folder / path, images)
        elif event["status"] == "failed":
            self.results[self._keys[trial]] = str(event.get("reason") or "not told")

    def _on_again(self, event: dict[str, Any]) -> None:
        super()._on_again(event)
        self._list = None
        self.results.pop(self._keys[event["trial"]], None)

    # --- no sampler learns here

    def _put(self, *_: Any) -> int:
        return 0

    def _tell(self, *_: Any, **__: Any) -> None:
        pass

    def _teach(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class _Confirmation(SearchSpace):
    """The space of a confirmation, for `carry_out`: all of it is in the line-up."""

    lineup: Lineup = field(default_factory=lambda: Lineup((), ConfirmSettings()))
    folder: Path = Path()
    runs: Path = Path()
    resolved: dict[str, TeacherConfig] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)
    races: list[Race] = field(default_factory=list, compare=False)
    what: str = "confirmation"

    def brain(self, space: Any, feasible: Feasible, plan: Plan, **keywords: Any) -> Race:
        keywords["teachers"] = {**self.resolved, **keywords.get("teachers", {})}
        self.races.append(Race(self.lineup, self.folder, space, feasible, plan, **keywords))
        return self.races[-1]


@dataclass(frozen=True)
class _Random(SearchSpace):
    """The same space, drawn from at random, without the points that a search tries first."""

    runs: Path = Path()
    recorded: dict[str, Any] = field(default_factory=dict)
    what: str = "random search"
    purpose: str = RANDOM

    def starts(self, pairs: Any) -> list[dict[str, Any]]:
        return []


def confirm(
    folder: Any,
    *,
    settings: ConfirmSettings | None = None,
    hours: float | None = None,
    engine: Any = "ray",
    on_event: Callable[[dict[str, Any]], None] | None = None,
    observers: Sequence[Callable[[dict[str, Any]], None]] = (),
    space: Any = None,
    feasible: Feasible | None = None,
    reserve: bool = False,
) -> dict[str, Any]:
    """Confirm a run whose search has ended, or go on with a confirmation; returns what RUN/confirm.json says.

    settings: by default those that this run was confirmed with before, or the `confirm` section of its space, or the defaults.
    hours: the longest it may take. reserve: only what the search kept for it is spent: `share` of its limits. Raises
    AutokdError while another process writes the run, and SearchFailed where no trial has finished or nothing could be confirmed.
    """
    folder = Path(folder)
    space = space or _loaded(folder)
    refuse_unscored(space, str(folder))
    settings = settings or kept_settings(folder, space)
    heard = [*observers, *observers_of(on_event, None)]

    def tell(event: dict[str, Any]) -> None:
        for one in heard:
            one(event)

    if (told := state_message(folder)) and not reserve:
        tell({"event": "phase", "text": told})
    with FolderLock(folder), _room(folder):
        events = all_events(folder / FILE)
        if feasible is None:
            alone = engine == "ray" and space.resources.address is None
            granted(lambda text: tell({"event": "phase", "text": text}), folder, ray=alone)
            feasible = fit(space, events)
        teachers = known_teachers(events)
        lineup = line_up(folder, space, settings, feasible, teachers)  # or refused, before anything is written
        place = folder / FOLDER
        place.mkdir(exist_ok=True)
        own = replace(space, confirm=settings)
        write_text(place / SPACE, own.to_yaml())
        if settings.random:
            drawn = _search_at_random(folder, space, feasible, engine, heard, events, teachers, tell)
            lineup = line_up(folder, space, settings, feasible, teachers, drawn)
        for name, why in import_module(_ROOM + "empty").why_of_run(folder).items():
            tell({"event": "phase", "text": f"nothing to confirm for {name}: {why}"})
        tell({"event": "phase", "text": _announced(lineup)})
        made = _Confirmation(
            **_fields(space),
            lineup=lineup,
            folder=place,
            runs=folder.parent,
            resolved=teachers,
            recorded=dict(recorded_teachers(events)),
        )
        limits: dict[str, float | None] = {
            key: limit_of(getattr(space.search, key), settings.share) if reserve else None
            for key in ("hours", "images", "gpu_hours")
        }
        limits["hours"] = hours if hours is not None else limits["hours"]
        most = _most(lineup)
        search = space.search.model_copy(update={**limits, "trials": most, "scheduler": "none", "start": []})
        made = replace(made, search=search, confirm=None, start=())
        failed = _failing(lambda: _carry_out(place, made, feasible, engine, heard))
        result = clean(_result(folder, lineup, made.races[-1], events))
        if result["state"] == "finished":
            shutil.rmtree(place / CHECKPOINTS, ignore_errors=True)  # nobody goes on from them
        write_text(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        _count(folder, result, events, tell)
    chosen = [one for one in result["budgets"].values() if one["chosen"] is not None]
    if not chosen and result["state"] in ("finished", "failed"):
        lines = "; ".join(one["line"] for one in result["budgets"].values())
        why = failed.what.removeprefix(f"{NOTHING}: ") if failed is not None else lines
        fix = f"what failed and why: autokd report {in_shell(place)}"
        raise SearchFailed(f"nothing was confirmed: {why}", where=str(folder), fix=fix)
    return result


def _failing(action: Callable[[], None]) -> SearchFailed | None:
    """Run `action`. Returns the SearchFailed that it raised, if any, so that what is known can still be written down."""
    try:
        action()
    except SearchFailed as fault:
        return fault
    return None


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """A full disk is told in words, with the command that goes on."""
    try:
        yield
    except Exception as fault:
        full = full_disk(fault)
        if full is None and not isinstance(fault, DiskFull):
            raise
        told = {"failed": fault.what} if isinstance(fault, DiskFull) else full
        assert told is not None
        raise ended_by(told, folder, "confirm") from fault


def kept_settings(folder: Path, space: Any = None) -> ConfirmSettings:
    """How this run was confirmed before, or how its space asks for it, or the defaults."""
    for place in (folder / FOLDER, folder):
        if (place / SPACE).exists():
            found = _loaded(place).confirm
            if found is not None:
                return found
    return getattr(space, "confirm", None) or ConfirmSettings()


def refuse_unscored(space: Any, where: str = "") -> None:
    """Raise AutokdError where a space holds nothing out, so that there is no score to confirm."""
    if getattr(getattr(space, "search", None), "select", "validation") == "last":
        what = "a confirmation compares validation scores, and nothing is held out (search.select: last)"
        raise AutokdError(what, where=where, fix="finalize trains each student with several seeds, and tests all of them once")


def line_up(
    folder: Path,
    space: Any,
    settings: ConfirmSettings,
    feasible: Feasible,
    teachers: dict[str, TeacherConfig] | None = None,
    random: Path | None = None,
) -> Lineup:
    """The best `top` finished trials of each budget of a run. random: the run of the random search, where there is one."""
    best = import_module(_ROOM + "best")
    ranked = _ranked(best, folder)
    drawn = _ranked(best, random) if random is not None else {}
    limits = {one.name: one.to_dict() for one in space.budgets}
    entries = []
    for name, rows in ranked.items():
        if rows:
            first = drawn.get(name) or []
            config = TrialConfig.from_dict(json.loads(first[0]["config"])) if first else None
            entries.append(Entry(name, {row["trial"]: row for row in rows[: settings.top]}, config, limits[name]))
    if not entries:
        raise import_module(_ROOM + "empty").nothing_finished(folder)
    taught = {s: t for pairs in feasible.pairs.values() for t, s in reversed(pairs) if t is not None}
    seeds = _seeds(folder / FOLDER, space, settings.seeds)
    return Lineup(tuple(entries), settings, seeds, {**space.teachers, **(teachers or {})}, taught)


def _seeds(place: Path, space: Any, count: int) -> tuple[int, ...]:
    """As the confirmation began, where it is one that goes on."""
    past = all_events(place / FILE) if (place / FILE).exists() else []
    if not scheme_of(past):
        return tuple(range(_FIRST_SEED, _FIRST_SEED + count))
    seed = past[0]["seed"] if past else space.search.seed
    return tuple(derived(seed, "confirm", number) for number in range(count))


def _ranked(best: Any, folder: Path) -> dict[str, list[dict[str, Any]]]:
    events = all_events(folder / FILE)
    rows = rows_of(folder, events)
    return best.best(rows, best.limits_of_run(folder, events), best.admitted_of(events))


def _loaded(folder: Path) -> Any:
    from autokd.config.search_space import load_space

    return load_space(folder / SPACE)


def _fields(space: Any) -> dict[str, Any]:
    return {one.name: getattr(space, one.name) for one in fields(SearchSpace)}


def _most(lineup: Lineup) -> int:
    """Trainings, were nobody dropped."""
    settings = lineup.settings
    trials = {trial for entry in lineup.entries for trial in entry.rows}
    controls = (len(settings.controls) + settings.random) * len(lineup.entries)
    return settings.seeds * (len(trials) + controls)


def _announced(lineup: Lineup) -> str:
    trials = {trial for entry in lineup.entries for trial in entry.rows}
    return f"confirming {len(trials)} trials with up to {lineup.settings.seeds} fresh seeds: at most {_most(lineup)} trainings"


def _carry_out(place: Path, space: Any, feasible: Feasible, engine: Any, observers: list[Any]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    past = all_events(place / FILE) if (place / FILE).exists() else []
    if not past:
        write_text(place / "environment.json", json.dumps(environment(space), indent=2) + "\n")
    with FolderLock(place):
        carry_out(place, space, feasible, engine, observers, past=past)


def _search_at_random(
    folder: Path,
    space: Any,
    feasible: Feasible,
    engine: Any,
    observers: list[Any],
    events: list[dict[str, Any]],
    teachers: dict[str, TeacherConfig],
    tell: Callable[[dict[str, Any]], None],
) -> Path:
    """A random search on as many images as the search was trained on, in RUN/confirm/random."""
    place = folder / FOLDER / RANDOM
    images = max(1, sum(_spent(events).values()))
    limits: dict[str, Any] = {"trials": None, "hours": None, "gpu_hours": None, "images": images}
    limits |= {"sampler": "random", "start": []}
    made = _Random(**{**_fields(space), "teachers": {**space.teachers, **teachers}, "confirm": None, "start": ()},
                   runs=folder.parent, recorded=dict(recorded_teachers(events)))  # fmt: skip
    made = replace(made, search=space.search.model_copy(update=limits))
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / SPACE, made.to_yaml())
    tell({"event": "phase", "text": f"searching at random on {images:,} images, as many as the search"})
    failed = _failing(lambda: _carry_out(place, made, feasible, engine, observers))
    if failed is not None:
        tell({"event": "phase", "text": f"the random search is no control: {failed.what}"})
    return place


def _spent(events: list[dict[str, Any]]) -> dict[str, int]:
    """Images of each trial."""
    return {event["trial"]: event["images"] for event in events if event["event"] == "report"}


def _result(folder: Path, lineup: Lineup, race: Race, events: list[dict[str, Any]]) -> dict[str, Any]:
    """What RUN/confirm.json says."""
    state, reason = race.outcome()
    told = import_module(_ROOM + "outcome")
    search = _spent(events)
    budgets = {entry.budget: _of_budget(told, lineup, entry, race, events) for entry in lineup.entries}
    return {
        "version": 1,
        "state": state,
        "reason": reason,
        "settings": lineup.settings.model_dump(),
        "seeds": list(lineup.seeds),
        "budgets": budgets,
        "cost": {
            "trainings": len(race.trials),
            "failed": race.failed,
            "images": race.images,
            "seconds": round(race.elapsed(), 3),
            "search_images": sum(search.values()),
        },
    }


def _of_budget(told: Any, lineup: Lineup, entry: Entry, race: Race, events: list[dict[str, Any]]) -> dict[str, Any]:
    results = race.results
    standing, choice = lineup.choice(entry, results)
    seeds = lineup.seeds[: standing.rounds]
    arms = {}
    for trial in entry.rows:
        there = [seed for seed in lineup.seeds if _right(results, lineup.candidate(entry, trial, seed)) is not None]
        if there:
            arms[trial] = (there, lineup.arm(entry, trial, there, results))
    controls = {}
    if choice is not None:
        for role, config in lineup.controls(entry, choice.chosen).items():
            made = {seed: Training(entry.budget, role, choice.chosen, config.fresh(seed)) for seed in seeds}
            there = [seed for seed in seeds if _right(results, made[seed]) is not None]
            same = bool(seeds) and made[seeds[0]].key == lineup.candidate(entry, choice.chosen, seeds[0]).key
            controls[role] = {
                "config": config.to_dict(),
                "student": race._pair(config)[1],
                "seeds": there,
                "same": same,
                "arm": [results[made[seed].key] for seed in there],
            }
    return told.verdict_of(
        entry.budget,
        rows=entry.rows,
        arms=arms,
        standing=standing,
        choice=choice,
        controls=controls,
        asked=[*dict.fromkeys(lineup.settings.controls), *([RANDOM] if lineup.settings.random else [])],
        knobs=import_module(_ROOM + "knobs").knobs(_placed(events, entry.budget)),
        trials=len(_placed(events, entry.budget)),
    )


def _right(results: Results, training: Training) -> Any:
    found = results.get(training.key)
    return None if found is None or isinstance(found, str) else found


def _placed(events: list[dict[str, Any]], budget: str) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
    """What was drawn for each ended trial whose student the budget admits, and the trial's place among the others."""
    values = {e["trial"]: e["values"] for e in events if e["event"] == "trial" and budget in e.get("budgets", ())}
    places: dict[str, tuple[float, ...]] = {}
    for event in events:
        if event["event"] == "report" and event.get("rung") is not None and event.get("val_top1") is not None:
            places[event["trial"]] = (event["rung"], event["val_top1"])
        elif event["event"] == "end" and event["status"] == "failed":
            places[event["trial"]] = (-1.0, -math.inf)
            if event.get("machine"):
                values.pop(event["trial"], None)
    ended = {event["trial"] for event in events if event["event"] == "end"}
    return [(drawn, places[trial]) for trial, drawn in values.items() if trial in places and trial in ended]


def _count(
    folder: Path, result: dict[str, Any], events: list[dict[str, Any]], tell: Callable[[dict[str, Any]], None]
) -> None:
    """Let the run's own ledger know what was confirmed and what that took; the search's time is not changed by it."""
    elapsed = max((event.get("elapsed", 0.0) for event in events), default=0.0)
    choices = {name: one["chosen"] for name, one in result["budgets"].items()}
    event = {"event": "confirm", "status": result["state"], "reason": result["reason"], **result["cost"], "choices": choices}
    known = [one for one in events if one["event"] == "confirm"]
    if known and all(known[-1].get(key) == event[key] for key in ("status", "trainings", "images", "choices")):
        tell(known[-1])
        return
    ledger = Ledger(folder / FILE)
    try:
        tell(ledger.append({**event, "time": round(time.time(), 3), "elapsed": elapsed}))
    finally:
        ledger.close()
