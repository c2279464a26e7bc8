from __future__ import annotations

import json
from fractions import Fraction
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.data.splits import split
from autokd.errors import AutokdError

sizes = st.lists(st.integers(1, 60), min_size=1, max_size=8)
shares = st.integers(0, 90).map(lambda percent: percent / 100)


def labelled(counts, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    return labels


def halves_up(share, n):
    return int(Fraction(str(share)) * n + Fraction(1, 2))


def test_counts_worked_by_hand():
    # 7, 5 and 3 of 15; a third is 5: quotas 2.33, 1.67, 1; floors 2, 1, 1; the missing one goes to the remainder 0.67
    labels = labelled([7, 5, 3])
    train, held = split(labels, validation=0.3334, seed=0)
    assert np.bincount(labels[held]).tolist() == [2, 2, 1]
    assert np.bincount(labels[train]).tolist() == [5, 3, 2]


def test_rows_worked_from_the_documented_order():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    keys = [int(word) for word in np.random.PCG64(3).random_raw(8)]
    held = {
        row for kind in (0, 1) for row in sorted((r for r in range(8) if labels[r] == kind), key=keys.__getitem__)[:1]
    }
    assert set(split(labels, validation=0.25, seed=3)[1].tolist()) == held


def test_the_rows_stay_the_same_for_ever():
    # a tripwire: these digests are of what the first release gave; changing them changes everyone's validation split
    labels = np.repeat(np.arange(100), 500)
    train, held = split(labels, validation=0.1, seed=0)
    few, _ = split(labels, validation=0.1, seed=0, fraction=0.1)
    told = [sha256(rows.astype("<i8").tobytes()).hexdigest()[:16] for rows in (train, held, few)]
    assert told == ["2ba4859de655f8c6", "62eddbc609bace62", "cb441efeca7cb603"]


def test_cifar_sized_rows_are_those_of_a_plain_reference():
    keys = [int(word) for word in np.random.PCG64(0).random_raw(50000)]
    ordered = [sorted(range(first, first + 500), key=keys.__getitem__) for first in range(0, 50000, 500)]
    train, held = split(np.repeat(np.arange(100), 500), validation=0.1, seed=0)
    few, _ = split(np.repeat(np.arange(100), 500), validation=0.1, seed=0, fraction=0.1)
    assert held.tolist() == sorted(row for rows in ordered for row in rows[:50])
    assert train.tolist() == sorted(row for rows in ordered for row in rows[50:])
    assert few.tolist() == sorted(row for rows in ordered for row in rows[50:95])


def test_cifar_sized_counts_are_equal_for_every_class():
    labels = labelled([500] * 100)
    train, held = split(labels, validation=0.1, seed=1, fraction=0.1)
    assert set(np.bincount(labels[held])) == {50}
    assert set(np.bincount(labels[train])) == {45}


@given(counts=sizes, validation=shares, seed=st.integers(0, 2**40))
def test_the_two_sides_share_nothing_and_miss_nothing(counts, validation, seed):
    labels = labelled(counts, seed)
    expected = halves_up(validation, len(labels))
    if (validation > 0 and not expected) or expected == len(labels):
        with pytest.raises(AutokdError):
            split(labels, validation=validation, seed=seed)
        return
    train, held = split(labels, validation=validation, seed=seed)
    assert len(held) == expected
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all() and (np.diff(held) > 0).all()
    for kind, count in enumerate(counts):  # within one of the exact share: the quota rule
        assert abs(int((labels[held] == kind).sum()) - Fraction(expected * count, len(labels))) < 1


@given(counts=sizes, low=st.integers(1, 100), high=st.integers(1, 100), seed=st.integers(0, 2**40))
def test_a_smaller_fraction_is_part_of_a_larger_one(counts, low, high, seed):
    labels = labelled(counts, seed)
    low, high = min(low, high) / 100, max(low, high) / 100
    if not halves_up(low, len(labels)):
        return
    small, held = split(labels, validation=0, seed=seed, fraction=low)
    large, _ = split(labels, validation=0, seed=seed, fraction=high)
    assert set(small) <= set(large) and not len(held)
    for rows, share in ((small, low), (large, high)):
        assert len(rows) == halves_up(share, len(labels))
        for kind, count in enumerate(counts):
            assert abs(int((labels[rows] == kind).sum()) - Fraction(len(rows) * count, len(labels))) < 1


@given(counts=st.lists(st.integers(5, 40), min_size=2, max_size=6), seed=st.integers(0, 1000))
def test_the_validation_split_does_not_depend_on_the_fraction(counts, seed):
    labels = labelled(counts)
    train, held = split(labels, validation=0.2, seed=seed)
    few, same = split(labels, validation=0.2, seed=seed, fraction=0.5)
    assert np.array_equal(held, same) and set(few) <= set(train)


def test_many_rare_classes_are_not_lost_to_a_common_one():
    labels = labelled([1000] + [4] * 50)
    rows, _ = split(labels, validation=0, seed=0, fraction=0.1)
    assert (labels[rows] == 0).sum() in (100, 101)
    assert len(np.unique(labels[rows])) in (20, 21)


def test_another_seed_gives_other_rows():
    labels = labelled([50] * 4)
    assert not np.array_equal(split(labels, validation=0.5, seed=0)[1], split(labels, validation=0.5, seed=1)[1])


def test_a_share_is_the_decimal_that_was_typed():
    # 0.29 x 50 is 14.5 in decimals and 14.499999999999998 in binary; halves go up
    assert len(split(np.zeros(50, int), validation=0.29, seed=0)[1]) == 15


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"validation": 1.0}, "below 1"),
        ({"validation": -0.1}, "from 0"),
        ({"validation": float("nan")}, "validation"),
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 1.5}, "fraction"),
        ({"seed": -1}, "seed"),
        ({"validation": 0.001}, "no image to validate on"),
        ({"validation": 0.99}, "left to train on"),
        ({"fraction": 0.001}, "keeps none"),
    ],
)
def test_what_cannot_be_split_is_told(arguments, told):
    with pytest.raises(AutokdError, match=told):
        split(np.arange(10) % 2, **({"validation": 0.2, "seed": 0} | arguments))


