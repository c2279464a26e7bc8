"""Which knobs mattered among the trials of one budget: how much of the order of the trials each one explains by itself.

A trial's place is its rank: first by how long it was allowed to train, then by its score, so that trials that were stopped
count as what they are, worse than those they were compared with. A knob's share is the part of the variance of these ranks
between its values (a number is cut into at most four groups of equal size), less what as many groups explain by chance: the
main effects of a functional analysis of variance, without its trees. Chance is told apart by shuffling the ranks.
Source: Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autokd.select.verdict import holm, ranks

__all__ = ["ENOUGH", "Knob", "knobs"]

ENOUGH = 10  # trials before anything is said of a knob
_GROUPS = 4


@dataclass(frozen=True)
class Knob:
    """share: of the variance, 0 to 1. p: of as large a share by chance; adjusted: Holm's, over the knobs."""

    name: str
    share: float
    p: float
    adjusted: float
    trials: int

    @property
    def mattered(self) -> bool:
        return self.adjusted < 0.05


def knobs(
    trials: Sequence[tuple[Mapping[str, Any], tuple[float, ...]]], *, draws: int = 4000, seed: int = 0
) -> list[Knob]:
    """Every knob that at least ENOUGH trials have, the largest share first.

    trials: what was drawn for each, by knob, and its place: tuples that sort from the worst to the best.
    """
    names = dict.fromkeys(name for values, _ in trials for name in values)
    order = sorted(set(place for _, place in trials))
    found = []
    for name in names:
        have = [(values[name], float(order.index(place))) for values, place in trials if name in values]
        groups = _groups([value for value, _ in have])
        if len(have) < ENOUGH or groups is None:
            continue
        places = ranks(place for _, place in have)
        random = np.random.default_rng(seed)
        explained = float(_explained(places[None], groups)[0])
        shuffled = _explained(random.permuted(np.tile(places, (draws, 1)), axis=1), groups)
        p = (1 + int((shuffled >= explained - 1e-12).sum())) / (1 + draws)
        chance = int(groups.max()) / (len(have) - 1)  # expected of groups that say nothing
        found.append((name, max(0.0, (explained - chance) / (1 - chance)) if chance < 1 else 0.0, p, len(have)))
    adjusted = holm([p for _, _, p, _ in found])
    made = [Knob(name, share, p, a, count) for (name, share, p, count), a in zip(found, adjusted, strict=True)]
    return sorted(made, key=lambda one: (-one.share, one.p, one.name))


def _groups(values: Sequence[Any]) -> np.ndarray | None:
    """The group of each value, int [N]; None where all are one."""
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)
    names = sorted(set(values)) if numbers else sorted(set(map(repr, values)))
    if len(names) < 2:
        return None
    if not numbers or len(names) <= _GROUPS:
        return np.array([names.index(value if numbers else repr(value)) for value in values])
    place = ranks(float(one) for one in values)  # equal values stay together
    cut = np.minimum((place - 1) * _GROUPS / len(values), _GROUPS - 1e-9).astype(int)
    return np.unique(cut, return_inverse=True)[1]


def _explained(places: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The share of the variance between groups for each row. places: [D, N]; groups: int [N]. Returns [D]."""
    one = np.eye(int(groups.max()) + 1)[groups]  # [N, G]
    sizes = one.sum(axis=0)
    means = places @ one / sizes  # [D, G]
    middle = places.mean(axis=1, keepdims=True)
    total = ((places - middle) ** 2).sum(axis=1)
    between = (sizes * (means - middle) ** 2).sum(axis=1)
    return np.divide(between, total, out=np.zeros_like(between), where=total > 0)
