"""The race and the choice: who is dropped and who is not, and what the choice is worth on made tables of known truth."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autokd.select.race import choose, stacked, standing

SEEDS = [1, 2, 3, 4, 5]


def answers_of(shares: dict[str, float], images: int = 1000, seed: int = 0) -> dict[tuple[str, int], np.ndarray]:
    """Candidates that are right on their share of the images, each image by itself."""
    random = np.random.default_rng(seed)
    return {(one, s): random.random(images) < share for one, share in shares.items() for s in SEEDS}


def test_a_race_goes_round_by_round():
    whole = answers_of({"a": 0.8, "b": 0.8})
    assert standing(["a", "b"], SEEDS, {}).wanted == (("a", 1), ("b", 1))
    some = {key: whole[key] for key in [("a", 1), ("b", 1), ("b", 2)]}
    told = standing(["a", "b"], SEEDS, some)
    assert (told.rounds, told.wanted, told.over) == (1, (("a", 2),), False)
    told = standing(["a", "b"], SEEDS, whole)
    assert (told.rounds, told.wanted, told.over) == (5, (), True)


def test_one_seed_drops_nobody_and_a_clear_loser_is_dropped_soon_after():
    whole = answers_of({"good": 0.9, "bad": 0.5, "fair": 0.9})
    first = {key: value for key, value in whole.items() if key[1] == 1}
    assert standing(["good", "bad", "fair"], SEEDS, first).alive == ("good", "bad", "fair")
    told = standing(["good", "bad", "fair"], SEEDS, whole)
    assert told.alive == ("good", "fair")
    (out,) = told.dropped
    assert (out.candidate, out.leader, out.failed) == ("bad", "good", "")
    assert 2 <= out.seeds < 5
    assert out.p is not None and out.p < 0.05
    assert out.behind == pytest.approx(0.4, abs=0.05)
    third = [key for key in whole if key == ("bad", out.seeds + 1)]
    assert standing(["good", "bad", "fair"], SEEDS, {k: v for k, v in whole.items() if k not in third}) == told  # not asked


@given(st.integers(0, 10**6), st.floats(0.1, 0.95))
@settings(max_examples=20)
def test_identical_candidates_are_never_dropped(seed: int, share: float):
    random = np.random.default_rng(seed)
    made = {s: random.random(200) < share for s in SEEDS}
    told = standing(["a", "b", "c"], SEEDS, {(one, s): made[s] for one in "abc" for s in SEEDS})
    assert told.alive == ("a", "b", "c") and not told.dropped


@given(st.permutations(range(100)))
@settings(max_examples=10)
def test_the_order_of_the_images_does_not_matter(order: list[int]):
    whole = answers_of({"a": 0.9, "b": 0.6}, images=100)
    assert standing("ab", SEEDS, whole) == standing("ab", SEEDS, {key: value[order] for key, value in whole.items()})


def test_a_candidate_whose_training_failed_is_out_with_the_reason():
    made = {**answers_of({"a": 0.8, "b": 0.8}), ("b", 2): "the loss is not finite at step 7"}
    told = standing(["a", "b"], SEEDS, made)
    assert told.alive == ("a",)
    assert (told.dropped[0].failed, told.dropped[0].seeds) == ("the loss is not finite at step 7", 2)
    every = standing(["b"], SEEDS, {("b", 1): "broken"})
    assert (every.alive, every.over, every.rounds) == ((), True, 0)


def arms(**means: float) -> dict[str, np.ndarray]:
    """Arms of 5 seeds and 400 images that differ in whole blocks of images, the same for every seed."""
    return {name: np.tile(np.arange(400) < mean * 400, (5, 1)) for name, mean in means.items()}


def test_the_cheapest_of_those_within_one_standard_error_is_chosen():
    """a is right on 320 images, b on 319, c on 280: b is 1 / 400 behind, with a standard error of about as much (one image
    of 400 that tells them apart: 0.0025, and 0.0025 is the distance). c is 40 images behind, and its error is 0.015."""
    made = arms(a=0.8, b=0.7975, c=0.7)
    told = choose(made, {"a": (3.0,), "b": (2.0,), "c": (1.0,)})
    assert told.best == "a"
    assert told.behind["b"].mean == pytest.approx(0.0025)
    # between images: variance of 400 values of which one is 1, by 400
    assert told.behind["b"].se == pytest.approx(sqrt((1 / 400) * (399 / 400) / 399), rel=1e-9)
    assert told.behind["c"].se == pytest.approx(sqrt(0.1 * 0.9 / 399), rel=1e-9)
    assert told.within == ("a", "b") and told.chosen == "b"


def test_accuracy_decides_where_it_is_preferred_and_among_equally_cheap_ones():
    made = arms(a=0.8, b=0.7975)
    assert choose(made, {"a": (3.0,), "b": (2.0,)}, prefer="accurate").chosen == "a"
    assert choose(made, {"a": (2.0,), "b": (2.0,)}).chosen == "a"
    assert choose(arms(a=0.8, b=0.8), {"a": (2.0,), "b": (1.0,)}, prefer="accurate").best == "b"  # equals: the cheapest
    with pytest.raises(ValueError, match="no preference"):
        choose(made, {"a": (1.0,), "b": (1.0,)}, prefer="fastest")


class Table:
    """A search of 20 trials with known truth: accuracy over all images and seeds, of which a trial shows one draw."""

    def __init__(self, number: int, images: int = 400) -> None:
        self.random = np.random.default_rng([5, number])
        self.quality = 1 + self.random.normal(0, 0.1, 20)
        self.ease = self.random.normal(0, 1, images)
        self.liking = self.random.normal(0, 0.5, (20, images))
        spread = sqrt(1 + 0.25 + 0.49 + 0.0144)
        self.truth = np.array([(1 + erf(q / spread / sqrt(2))) / 2 for q in self.quality])

    def train(self, trial: int) -> np.ndarray:
        luck = self.random.normal(0, 0.12) + self.random.normal(0, 0.7, len(self.ease))
        return self.quality[trial] + self.ease + self.liking[trial] + luck > 0


@pytest.mark.slow
@pytest.mark.parametrize("prefer", ["cheapest", "accurate"])
def test_the_choice_is_no_worse_than_the_best_of_the_search_and_the_best_is_hardly_ever_dropped(prefer: str):
    ours, naive, lost = [], [], 0
    for number in range(80):
        table = Table(number)
        search = np.array([table.train(trial).mean() for trial in range(20)])
        top = [str(trial) for trial in np.argsort(-search, kind="stable")[:4]]
        answers: dict[tuple[str, int], np.ndarray] = {}
        while not (told := standing(top, SEEDS, answers)).over:
            answers |= {(one, seed): table.train(int(one)) for one, seed in told.wanted}
        costs = {one: (float(table.random.random()),) for one in top}
        chosen = choose(stacked(told.alive, SEEDS, answers), costs, prefer=prefer).chosen
        ours.append(table.truth.max() - table.truth[int(chosen)])
        naive.append(table.truth.max() - table.truth[int(top[0])])
        lost += max(top, key=lambda one: table.truth[int(one)]) not in told.alive
    assert np.mean(ours) <= np.mean(naive)
    assert lost <= 10  # 5 % of 80 are 4; a binomial of 5 % stays at 10 or below with 99.7 %
