"""Chance: what is drawn depends on (seed, image, view) alone, and comes as often as it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.augment.build import build_policy
from autokd.augment.counter import keys, splitmix, uniform
from autokd.augment.draw import AUGMENTED, PARTNER, PLAIN, draw, draw_box, draw_crop, keys_of
from autokd.augment.policy import Policy, Step
from autokd.rooms import catalogue

MANY = torch.arange(30_000)
NAMES = sorted(name for name in catalogue("augment.policies"))
# five standard deviations: about one in two million that a sound generator fails one comparison
SIGMAS = 5


def near(count: float, trials: int, chance: float) -> bool:
    return abs(count - trials * chance) <= SIGMAS * math.sqrt(trials * chance * (1 - chance)) + 1e-9


def test_the_generator_is_splitmix64():
    """The first five outputs of the published generator for the seed 1234567."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    made = uniform(np.array([1234567], dtype=np.uint64), [0, 1, 2, 3, 4])[0]
    assert made.tolist() == [(value >> 11) / 2**53 for value in published]
    assert splitmix(np.array([(1234567 + 0x9E3779B97F4A7C15) % 2**64], dtype=np.uint64))[0] == published[0]


def test_uniform_numbers_are_uniform_and_streams_do_not_follow_one_another():
    u = uniform(keys(3, np.arange(20_000), 5), list(range(12)))
    counts = np.stack([np.histogram(u[:, k], bins=20, range=(0, 1))[0] for k in range(12)])
    chi_square = ((counts - 1000) ** 2 / 1000).sum(axis=1)  # 19 degrees of freedom
    assert chi_square.max() < 60
    correlation = np.corrcoef(u.T) - np.eye(12)
    assert abs(correlation).max() < SIGMAS / math.sqrt(20_000)
    neighbours = np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]
    assert abs(neighbours) < SIGMAS / math.sqrt(20_000)


def test_no_two_of_many_keys_are_equal():
    made = [keys(seed, np.arange(5_000), view) for seed in (0, 1, 2**40) for view in (0, 1, 2, 239)]
    assert len(np.unique(np.concatenate(made))) == 12 * 5_000


@pytest.mark.parametrize("name", [n for n in NAMES if build_policy(n).kind == "chain" and build_policy(n).steps])
def test_every_step_of_a_chain_fires_as_often_as_its_probability_says(name):
    policy = build_policy(name)
    draws = draw(policy, MANY, 2, 11)
    assert draws.ops == tuple(step.op for step in policy.steps)
    for column, step in enumerate(policy.steps):
        fired = draws.fired[:, column]
        assert near(int(fired.sum()), len(MANY), step.probability), f"{name} step {column + 1}"
        if step.sign and step.magnitude:
            positive = int((draws.magnitude[fired, column] > 0).sum())
            assert near(positive, int(fired.sum()), 0.5), f"the sign of {name} step {column + 1}"
        if step.choices:
            for choice in set(step.choices):
                chance = step.choices.count(choice) / len(step.choices)
                assert near(int((draws.magnitude[:, column] == choice).sum()), len(MANY), chance)
        else:
            assert set(draws.magnitude[:, column].abs().unique().tolist()) == {step.magnitude or 0.0}


@pytest.mark.parametrize("name", ["jda_cifar100", "jda_imagenet"])
def test_steps_fire_and_choose_signs_independently_of_one_another(name):
    draws = draw(build_policy(name, {"probability": 0.4}), MANY, 0, 5)
    events = [draws.fired.double()]
    signed = [k for k, step in enumerate(build_policy(name).steps) if step.sign and step.magnitude]
    events.append((draws.magnitude[:, signed] > 0).double())
    correlation = np.corrcoef(torch.cat(events, dim=1).numpy().T)
    np.fill_diagonal(correlation, 0)
    assert abs(correlation).max() < SIGMAS / math.sqrt(len(MANY))


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0), (1.0, 14)])
def test_probabilities_zero_and_one_are_never_and_always(probability, expected):
    fired = draw(build_policy("jda_cifar100", {"probability": probability}), MANY, 0, 0).fired
    assert (fired.sum(dim=1) == expected).all()


def test_the_published_chances_of_jda_on_cifar100():
    """METHODS section 2: 3.6 effective ops on average; nothing effective fires in 0.7^12 = 1.4 % of the views."""
    policy = build_policy("jda_cifar100")
    effective = [
        k for k, step in enumerate(policy.steps) if (step.op, step.magnitude) not in {("posterize", 8), ("shear_y", 0)}
    ]
    fired = draw(policy, MANY, 0, 0).fired[:, effective].sum(dim=1)
    assert len(effective) == 12
    assert near(int((fired == 0).sum()), len(MANY), 0.7**12)
    assert abs(float(fired.double().mean()) - 3.6) < SIGMAS * math.sqrt(12 * 0.3 * 0.7 / len(MANY))


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_a_slot_picks_every_op_and_every_level_as_often(name):
    policy = build_policy(name)
    draws = draw(policy, MANY, 1, 4)
    count = len(policy.steps)
    assert len(draws.ops) == count * policy.picks
    slots = draws.fired.view(len(MANY), policy.picks, count)
    assert (slots.sum(dim=2) == 1).all()
    for slot in range(policy.picks):
        for op, step in enumerate(policy.steps):
            fired = slots[:, slot, op]
            assert near(int(fired.sum()), len(MANY), 1 / count)
            magnitude = draws.magnitude[fired, slot * count + op]
            if step.sign:
                assert near(int((magnitude > 0).sum()), int((magnitude != 0).sum()), 0.5)
            for choice in set(step.choices):
                chance = step.choices.count(choice) / len(step.choices)
                assert near(int((magnitude.abs() == choice).sum()), len(magnitude), chance)
    if policy.picks == 2:
        same = (slots[:, 0] & slots[:, 1]).any(dim=1).sum()  # with replacement: one in fourteen
        assert near(int(same), len(MANY), 1 / count)


