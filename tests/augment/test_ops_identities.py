"""What must hold of the ops whatever the image: identities, independence of rows, input left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import extremes, pictures

from autokd.augment import known
from autokd.augment.apply import apply
from autokd.augment.draw import Draws
from autokd.augment.policy import Step


def run(op, images, magnitude=None):
    return apply(images, always(op, magnitude, len(images)), looks(images))


def looks(images):
    """A map of attention that depends on nothing but the image: [B, H, W] uint8."""
    return images.float().mean(dim=1).to(torch.uint8)


def always(op, magnitude, count):
    amount = torch.full((count, 1), float(magnitude or 0), dtype=torch.float64)
    return Draws(
        (op,), torch.ones(count, 1, dtype=torch.bool), amount, torch.full((count, 1, 2), 0.5, dtype=torch.float64)
    )


@pytest.mark.parametrize("op", known.names())
def test_the_neutral_magnitude_changes_nothing_even_when_the_op_itself_is_asked(op):
    still = known.neutral(op)
    if still is None:
        assert op in ("autocontrast", "equalize", "identity", "invert"), "an op with magnitudes has a neutral one"
        return
    images = torch.cat([pictures(8), extremes()])
    inputs = {"magnitude": torch.full((len(images),), float(still), dtype=torch.float64)}
    if "place" in known.entry(op).reads:
        inputs["place"] = torch.rand(len(images), 2, dtype=torch.float64)
    if "attention" in known.entry(op).reads:
        inputs["attention"] = looks(images)
    assert torch.equal(known.function(op)(images=images.clone(), **inputs), images)
    assert torch.equal(run(op, images, still), images)


def test_inverting_twice_changes_nothing():
    images = pictures(8)
    assert torch.equal(run("invert", run("invert", images)), images)


def test_solarize_from_level_zero_is_invert():
    images = pictures(8)
    assert torch.equal(run("solarize", images, 0), run("invert", images))


def test_four_quarter_turns_change_nothing_and_two_are_a_half_turn():
    images = pictures(6, (9, 9))
    turned = images
    for _ in range(4):
        turned = run("quarter_turn", turned, 1)
    assert torch.equal(turned, images)
    assert torch.equal(run("quarter_turn", images, 2), images.flip(2, 3))
    assert torch.equal(run("quarter_turn", run("quarter_turn", images, 1), 3), images)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turn_by_a_right_angle_loses_no_pixel(degrees):
    images = pictures(6)
    assert torch.equal(run("rotate", images, degrees), images.rot90(degrees // 90, (2, 3)))


def test_what_was_stretched_or_cut_to_few_levels_once_stays():
    images = pictures(8)
    cut = run("posterize", images, 3)
    assert torch.equal(run("posterize", cut, 3), cut)
    stretched = run("autocontrast", images)
    again = run("autocontrast", stretched)
    assert (again.int() - stretched.int()).abs().max() <= 1  # the brightest may be cut to 254 once


@given(pixels=st.integers(-40, 40))
def test_a_shift_there_and_back_keeps_what_stayed_inside(pixels):
    images = pictures(3)
    back = run("shift_x", run("shift_x", images, pixels), -pixels)
    column = torch.arange(32)
    outside = (column + pixels < 0) | (column + pixels > 31)
    assert torch.equal(back[..., ~outside], images[..., ~outside])
    assert (back[..., outside] == 128).all()


@given(slant=st.floats(-1, 1), level=st.integers(0, 255))
def test_a_sheared_flat_image_is_flat_where_it_is_not_grey(slant, level):
    flat = torch.full((1, 3, 16, 16), level, dtype=torch.uint8)
    for op in ("shear_x", "shear_y", "rotate"):
        made = run(op, flat, slant * (1 if op != "rotate" else 180))
        assert set(made.unique().tolist()) <= {level, 128}


@given(slant=st.floats(-1, 1))
def test_shearing_upright_is_shearing_sideways_of_the_image_on_its_side(slant):
    images = pictures(2, (16, 24))
    upright = run("shear_x", images.transpose(2, 3).contiguous(), slant).transpose(2, 3)
    assert torch.equal(run("shear_y", images, slant), upright)


@pytest.mark.parametrize("op", known.names())
def test_rows_never_look_at_one_another(op):
    bounds = known.limits(op)
    images = torch.cat([pictures(7), extremes()])
    count = len(images)
    low, high = bounds if bounds else (0.0, 0.0)
    amount = torch.linspace(0, 1, count, dtype=torch.float64) * (high - low) + low
    if op in ("posterize", "quarter_turn"):
        amount = amount.round()
    fired = torch.arange(count) % 3 != 0
    draws = Draws((op,), fired[:, None], amount[:, None], torch.rand(count, 1, 2, dtype=torch.float64))
    whole = apply(images, draws, looks(images))
    for row in range(count):
        part = slice(row, row + 1)
        own = Draws((op,), draws.fired[part], draws.magnitude[part], draws.place[part])
        alone = apply(images[part], own, looks(images[part]))
        assert torch.equal(whole[part], alone)
        if not fired[row]:
            assert torch.equal(whole[part], images[part])


def test_the_input_is_left_alone_and_need_not_be_contiguous():
    images = pictures(5)
    before = images.clone()
    for op in known.names():
        bounds = known.limits(op)
        magnitude = None if bounds is None else bounds[1] if op != "solarize" else 100
        made = run(op, images, magnitude)
        assert torch.equal(images, before), op
        assert torch.equal(run(op, images.contiguous(memory_format=torch.channels_last), magnitude), made), op
        strided = torch.stack([images, images], dim=1).flatten(0, 1)[::2]
        assert torch.equal(run(op, strided, magnitude), made), op


@pytest.mark.parametrize("op", known.names())
def test_strength_zero_is_neutral_and_strength_one_changes_nothing(op):
    bounds, still = known.limits(op), known.neutral(op)
    if bounds is None:
        assert Step(op).scaled(3.0) == Step(op)
        return
    middle = float(round((bounds[0] + bounds[1] * 3) / 4))
    assert Step(op, middle).scaled(0.0).magnitude == still
    assert Step(op, middle).scaled(1.0).magnitude == middle
    for strength in (0.5, 1.5, 100.0):
        assert bounds[0] <= Step(op, middle).scaled(strength).magnitude <= bounds[1]


@pytest.mark.parametrize("size", [(32, 32), (20, 33), (8, 64)])
def test_the_two_ways_to_shear_give_the_same_levels(size):
    """Small images on a CPU go through matrices, others through four taps; a view must not depend on which."""
    images = pictures(24, size, seed=2)
    magnitude = torch.tensor([-1.0, -0.3, -1 / 6, 0.01, 1 / 6, 0.99], dtype=torch.float64).repeat(4)
    small = known.function("shear_x")(images=images.clone(), magnitude=magnitude)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # such a product is not exact, so that taps are taken
    try:
        taps = known.function("shear_x")(images=images.clone(), magnitude=magnitude)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(small, taps)


def test_an_image_wider_than_matrices_reach_is_sheared_alike():
    wide = pictures(3, (16, 80), seed=2)
    narrow = wide[..., :40].contiguous()
    made = [run("shear_x", images, 0.25) for images in (wide, narrow)]
    assert torch.equal(made[0][..., :37], made[1][..., :37])  # to the right a narrow image has no more neighbours
