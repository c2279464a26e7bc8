"""Which knobs mattered: how much worse the order of unseen trials is predicted once one knob's values are shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autokd.select.verdict import ranks

__all__ = ["Importance", "importance"]

_LEAST = 12  # trials
_MOST = 400  # a random part of more, since it answers the same in less time
_TREES, _FOLDS, _REPEATS = 30, 5, 5
_LEVELS = 32  # a knob of more words than this names trials rather than settings
_ABSENT = -1.0  # below every encoded value, so that a tree can tell a branch that was not taken


@dataclass(frozen=True)
class Importance:
    """shares: knob -> (mean, lowest, highest over repetitions), in shares of the variance of the ranks, the largest mean first.

    explained: the share of that variance which the forest predicts of trials it has not seen; where it is not above zero
    the shares mean nothing and are empty.
    """

    trials: int
    explained: float
    shares: dict[str, tuple[float, float, float]]


def importance(values: Sequence[Mapping[str, Any]], scores: Sequence[float], *, seed: int = 0) -> Importance | None:
    """values: the knobs of each trial, by name; a knob may be absent where its branch was not taken. scores: as many.

    A forest of extremely randomised trees is fitted on four fifths of the trials and predicts the ranks of the rest; a knob's
    values are then shuffled among those of the rest that have it. Five-fold, five times. Ranks, since one training that fell
    apart would be most of the scores' variance. Half of what the squared error grows by is told: of knobs that add up, each has
    then the share of the variance that it makes. None where there are fewer than 12 trials, no knob varies, or all scores are
    alike.
    Source: Breiman, "Random forests", Machine Learning 45 (2001), section 10; the trees are those of Geurts et al., Machine
    Learning 63 (2006).
    """
    random = np.random.default_rng(seed)
    y = ranks(scores)
    if len(values) != len(y):
        raise ValueError(f"{len(values)} trials against {len(y)} scores")
    if len(y) > _MOST:
        kept = random.permutation(len(y))[:_MOST]
        values, y = [values[i] for i in kept], y[kept]
    names, x = _columns(values)
    if len(y) < _LEAST or not names or np.ptp(y) == 0:
        return None
    rounds = [_once(x, y, random) for _ in range(_REPEATS)]
    explained = float(np.mean([share for share, _ in rounds]))
    if explained <= 0:
        return Importance(len(y), explained, {})
    found = np.array([worse for _, worse in rounds])  # [repeats, knobs]
    order = np.argsort(-found.mean(axis=0), kind="stable")
    ends = zip(found.mean(axis=0), found.min(axis=0), found.max(axis=0), strict=True)
    shares = [(float(mean), float(low), float(high)) for mean, low, high in ends]
    return Importance(len(y), explained, {names[i]: shares[i] for i in order})


def _once(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> tuple[float, np.ndarray]:
    """One round of folds: the share of variance predicted, and what each knob's shuffling takes from it."""
    from sklearn.ensemble import ExtraTreesRegressor

    fold = random.permutation(len(y)) % _FOLDS
    error = 0.0
    worse = np.zeros(x.shape[1])
    for number in range(_FOLDS):
        mine = fold == number
        forest = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=int(random.integers(2**31)))
        forest.fit(x[~mine], y[~mine])
        shown = [x[mine]]
        for column in range(x.shape[1]):
            shuffled = x[mine].copy()
            having = np.flatnonzero(shuffled[:, column] > _ABSENT)
            shuffled[having, column] = shuffled[random.permutation(having), column]
            shown.append(shuffled)
        told = forest.predict(np.concatenate(shown)).reshape(len(shown), -1)  # [1 + knobs, trials of the fold]
        errors = ((told - y[mine]) ** 2).sum(axis=1)
        error += float(errors[0])
        worse += errors[1:] - errors[0]
    total = float(((y - y.mean()) ** 2).sum())
    return 1 - error / total, worse / total / 2


def _columns(values: Sequence[Mapping[str, Any]]) -> tuple[list[str], np.ndarray]:
    """Knobs that vary, [trials, knobs]: the rank of a number among those seen, or of a word in the alphabet.

    A knob of one value that some trials lack is left out: the choice of the branch that has it tells as much.
    """
    names, columns = [], []
    for name in sorted({name for one in values for name in one}):
        seen = [one.get(name) for one in values]
        numeric = all(type(value) in (int, float) for value in seen if value is not None)
        words = seen if numeric else [None if value is None else str(value) for value in seen]
        levels = sorted({word for word in words if word is not None})
        if len(levels) < 2 or (not numeric and len(levels) > _LEVELS):
            continue
        order = {level: float(rank) for rank, level in enumerate(levels)}
        names.append(name)
        columns.append([_ABSENT if word is None else order[word] for word in words])
    return names, np.array(columns, dtype=np.float64).T.reshape(len(values), len(names))