def parts(draws):
    tensors = [draws.fired, draws.magnitude, draws.place]
    if draws.mix is not None:
        tensors += [draws.mix.fired, draws.mix.share, draws.mix.place, draws.mix.partner]
    return tensors


@given(data=st.data(), name=st.sampled_from(NAMES), seed=st.integers(0, 2**63 - 1), view=st.integers(0, 10**6))
def test_a_draw_does_not_depend_on_the_batch_or_its_order(data, name, seed, view):
    policy = build_policy(name)
    images = data.draw(st.lists(st.integers(0, 10**9), min_size=1, max_size=12))
    together = parts(draw(policy, torch.tensor(images), view, seed))
    for row, image in enumerate(images):
        alone = parts(draw(policy, torch.tensor([image]), view, seed))
        assert all(torch.equal(a[row], b[0]) for a, b in zip(together, alone, strict=True))
    views = torch.arange(len(images)) + view
    mixed = parts(draw(policy, torch.tensor(images), views, seed))
    last = parts(draw(policy, torch.tensor(images[-1:]), view + len(images) - 1, seed))
    assert all(torch.equal(a[-1], b[0]) for a, b in zip(mixed, last, strict=True))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_a_draw_does_not_depend_on_the_integers_dtype(dtype):
    policy, images = build_policy("jda_cifar100"), torch.arange(100)
    wide, narrow = draw(policy, images, 3, 1), draw(policy, images.to(dtype), torch.full((100,), 3, dtype=dtype), 1)
    assert all(torch.equal(a, b) for a, b in zip(parts(wide), parts(narrow), strict=True))


def test_other_seeds_views_and_images_are_drawn_otherwise():
    policy, images = build_policy("jda_cifar100", {"probability": 0.5}), torch.arange(2_000)
    one = draw(policy, images, 0, 0).fired
    for other in (
        draw(policy, images, 1, 0).fired,
        draw(policy, images, 0, 1).fired,
        draw(policy, images + 1, 0, 0).fired,
    ):
        assert near(int((one == other).sum()), one.numel(), 0.5)
        assert not torch.equal(one, other)


def test_seed_and_view_are_not_interchangeable():
    policy, images = build_policy("jda_cifar100"), torch.arange(200)
    assert not torch.equal(draw(policy, images, 1, 2).fired, draw(policy, images, 2, 1).fired)
    assert not torch.equal(
        draw(policy, torch.full((200,), 1), 7, 0).fired, draw(policy, torch.full((200,), 7), 1, 0).fired
    )


def test_crops_and_flips_of_the_three_streams_differ_and_are_uniform():
    made = {stream: draw_crop(keys_of(MANY, 0, 0), stream, padding=4, flip=True) for stream in (PLAIN, AUGMENTED, PARTNER)}
    for place in made.values():
        assert near(int(place.flip.sum()), len(MANY), 0.5)
        for offset in range(-4, 5):
            assert near(int((place.top == offset).sum()), len(MANY), 1 / 9)
            assert near(int((place.left == offset).sum()), len(MANY), 1 / 9)
        assert int(place.top.abs().max()) == 4 and int(place.left.abs().max()) == 4
    assert near(int((made[PLAIN].top == made[AUGMENTED].top).sum()), len(MANY), 1 / 9)
    assert near(int((made[PARTNER].left == made[AUGMENTED].left).sum()), len(MANY), 1 / 9)
    still = draw_crop(keys_of(MANY, 0, 0), PLAIN, padding=0, flip=False)
    assert not still.flip.any() and not still.top.any() and not still.left.any()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 40), (20, 100)])
def test_boxes_lie_inside_and_have_the_published_area_and_shape(height, width):
    box = draw_box(keys_of(MANY, 0, 0), PLAIN, height=height, width=width, flip=True)
    assert box.height is not None and box.width is not None
    assert int(box.top.min()) >= 0 and int((box.top + box.height).max()) <= height
    assert int(box.left.min()) >= 0 and int((box.left + box.width).max()) <= width
    assert int(box.height.min()) >= 1 and int(box.width.min()) >= 1
    area = (box.height * box.width).double() / (height * width)
    shape = box.width.double() / box.height.double()
    slack = 1.5 / min(height, width)  # sides are whole pixels
    assert float(area.max()) <= 1 and float(area.min()) >= 0.08 - 3 * slack
    assert float(shape.min()) > 3 / 4 * (1 - 6 * slack) and float(shape.max()) < 4 / 3 * (1 + 6 * slack)
    if height == width:
        small = (area < 0.54).double().mean()  # about uniform from 0.08 to 1, less those that did not fit
        assert 0.5 < float(small) < 0.62


def test_a_policy_of_no_steps_draws_nothing():
    draws = draw(Policy("empty"), torch.arange(5), 0, 0)
    assert draws.ops == () and draws.fired.shape == (5, 0)


def test_one_step_does_not_change_what_another_draws():
    first = Step("rotate", 10.0, True, 0.5)
    alone = draw(Policy("a", (first,)), MANY[:500], 0, 0)
    beside = draw(Policy("b", (first, Step("cutout", 0.5, probability=0.5))), MANY[:500], 0, 0)
    assert torch.equal(alone.fired[:, 0], beside.fired[:, 0])
    assert torch.equal(alone.magnitude[:, 0], beside.magnitude[:, 0])