class TestASplitFile:
    labels = np.arange(20) % 2

    def read(self, tmp_path, told, **more):
        path = tmp_path / "split.json"
        path.write_text(told if isinstance(told, str) else json.dumps(told))
        return split(self.labels, validation=0.1, seed=0, split_file=path, **more)

    def test_names_the_rows(self, tmp_path):
        train, held = self.read(tmp_path, {"train": [7, 3, 5], "validation": [0, 19]})
        assert train.tolist() == [3, 5, 7] and held.tolist() == [0, 19]
        assert train.dtype == held.dtype == np.int64

    def test_its_training_rows_are_thinned_by_the_fraction(self, tmp_path):
        train, held = self.read(tmp_path, {"train": list(range(16)), "validation": [16, 17]}, fraction=0.5)
        assert np.bincount(self.labels[train]).tolist() == [4, 4] and held.tolist() == [16, 17]

    @pytest.mark.parametrize(
        ("told", "fault"),
        [
            ({"train": [0, 1, 2], "validation": [2, 1, 5]}, "2 rows are in train and in validation: 1, 2"),
            ({"train": [0, 20], "validation": [1]}, "1 rows of train are not in the training part: 20"),
            ({"train": [0], "validation": [-1]}, "validation are not in the training part: -1"),
            ({"train": [0, 0], "validation": [1]}, "more than once: 0"),
            ({"train": [0.5], "validation": [1]}, "not a list of whole numbers"),
            ({"train": [True], "validation": [1]}, "not a list of whole numbers"),
            ({"train": {"0": 1}, "validation": [1]}, "not a list of whole numbers"),
            ({"train": [0]}, "not a split file"),
            ({"train": [0], "val": [1]}, "not a split file"),
            ([0, 1], "not a split file"),
            ("{", "not a split file"),
            ({"train": [], "validation": [1]}, "left to train on"),
        ],
    )
    def test_that_does_not_fit_is_told_once(self, tmp_path, told, fault):
        with pytest.raises(AutokdError, match=fault) as caught:
            self.read(tmp_path, told)
        if "left" not in fault:
            assert caught.value.where.endswith("split.json")

    def test_that_is_missing_is_told(self, tmp_path):
        with pytest.raises(AutokdError, match="no such split file"):
            split(self.labels, validation=0.1, seed=0, split_file=tmp_path / "none.json")
