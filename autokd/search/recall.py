"""Drawers between a space and Optuna: one that asks a sampler, and one that recalls what the ledger holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autokd.config.trial import TrialConfig
from autokd.search.feasible import Pair

__all__ = ["Asking", "Point", "Recall", "alike"]

_NUMBERS = (int, float)  # and bool is none of them: it is looked at by its type


class Asking:
    """A drawer that asks Optuna."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        return self.trial.suggest_categorical(path, list(options))

    def uniform(self, path: str, low: float, high: float) -> float:
        return self.trial.suggest_float(path, low, high)

    def log(self, path: str, low: float, high: float) -> float:
        return self.trial.suggest_float(path, low, high, log=True)

    def integer(self, path: str, low: int, high: int, log: bool = False) -> int:
        return self.trial.suggest_int(path, low, high, log=log)


@dataclass(frozen=True)
class Point:
    """A configuration as parameters of one study, with the distribution each belongs to."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


class Recall:
    """Configurations of the ledger as points of a budget's study.

    The branches of a space are chosen by words, never by numbers. So two configurations with the same words at the same paths
    have the same distributions: the space is drawn once for all of them, and a number has but to lie within its range.
    """

    def __init__(self, space: Any, pairs: Mapping[str, Sequence[Pair]], key: Callable[[TrialConfig], str]) -> None:
        self.space, self.pairs, self.key = space, pairs, key
        self._shapes: dict[tuple[Any, ...], Point] = {}

    def point(
        self,
        budget: str,
        values: dict[str, Any],
        pair: Pair,
        config: Callable[[], TrialConfig],
        tries: int = 200,
    ) -> Point | None:
        """values: what was drawn, by path. pair: its teacher and student. config: what came of it, asked for where needed.

        None where the space does not hold it. A choice that was none where the trial was proposed (one pair alone fits) and
        is one here is found by trying, at most `tries` times.
        """
        words = tuple((path, None if type(value) in _NUMBERS else value) for path, value in values.items())
        try:
            shape = self._shapes.get((budget, pair, words))
        except TypeError:  # an option that cannot be hashed
            return self._drawn(budget, values, pair, config(), tries)
        if shape is not None:
            numbers = {path: values[path] for path in shape.params if path in values and type(values[path]) in _NUMBERS}
            if all(_within(shape.distributions[path], value) for path, value in numbers.items()):
                return Point({**shape.params, **numbers}, shape.distributions)
        found = self._drawn(budget, values, pair, config(), tries)
        if found is not None:
            self._shapes[budget, pair, words] = found
        return found

    def _drawn(self, budget: str, values: dict[str, Any], pair: Pair, config: TrialConfig, tries: int) -> Point | None:
        likely = {name for name in pair if name is not None}
        todo = [values]
        for _ in range(tries):
            if not todo:
                break
            drawer = _Recalling(todo.pop())
            try:
                found = self.space.sample(drawer, list(self.pairs[budget]), config.seed)
            except _NotThere as missing:
                options = sorted(missing.options, key=lambda option: option in likely)  # the likely ones are taken first
                todo.extend({**drawer.values, missing.path: option} for option in options)
                continue
            found = replace(found, epochs=config.epochs)  # the search may be longer by now
            if alike(found, config) or self.key(found) == self.key(config):
                return Point(drawer.params, drawer.distributions)
        return None


class _NotThere(Exception):
    def __init__(self, path: str, options: Sequence[Any] = ()) -> None:
        super().__init__(path)
        self.path, self.options = path, options


class _Recalling:
    """A drawer that answers with recorded values, and notes the distribution each belongs to."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def _recall(self, path: str, distribution: BaseDistribution) -> Any:
        if path not in self.values:
            raise _NotThere(path, getattr(distribution, "choices", ()))
        value = self.values[path]
        if not _within(distribution, value):
            raise _NotThere(path)
        self.params[path], self.distributions[path] = value, distribution
        return value

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        return self._recall(path, CategoricalDistribution(list(options)))

    def uniform(self, path: str, low: float, high: float) -> float:
        return self._recall(path, FloatDistribution(low, high))

    def log(self, path: str, low: float, high: float) -> float:
        return self._recall(path, FloatDistribution(low, high, log=True))

    def integer(self, path: str, low: int, high: int, log: bool = False) -> int:
        return self._recall(path, IntDistribution(low, high, log=log))


def _within(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False


def alike(one: TrialConfig, other: TrialConfig) -> bool:
    """Whether two configurations differ at most in where the teacher's weights lie; quicker to tell than their keys, which for
    such are the same."""
    teachers = [(config.teacher.name, config.teacher.model) if config.teacher else None for config in (one, other)]
    return teachers[0] == teachers[1] and replace(one, teacher=other.teacher) == other
