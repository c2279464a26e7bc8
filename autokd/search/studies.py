"""What the sampler has been told: one Optuna study a budget, kept in memory and in `study.journal`.

While a ledger is replayed nothing reaches Optuna: a study's trials gather here, and what becomes of each replaces what it was.
A study is handed to Optuna, each trial once and as what it has become, when it is first asked: at ten thousand trials that takes
about a second a study. From then on Optuna is told of everything as it happens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from autokd.search.journal import Journal
from autokd.search.recall import Point

__all__ = ["SAMPLERS", "Lesson", "Studies"]

SAMPLERS = ("tpe", "random", "gp", "nsga2")
_GENERATION = optuna.samplers.NSGAIISampler._get_generation_key()  # NSGA-II keeps it with each trial ...
_PARENTS = (
    optuna.samplers.NSGAIISampler._get_parent_cache_key_prefix()
)  # ... and whom a generation descends from with the study
_AT_ONCE = 1000  # trials that are handed over without waiting
_POPULATION = 10  # of a generation of NSGA-II: small, since a budget sees tens of trials rather than thousands


@dataclass(frozen=True)
class Lesson:
    """What a study knows of a trial. A pruned one's value is its last score; one without any is ranked last."""

    state: TrialState = TrialState.RUNNING
    value: float | None = None
    scores: Mapping[int, float] = field(default_factory=dict)  # rung: score


@dataclass
class _Told:
    """One trial of a study, while a ledger is replayed."""

    point: Point
    lesson: Lesson
    attributes: dict[str, Any]


@dataclass
class _Study:
    name: str
    told: list[_Told] = field(default_factory=list)  # nobody has handed over
    parents: dict[str, list[int]] = field(default_factory=dict)  # generation: numbers of trials
    known: optuna.Study | None = None  # to Optuna


class Studies:
    """Studies of budgets. journal: the file beside which they are kept; None keeps them in memory alone."""

    def __init__(self, budgets: Iterable[str], sampler: str, journal: str | Path | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sampler = sampler
        self._journal = Journal(journal)
        self._storage = JournalStorage(self._journal)
        self._all = [_Study(name) for name in budgets]
        self._names = {one.name: one for one in self._all}  # by budget, the study of now
        self._generations: dict[str, int] = {}  # NSGA-II's latest, by budget

    def open(self) -> None:
        """A replay has ended. The journal is written anew now, or once every study has been asked where that takes long."""
        if sum(len(one.told) for one in self._all) <= _AT_ONCE:
            self.complete()

    def complete(self) -> None:
        """Hand over what has not been, and write the journal in place of what lay there; it follows from then on."""
        for one in self._all:
            self._hand_over(one)
        self._journal.open()

    def _hand_over(self, one: _Study) -> optuna.Study:
        if one.known is None:
            one.known = optuna.create_study(storage=self._storage, study_name=one.name, direction="maximize")
            for told in one.told:
                self._storage.create_new_trial(one.known._study_id, _frozen(told.point, told.lesson, told.attributes))
            for generation, numbers in one.parents.items():
                self._put_parents(one.known, generation, numbers)
            one.told, one.parents = [], {}
        return one.known

    def _study(self, budget: str) -> optuna.Study:
        study = self._hand_over(self._names[budget])
        if all(one.known is not None for one in self._names.values()):
            self.complete()
        return study

    def renew(self, words: str) -> None:
        """Begin with empty studies, named after the budget and these words."""
        for budget in self._names:
            one = self._names[budget] = _Study(f"{budget} ({words})")
            self._all.append(one)
        self._generations = {}

    # --- proposals

    def ask(self, budget: str, source: str, seed: int, start: dict[str, Any] | None = None) -> optuna.Trial:
        """A trial that `source` (a sampler) proposes; start: values that are taken where they fit."""
        study = self._study(budget)
        if start is not None:
            study.enqueue_trial(start)
        study.sampler = _quiet(source, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return study.ask()

    def evolution(self, budget: str, asked: optuna.Trial) -> dict[str, Any]:
        """What NSGA-II noted while it proposed: the trial's generation and, where it is the first of one, whom that one
        descends from. A resume puts both back, since chosen again they would be chosen from more trials."""
        if self.sampler != "nsga2":
            return {}
        generation = self._storage.get_trial_system_attrs(asked._trial_id).get(_GENERATION)
        if generation is None:
            return {}
        key = f"{_PARENTS}{generation}"
        chosen = self._storage.get_study_system_attrs(self._study(budget)._study_id).get(key)
        told: dict[str, Any] = {"generation": generation}
        if chosen is not None and generation > self._generations.get(budget, 0):
            told["parents"] = {str(generation): [self._storage.get_trial(one).number for one in chosen]}
        return told

    def reached(self, budget: str, generation: int) -> None:
        """A proposal of this generation has been made."""
        self._generations[budget] = max(self._generations.get(budget, 0), generation)

    # --- what is told

    def put(self, budget: str, point: Point, event: Mapping[str, Any]) -> int:
        """A proposal of the ledger, as a running trial; its number. event: may have what `evolution` told."""
        one, parents = self._names[budget], event.get("parents", {})
        number = self._add(one, point, Lesson(), {_GENERATION: event["generation"]} if "generation" in event else {})
        if one.known is None:
            one.parents.update(parents)
        else:
            for generation, numbers in parents.items():
                self._put_parents(one.known, generation, numbers)
        return number

    def teach(self, budget: str, point: Point, lesson: Lesson) -> None:
        """A trial that another budget's study proposed."""
        attributes = {_GENERATION: self._generations.get(budget, 0)} if self.sampler == "nsga2" else {}  # it breeds from such
        self._add(self._names[budget], point, lesson, attributes)

    def tell(self, budget: str, number: int, lesson: Lesson) -> None:
        """What became of a running trial."""
        one = self._names[budget]
        if one.known is None:
            one.told[number].lesson = lesson
            return
        where = self._storage.get_trial_id_from_study_id_trial_number(one.known._study_id, number)
        for rung, score in lesson.scores.items():
            self._storage.set_trial_intermediate_value(where, rung, score)
        self._storage.set_trial_state_values(where, lesson.state, None if lesson.value is None else [lesson.value])

    def _add(self, one: _Study, point: Point, lesson: Lesson, attributes: dict[str, Any]) -> int:
        if one.known is None:
            one.told.append(_Told(point, lesson, attributes))
            return len(one.told) - 1
        made = self._storage.create_new_trial(one.known._study_id, _frozen(point, lesson, attributes))
        return self._storage.get_trial_number_from_id(made)

    def _put_parents(self, study: optuna.Study, generation: str, numbers: list[int]) -> None:
        found = [self._storage.get_trial_id_from_study_id_trial_number(study._study_id, number) for number in numbers]
        self._storage.set_study_system_attr(study._study_id, _PARENTS + generation, found)


def _frozen(point: Point, lesson: Lesson, attributes: dict[str, Any]) -> FrozenTrial:
    now = datetime.now()
    return FrozenTrial(
        number=-1,  # the storage counts
        trial_id=-1,
        state=lesson.state,
        value=lesson.value,
        datetime_start=now,
        datetime_complete=now if lesson.state.is_finished() else None,
        params=point.params,
        distributions=point.distributions,
        user_attrs={},
        system_attrs=attributes,
        intermediate_values=dict(lesson.scores),
    )


def _quiet(sampler: str, seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        if sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        if sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
        return optuna.samplers.RandomSampler(seed=seed)
