from __future__ import annotations

import pytest

from autokd.errors import AutokdError
from autokd.finalize.external import Standing, named, ranking


def test_the_ranking_stays_where_every_pair_keeps_its_order():
    told = ranking("photos", [Standing("big", 0.9, 0.7, 0.6, 0.8), Standing("small", 0.8, 0.5, 0.4, 0.6)])
    assert told == {"changes": False, "text": "photos: the ranking is that of the test split (big > small)"}


def test_a_pair_that_changes_places_is_told_with_whether_it_may_be_chance():
    near = ranking("photos", [Standing("big", 0.9, 0.5, 0.4, 0.6), Standing("small", 0.8, 0.55, 0.45, 0.65)])
    assert near["changes"] and "small > big there, big > small on the test split" in near["text"]
    assert near["text"].endswith("their intervals overlap, so it may be chance")
    clear = ranking("photos", [Standing("big", 0.9, 0.3, 0.2, 0.4), Standing("small", 0.8, 0.6, 0.5, 0.7)])
    assert clear["text"].endswith("their intervals do not overlap")


def test_equal_scores_are_no_change_and_are_told_as_equal():
    told = ranking("photos", [Standing("a", 0.9, 0.5, 0.4, 0.6), Standing("b", 0.9, 0.6, 0.5, 0.7)])
    assert told["changes"] is False and "a = b" in told["text"]


def test_one_student_has_no_ranking():
    assert ranking("photos", [Standing("a", 0.9, 0.5, 0.4, 0.6)])["changes"] is None


def test_outside_sets_are_told_by_name():
    assert named(["a=x/y", "b=z=1"]) == {"a": "x/y", "b": "z=1"}
    for words, fault in (
        (["photos"], "'photos' is not NAME=PATH"),
        (["=x"], "'=x' is not NAME=PATH"),
        (["a=x", "a=y"], "called 'a'"),
    ):
        with pytest.raises(AutokdError) as found:
            named(words)
        assert fault in str(found.value)
