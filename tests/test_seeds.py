import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.seeds import LARGEST, PURPOSES, SCHEME, derived, scheme_of

SEEDS = st.integers(0, LARGEST)
NUMBERS = st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=20, unique=True)


@given(seed=SEEDS, numbers=NUMBERS)
def test_no_two_trainings_of_a_run_share_a_seed(seed, numbers):
    made = [derived(seed, purpose, number) for purpose in PURPOSES for number in [*range(20), *numbers]]
    assert len(set(made)) == len(PURPOSES) * len({*range(20), *numbers})


@given(one=SEEDS, other=SEEDS, numbers=NUMBERS)
def test_two_purposes_never_meet_whatever_the_seeds_and_none_meets_a_small_seed(one, other, numbers):
    made = {purpose: {derived(seed, purpose, n) for seed in (one, other) for n in numbers} for purpose in PURPOSES}
    assert all(not made[a] & made[b] for a, b in combinations(PURPOSES, 2))
    assert all(2**32 <= seed <= LARGEST for some in made.values() for seed in some)


def test_runs_of_neighbouring_seeds_share_no_training():
    runs = [{derived(seed, purpose, n) for purpose in PURPOSES for n in range(300)} for seed in range(30)]
    assert len(set().union(*runs)) == 30 * 300 * len(PURPOSES)


def test_the_same_seed_comes_out_on_every_machine():
    # MurmurHash3's finaliser of 0 is 0: the place whose sum wraps to 0 is the range's own beginning
    from hashlib import blake2b

    start = int.from_bytes(blake2b(b"7", digest_size=4).digest())
    assert derived(7, "search", 2**32 - start) == 2**32
    assert derived(7, "confirm", 2**32 - start) == 3 * 2**32


def test_a_number_or_a_purpose_that_is_none_is_refused():
    for number in (-1, 2**32):
        with pytest.raises(ValueError, match=r"one of 2\^32"):
            derived(0, "search", number)
    with pytest.raises(ValueError, match="not in tuple"):
        derived(0, "party", 0)


def test_a_run_tells_how_it_derives_its_seeds():
    assert scheme_of([]) == scheme_of([{"event": "begin", "seeds": SCHEME}]) == SCHEME
    assert scheme_of([{"event": "begin", "seed": 3}]) == 0


def test_the_page_names_every_purpose_with_its_range():
    page = (Path(__file__).parents[1] / "docs" / "seeds.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\w+) \| [^|]+ \| (\d) x 2\^32 to (\d) x 2\^32 \|$", page, re.MULTILINE)
    assert [name for name, *_ in told] == list(PURPOSES)
    for name, low, high in told:
        assert all(int(low) * 2**32 <= derived(5, name, number) < int(high) * 2**32 for number in range(50))
