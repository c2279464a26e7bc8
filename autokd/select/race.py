"""The race of a confirmation: who still runs, who has been shown to be worse, and who is chosen at the end.

Pure decisions on arrays, a function of the answers alone: asked again with the same answers, they are the same. `answers` has,
by (candidate, seed), which validation images a training is right on (bool [N]), or a sentence where it failed; what has not
ended yet is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autokd.select.paired import Paired, paired, pooled_spread
from autokd.select.verdict import holm

__all__ = ["LEAST", "PREFERENCES", "Answers", "Choice", "Dropped", "Standing", "choose", "standing", "stacked"]

Answers = Mapping[tuple[str, int], "np.ndarray | str"]
LEAST = 2  # seeds before anyone is dropped: one says nothing of how much seeds differ
PREFERENCES = ("cheapest", "accurate")


@dataclass(frozen=True)
class Dropped:
    """A candidate that left the race after `seeds` seeds: `behind` the leader by so much, or because of a failed training."""

    candidate: str
    seeds: int
    leader: str = ""
    behind: float = 0.0
    p: float | None = None  # one-sided, Holm's within the round
    failed: str = ""


@dataclass(frozen=True)
class Standing:
    """alive: who is still in. rounds: seeds that all of them have. wanted: trainings of the next round that are not there."""

    alive: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    rounds: int
    wanted: tuple[tuple[str, int], ...]

    @property
    def over(self) -> bool:
        return not self.wanted


def standing(candidates: Sequence[str], seeds: Sequence[int], answers: Answers, *, level: float = 0.95) -> Standing:
    """Go through the rounds, one seed each, as far as the answers reach.

    After the second round and each later one but the last, a candidate is dropped where `paired` says that it is worse than
    the leader (the highest mean; of equals the first), one-sided at `level`, by Holm over the candidates of that round. The
    spread between seeds is pooled over those still in the race, since two or three seeds of two arms hardly tell it.
    """
    alive, dropped = list(candidates), list[Dropped]()
    for number, seed in enumerate(seeds):
        missing = tuple((one, seed) for one in alive if (one, seed) not in answers)
        if missing:
            return Standing(tuple(alive), tuple(dropped), number, missing)
        for one in list(alive):
            told = answers[one, seed]
            if isinstance(told, str):
                alive.remove(one)
                dropped.append(Dropped(one, number + 1, failed=told))
        if LEAST <= number + 1 < len(seeds) and len(alive) > 1:
            for lost in _worse(stacked(alive, seeds[: number + 1], answers), level):
                alive.remove(lost.candidate)
                dropped.append(lost)
    return Standing(tuple(alive), tuple(dropped), len(seeds) if alive else 0, ())


def stacked(names: Sequence[str], seeds: Sequence[int], answers: Answers) -> dict[str, np.ndarray]:
    """bool [S, N] of each, in the order of the names."""
    return {one: np.stack([np.asarray(answers[one, seed], dtype=bool) for seed in seeds]) for one in names}


def _worse(arms: Mapping[str, np.ndarray], level: float) -> list[Dropped]:
    leader = max(arms, key=lambda one: arms[one].mean())  # the first of equals
    spread = pooled_spread(list(arms.values()))
    others = [one for one in arms if one != leader]
    found = [paired(arms[leader], arms[one], spread=spread) for one in others]
    adjusted = holm([one.p for one in found])
    return [
        Dropped(one, told.seeds, leader, told.mean, p)
        for one, told, p in zip(others, found, adjusted, strict=True)
        if p < 1 - level
    ]


@dataclass(frozen=True)
class Choice:
    """chosen and most accurate (`best`), who came within one standard error, and each one's distance behind `best`."""

    chosen: str
    best: str
    within: tuple[str, ...]
    behind: dict[str, Paired]


def choose(
    arms: Mapping[str, np.ndarray], costs: Mapping[str, tuple[float, ...]], *, prefer: str = "cheapest"
) -> Choice:
    """The one-standard-error rule, then the preference.

    arms: bool [S, N] of each candidate with the same seeds. costs: what each one's student costs, compared in order. A
    candidate counts as good as the best where the mean difference is no more than its own standard error, over the same
    seeds and images. `cheapest` takes of those the cheapest student, and of equally cheap ones the most accurate; `accurate`
    takes the highest mean, of equals the cheapest.
    Source: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees" (1984), section 3.4.3.
    """
    if prefer not in PREFERENCES:
        raise ValueError(f"no preference {prefer!r}: one of {', '.join(PREFERENCES)}")
    means = {one: float(arm.mean()) for one, arm in arms.items()}
    best = min(arms, key=lambda one: (-means[one], costs[one]))
    spread = pooled_spread(list(arms.values()))
    behind = {one: paired(arms[best], arm, spread=spread) for one, arm in arms.items() if one != best}
    within = tuple(one for one in arms if one == best or behind[one].mean <= behind[one].se)
    chosen = best if prefer == "accurate" else min(within, key=lambda one: (costs[one], -means[one]))
    return Choice(chosen, best, within, behind)
