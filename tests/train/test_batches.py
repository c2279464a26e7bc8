import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.train.batches import Order, divide


def test_at_one_half_every_image_stands_twice_in_the_batch():
    division = divide(128, 0.5)
    assert (division.plain, division.augmented, division.images) == (64, 64, 64)


@given(st.integers(1, 512), st.floats(0, 1))
def test_the_share_of_augmented_views_is_the_ratio_to_one_view(batch, ratio):
    division = divide(batch, ratio)
    assert division.plain + division.augmented == batch
    assert abs(division.augmented - ratio * batch) <= 0.5
    assert division.images == max(division.plain, division.augmented)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 5))
def test_each_pass_reads_every_image_once(total, images, seed):
    order = Order(total, images, seed)
    steps = [order.step(number) for number in range(3 * total // images + 2)]
    rows = torch.cat([step.rows for step in steps])
    passes = torch.cat([step.passes for step in steps])
    for one in range(3):
        assert sorted(rows[passes == one].tolist()) == list(range(total))


def test_a_step_is_the_same_whoever_asks_and_when():
    late = Order(50, 16, seed=3)
    early = Order(50, 16, seed=3)
    for number in range(20):
        early.step(number)
    assert torch.equal(late.step(17).rows, early.step(17).rows)
    assert not torch.equal(Order(50, 16, seed=4).step(17).rows, late.step(17).rows)
