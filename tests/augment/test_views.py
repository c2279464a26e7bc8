"""Views: which crop and flip each image gets, found from the pixels alone, and what never touches a plain view."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import pictures

from autokd.augment.build import build_policy
from autokd.augment.policy import Policy
from autokd.augment.views import Views
from autokd.errors import AutokdError
from autokd.rooms import catalogue

PIXELS = pictures(64)
# policies that need no teacher's maps
NAMES = sorted(n for n in catalogue("augment.policies") if not build_policy(n).reads_attention)


def views(name="jda_cifar100", settings=None, pixels=PIXELS, index=None, **options):
    given = {"padding": 4, "flip": True, "seed": 0} | options
    index = torch.arange(len(pixels)) if index is None else index
    return Views(pixels, index, build_policy(name, settings), **given)


def places(view: torch.Tensor, image: torch.Tensor, padding: int) -> list[tuple[int, int, bool]]:
    """Every (top, left, flip) at which the zero-padded image shows this view. [C, H, W] each."""
    height, width = image.shape[1:]
    padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)))
    found = []
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            cut = padded[:, top : top + height, left : left + width]
            found += [
                (top - padding, left - padding, flip)
                for flip in (False, True)
                if np.array_equal(cut[:, :, ::-1] if flip else cut, view.numpy())
            ]
    return found


@pytest.mark.parametrize(
    ("size", "channels", "padding"), [((32, 32), 3, 4), ((8, 8), 1, 1), ((9, 14), 3, 2), ((8, 8), 3, 8)]
)
def test_a_plain_view_is_a_crop_of_the_padded_image_or_its_mirror_image(size, channels, padding):
    pixels = pictures(12, size, channels)
    made = views(pixels=pixels, padding=padding).render(torch.arange(12), 0, False).pixels
    assert made.dtype == torch.uint8 and made.shape == pixels.shape
    assert all(places(view, image, padding) for view, image in zip(made, pixels, strict=True))


@pytest.mark.parametrize("augmented", [False, True])
def test_every_crop_and_both_directions_come_as_often(augmented):
    pixels = pictures(1, (6, 6), seed=2).expand(4_000, -1, -1, -1)
    made = views("none", pixels=pixels, padding=1).render(torch.arange(4_000), 3, augmented).pixels
    kinds, counts = made.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 18
    assert all(places(kind.view(3, 6, 6), pixels[0], 1) for kind in kinds)
    assert ((counts - 4_000 / 18) ** 2 / (4_000 / 18)).sum() < 60  # chi square, 17 degrees of freedom


def test_without_padding_and_flip_a_plain_view_is_the_image():
    made = views(padding=0, flip=False)
    assert torch.equal(made.render(torch.arange(64), 5, False).pixels, PIXELS)


def test_images_that_must_not_be_mirrored_never_are():
    made = views(padding=0, flip=False, name="none")
    for number in range(3):
        assert torch.equal(made.render(torch.arange(64), number, True).pixels, PIXELS)


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_view_is_never_touched_by_the_policy(name):
    rows = torch.arange(64)
    assert torch.equal(views(name).render(rows, 1, False).pixels, views("none").render(rows, 1, False).pixels)


@pytest.mark.parametrize("name", NAMES)
def test_an_augmented_view_differs_from_the_same_crop_unaugmented(name):
    rows = torch.arange(64)
    made = views(name).render(rows, 1, True).pixels
    bare = views("none").render(rows, 1, True).pixels
    changed = int((made != bare).flatten(1).any(dim=1).sum())
    assert changed == 0 if name == "none" else changed > 32


@pytest.mark.parametrize("name", ["jda_cifar100", "jda_cifar10", "jda_imagenet"])
def test_a_policy_that_never_fires_leaves_a_crop_of_its_own(name):
    made = views(name, {"probability": 0.0})
    rows = torch.arange(64)
    plain, augmented = (made.render(rows, 2, part).pixels for part in (False, True))
    assert all(places(view, image, 4) for view, image in zip(augmented, PIXELS, strict=True))
    same = int((plain == augmented).flatten(1).all(dim=1).sum())
    assert same <= 5  # 1 in 162 by chance
    shared = views(name, {"probability": 0.0}, shared_geometry=True)
    assert torch.equal(shared.render(rows, 2, True).pixels, plain)
    assert torch.equal(shared.render(rows, 2, False).pixels, plain)


def test_shared_geometry_places_the_augmented_image_where_the_plain_view_lies():
    pixels = pictures(64, seed=9)
    made = views(pixels=pixels, shared_geometry=True)
    steps = [{"op": "invert"}]
    inverted = Views(
        pixels,
        torch.arange(64),
        build_policy("custom", steps=steps),
        padding=4,
        flip=True,
        seed=0,
        shared_geometry=True,
    )
    plain = made.render(torch.arange(64), 0, False).pixels
    white = Views(torch.full_like(pixels, 1), torch.arange(64), Policy("none"), padding=4, flip=True, seed=0)
    inside = white.render(torch.arange(64), 0, False).pixels == 1
    # the padding is black, whatever the policy does
    expected = torch.where(inside, 255 - plain.int(), 0).to(torch.uint8)
    assert torch.equal(inverted.render(torch.arange(64), 0, True).pixels, expected)


@given(
    data=st.data(),
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**40),
    view=st.integers(0, 500),
    augmented=st.booleans(),
)
def test_a_view_does_not_depend_on_the_batch_its_order_or_where_the_image_lies(data, name, seed, view, augmented):
    rows = data.draw(st.lists(st.integers(0, 63), min_size=2, max_size=9))
    made = views(name, seed=seed)
    together = made.render(torch.tensor(rows), view, augmented)
    for place, row in enumerate(rows[:3]):
        alone = made.render(torch.tensor([row]), view, augmented)
        assert torch.equal(together.pixels[place], alone.pixels[0])
    if build_policy(name).kind != "mix":  # a partner is drawn among the rows at hand
        few = sorted(set(rows))
        smaller = views(name, pixels=PIXELS[few], index=torch.tensor(few), seed=seed)
        assert torch.equal(
            smaller.render(torch.tensor([len(few) - 1]), view, augmented).pixels[0],
            made.render(torch.tensor([few[-1]]), view, augmented).pixels[0],
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_large_batch_is_its_parts_and_may_have_a_view_number_for_each_row(name):
    made = views(name)
    rows = torch.arange(700) % 64
    numbers = torch.arange(700) // 64
    large = made.render(rows, numbers, True)
    for number in (0, 4, 10):
        few = rows[numbers == number]
        part = made.render(few, number, True)
        assert torch.equal(large.pixels[numbers == number], part.pixels)
        if part.share is not None:
            assert torch.equal(large.share[numbers == number], part.share)
            assert torch.equal(large.partner[numbers == number], part.partner)
    assert torch.equal(made.render(rows[:9], torch.tensor(3), True).pixels, made.render(rows[:9], 3, True).pixels)
    assert torch.equal(made.render(rows, 3, False).pixels[600:], made.render(rows[600:], 3, False).pixels)


def test_other_views_and_seeds_look_otherwise():
    rows = torch.arange(64)
    one = views().render(rows, 0, True).pixels
    for other in (views().render(rows, 1, True), views(seed=1).render(rows, 0, True)):
        assert int((one == other.pixels).flatten(1).all(dim=1).sum()) <= 3
    crossed = views(seed=1).render(rows, 2, True).pixels
    assert not torch.equal(crossed, views(seed=2).render(rows, 1, True).pixels)


def test_resident_pixels_are_left_alone_and_need_not_be_contiguous():
    before = PIXELS.clone()
    last = PIXELS.contiguous(memory_format=torch.channels_last)
    for name in NAMES:
        made = views(name).render(torch.arange(64), 0, True).pixels
        assert torch.equal(views(name, pixels=last).render(torch.arange(64), 0, True).pixels, made), name
        assert made.is_contiguous()
    assert torch.equal(PIXELS, before)


def test_rotation_turns_the_crop_and_leaves_black_padding_where_it_turned_to():
    rows = torch.arange(64)
    made = views("rotation", {"angles": "half"}, shared_geometry=True)
    plain, turned = (made.render(rows, 0, part).pixels for part in (False, True))
    assert torch.equal(turned, plain.flip(2, 3))
    before = views("rotation", {"angles": "half", "crop_first": False}).render(rows, 0, True).pixels
    assert all(places(view, image.flip(1, 2), 4) for view, image in zip(before, PIXELS, strict=True))


def test_a_key_tells_apart_all_that_changes_pixels():
    base = views()
    plain = {
        base.key(False),
        views(padding=3).key(False),
        views(flip=False).key(False),
        views(seed=1).key(False),
        views(geometry="resized_crop").key(False),
        views(geometry="resized_crop", size=(16, 16)).key(False),
    }
    assert len(plain) == 6
    assert views("jda_cifar10").key(False) == base.key(False)  # plain answers are shared by all policies
    assert views(shared_geometry=True).key(False) == base.key(False)
    augmented = {
        base.key(True),
        base.key(False),
        views("jda_cifar10").key(True),
        views(shared_geometry=True).key(True),
        views(settings={"probability": 0.4}).key(True),
        views(seed=1).key(True),
    }
    assert len(augmented) == 6


def test_what_cannot_be_done_is_told():
    with pytest.raises(AutokdError, match="padding of 40"):
        views(padding=40)
    with pytest.raises(AutokdError, match="right angles"):
        views("rotation", pixels=pictures(3, (8, 9)))
    with pytest.raises(AutokdError, match="mixes two images"):
        views("cutmix", pixels=PIXELS[:1])
    with pytest.raises(ValueError, match="uint8"):
        views(pixels=PIXELS.float())
    with pytest.raises(ValueError, match="uint8"):
        views(index=torch.arange(3))
    with pytest.raises(ValueError, match="resized_crop"):
        views(geometry="zoom")


def test_an_empty_batch_gives_an_empty_view():
    assert views().render(torch.zeros(0, dtype=torch.int64), 0, True).pixels.shape == (0, 3, 32, 32)
    assert math.prod(views().render(torch.zeros(0, dtype=torch.int64), 0, False).pixels.shape) == 0
