"""Rendered ahead or one by one, a step trains on the same views."""

from __future__ import annotations

import pytest
import torch

from autokd.augment.build import build_policy
from autokd.augment.views import Views
from autokd.train.ahead import Ahead
from autokd.train.batches import Division, Order

STEPS = 45


def views(policy: str) -> Views:
    pixels = torch.randint(0, 256, (200, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Views(pixels, torch.arange(200) * 7, build_policy(policy, {}), padding=2, flip=True, seed=3)


@pytest.mark.parametrize("policy", ["jda_cifar100", "cutmix", "none"])
@pytest.mark.parametrize("division", [Division(16, 16), Division(24, 8), Division(0, 32), Division(32, 0), Division(8, 24)])
def test_every_step_has_its_own_views_whatever_the_order_of_asking(policy, division):
    made, order = views(policy), Order(200, division.images, 5)
    ahead = Ahead(made, order, division, STEPS)
    assert ahead.block > 1
    for step in (0, 1, 20, 44, 3, 45, 46):  # the last two lie beyond the training
        batch = order.step(step)
        counts = {False: division.plain, True: division.augmented}
        parts = ahead.step(step)
        assert [augmented for _, augmented, _ in parts] == [flag for flag in (False, True) if counts[flag]]
        for part, augmented, view in parts:
            rows, passes = batch.rows[: counts[augmented]], batch.passes[: counts[augmented]]
            alone = made.render(rows, passes, augmented)
            assert torch.equal(part.rows, rows) and torch.equal(part.passes, passes)
            assert torch.equal(view.pixels, alone.pixels)
            assert (view.share is None) == (alone.share is None)
            if alone.share is not None:
                assert torch.equal(view.share, alone.share) and torch.equal(view.partner, alone.partner)


def test_the_workers_of_a_trial_divide_each_batch():
    made, order, division = views("none"), Order(200, 16, 5), Division(16, 16)
    whole = Ahead(made, order, division, STEPS).step(7)
    halves = [Ahead(made, order, division, STEPS, rank=rank, world=2).step(7) for rank in (0, 1)]
    for place, (part, _, view) in enumerate(whole):
        for rank, half in enumerate(halves):
            assert torch.equal(half[place][0].rows, part.rows[rank::2])
            assert torch.equal(half[place][2].pixels, view.pixels[rank::2])
