"""CutMix and MixUp: the label's share is the pixels' share, and shares follow the Beta distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.augment.beta import quantile
from autokd.augment.build import build_policy
from autokd.augment.draw import Mix, draw
from autokd.augment.mix import cutmix, mixup
from autokd.augment.views import Views

MANY = torch.arange(20_000)


def coded(count: int, size: tuple[int, int]) -> torch.Tensor:
    """Image k is level k + 1 everywhere, so that each pixel of a view says where it comes from."""
    return (torch.arange(count, dtype=torch.uint8) + 1)[:, None, None, None].expand(count, 3, *size).contiguous()


def views(name, count=40, size=(32, 32), **settings):
    policy = build_policy(name, settings)
    return Views(coded(count, size), torch.arange(count), policy, padding=0, flip=True, seed=3)


@pytest.mark.parametrize("size", [(32, 32), (9, 20), (1, 1)])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_reported_share_of_cutmix_is_the_fraction_of_own_pixels_exactly(alpha, size):
    made = views("cutmix", size=size, alpha=alpha)
    rows = torch.arange(40)
    for number in range(20):
        view = made.render(rows, number, True)
        own = view.pixels == (rows + 1)[:, None, None, None]
        other = view.pixels == (view.partner + 1)[:, None, None, None]
        assert (own ^ other).all()
        assert (view.partner != rows).all()
        assert torch.equal(view.share, (own[:, 0].sum(dim=(1, 2)) / (size[0] * size[1])).float())


def test_what_is_pasted_is_one_box_at_the_partners_own_place():
    generator = torch.Generator().manual_seed(0)
    images, partners = (
        torch.randint(0, 256, (30, 3, 16, 24), generator=generator, dtype=torch.uint8) for _ in range(2)
    )
    share = torch.rand(30, generator=generator, dtype=torch.float64)
    place = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    mix = Mix("cutmix", torch.ones(30, dtype=torch.bool), share, place, torch.zeros(30, dtype=torch.float64))
    made, _ = cutmix(images, partners, mix)
    for row in range(30):
        # arXiv:1905.04899: width W sqrt(1 - share), centre uniform, clipped at the image
        cut_h, cut_w = (int(side * np.sqrt(1 - float(share[row]))) for side in (16, 24))
        y, x = int(place[row, 0] * 16), int(place[row, 1] * 24)
        expected = images[row].clone()
        box = (
            slice(None),
            slice(max(y - cut_h // 2, 0), y + cut_h // 2),
            slice(max(x - cut_w // 2, 0), x + cut_w // 2),
        )
        expected[box] = partners[row][box]
        assert torch.equal(made[row], expected)


def test_mixup_is_the_weighted_mean_and_reports_its_weight():
    made = views("mixup", alpha=1.0)
    rows = torch.arange(40)
    for number in range(5):
        view = made.render(rows, number, True)
        share = view.share.double()
        exact = share * (rows + 1) + (1 - share) * (view.partner + 1)
        expected = (exact + 0.5).floor().to(torch.uint8)
        assert torch.equal(view.pixels, expected[:, None, None, None].expand_as(view.pixels))
        assert (view.partner != rows).all()


@given(share=st.floats(0, 1), own=st.integers(0, 255), other=st.integers(0, 255))
def test_mixup_of_two_levels_stays_between_them_and_near_the_drawn_share(share, own, other):
    one = torch.full((1, 1, 1, 1), own, dtype=torch.uint8)
    two = torch.full((1, 1, 1, 1), other, dtype=torch.uint8)
    drawn = torch.tensor([share], dtype=torch.float64)
    mix = Mix("mixup", torch.tensor([True]), drawn, torch.zeros(1, 2), torch.zeros(1))
    level, reported = mixup(one, two, mix)
    assert min(own, other) <= int(level) <= max(own, other)
    assert abs(float(reported) - share) <= 1 / 512
    assert abs(int(level) - (share * own + (1 - share) * other)) <= 0.5 + abs(own - other) / 512 + 1e-9


@pytest.mark.parametrize("name", ["cutmix", "mixup"])
def test_a_mix_that_does_not_fire_is_the_image_itself_with_its_whole_label(name):
    made = views(name, probability=0.0)
    view = made.render(torch.arange(40), 1, True)
    assert (view.share == 1).all()
    assert torch.equal(view.pixels, coded(40, (32, 32)))


@pytest.mark.parametrize("name", ["cutmix", "mixup"])
@pytest.mark.parametrize("probability", [0.25, 0.5, 0.75])
def test_a_mix_fires_as_often_as_its_probability_says(name, probability):
    fired = int(draw(build_policy(name, {"probability": probability}), MANY, 0, 0).mix.fired.sum())
    assert abs(fired - 20_000 * probability) < 5 * np.sqrt(20_000 * probability * (1 - probability))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 1.5, 2.0, 2.1, 4.0, 8.0, 32.0, 1e3, 1e6])
def test_the_quantiles_of_the_beta_distribution_are_scipys(alpha):
    stats = pytest.importorskip("scipy.stats")
    u = np.concatenate([np.linspace(0.001, 0.999, 501), [1e-6, 1e-4, 1 - 1e-6]])
    np.testing.assert_allclose(quantile(u, alpha), stats.beta(alpha, alpha).ppf(u), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0, 20.0])
def test_shares_follow_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats")
    share = draw(build_policy("cutmix", {"alpha": alpha}), MANY, 0, 0).mix.share.numpy()
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 1e-4


def test_quantiles_are_symmetric_and_beta_one_is_uniform():
    u = np.linspace(0, 1, 101)
    for alpha in (0.3, 1.0, 5.0):
        np.testing.assert_allclose(quantile(u, alpha) + quantile(1 - u, alpha), 1, atol=1e-9)
    assert np.array_equal(quantile(u, 1.0), u)
    t = quantile(u, 2.0)
    np.testing.assert_allclose(3 * t**2 - 2 * t**3, u, atol=1e-6)  # the distribution function of Beta(2, 2)


def test_every_other_image_is_as_likely_a_partner():
    made = views("mixup", count=5)
    rows, numbers = torch.arange(5).repeat(2_000), torch.arange(2_000).repeat_interleave(5)
    partner = made.render(rows, numbers, True).partner
    counts = torch.bincount(rows * 5 + partner, minlength=25).view(5, 5)
    assert (counts.diagonal() == 0).all()
    others = counts[~torch.eye(5, dtype=torch.bool)]
    assert (others - 500).abs().max() < 5 * np.sqrt(2_000 * 0.25 * 0.75)


def test_a_mixed_view_does_not_depend_on_the_batch():
    made = views("cutmix")
    whole = made.render(torch.arange(40), 7, True)
    for row in (0, 13, 39):
        alone = made.render(torch.tensor([row]), 7, True)
        assert torch.equal(alone.pixels[0], whole.pixels[row])
        assert alone.share == whole.share[row] and alone.partner == whole.partner[row]
