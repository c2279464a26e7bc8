"""Every op against Pillow, or torchvision on a Pillow image, on the same image at the same magnitude.

Table look-ups, blends, shifts and turns are exact: same whole levels, nearest neighbour. Shears are bicubic (a = -1), within one
level, since weights are whole numbers of 2^-15 where Pillow has float64.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import extremes, from_pil, pictures, pil_op, to_pil
from PIL import Image

from autokd.augment import known
from autokd.augment.levels import luminance

MAGNITUDES = {
    "autocontrast": [None],
    "equalize": [None],
    "invert": [None],
    "identity": [None],
    "posterize": [1, 2, 3, 4, 5, 6, 7, 8],
    "solarize": [0, 0.5, 1, 1280 / 9, 113.8, 170.7, 199.1, 128, 255, 255.5, 256],
    "brightness": [-1, -0.9, -0.3, 0, 0.1, 0.3, 0.6, 0.9, 1],
    "contrast": [-1, -0.7, -0.3, 0, 0.3, 0.7, 1],
    "color": [-1, -0.8, -0.4, 0, 0.3, 0.4, 0.8, 1],
    "sharpness": [-1, -0.9, -0.5, 0, 0.5, 0.7, 1],
    "rotate": [-180, -135, -90, -30, -13.5, 0, 6.667, 10, 80 / 3, 30, 45, 90, 179.5, 180],
    "quarter_turn": [0, 1, 2, 3],
    "shear_x": [-1, -0.99, -0.3, -1 / 6, -0.01, 0, 0.1, 1 / 6, 0.2667, 0.3, 1],
    "shear_y": [-1, -0.99, -0.3, -1 / 6, -0.01, 0, 0.1, 1 / 6, 0.2667, 0.3, 1],
    "translate_x": [-1, -150 / 331, -50 / 993, 0, 50 / 993, 0.1511, 0.4028, 150 / 331, 1],
    "translate_y": [-1, -150 / 331, -50 / 993, 0, 50 / 993, 0.1511, 0.4028, 150 / 331, 1],
    "shift_x": [-40, -32, -7.6, -0.5, 0, 0.4, 0.5, 0.6, 1.5, 3, 31.9, 1000],
    "shift_y": [-40, -32, -7.6, -0.5, 0, 0.4, 0.5, 0.6, 1.5, 3, 31.9, 1000],
    "rotate_black": [-180, -135, -90, -30, -13.5, 0, 4.5, 9, 27, 45, 90, 121.5, 180],
    "shear_x_black": [-1, -0.99, -0.3, -1 / 6, -0.033, 0, 0.09, 1 / 6, 0.297, 0.3, 1],
    "shear_y_black": [-1, -0.99, -0.3, -1 / 6, -0.033, 0, 0.09, 1 / 6, 0.297, 0.3, 1],
    "translate_x_black": [-1, -150 / 331, -50 / 993, 0, 50 / 993, 0.1511, 0.4028, 150 / 331, 1],
    "translate_y_black": [-1, -150 / 331, -50 / 993, 0, 50 / 993, 0.1511, 0.4028, 150 / 331, 1],
    "shift_x_black": [-40, -32, -7.6, -0.5, 0, 0.4, 0.5, 0.6, 1.5, 3, 31.9, 1000],
    "shift_y_black": [-40, -32, -7.6, -0.5, 0, 0.4, 0.5, 0.6, 1.5, 3, 31.9, 1000],
}
BICUBIC = {"shear_x", "shear_y"}
# Pillow has none of these: they have tests of their own, here and in test_attention.py
NO_PIL = {"cutout", "attention_crop", "attention_drop", "attention_keep"}
SHAPES = [(3, (32, 32)), (1, (32, 32)), (3, (8, 8)), (1, (28, 28)), (3, (24, 40)), (1, (41, 17))]


def run(op, images, magnitude):
    inputs = (
        {} if magnitude is None else {"magnitude": torch.full((len(images),), float(magnitude), dtype=torch.float64)}
    )
    return known.function(op)(images=images.clone(), **inputs)


def test_every_op_of_the_catalogue_is_held_against_something():
    assert set(known.names()) == set(MAGNITUDES) | NO_PIL


@pytest.mark.parametrize(("channels", "size"), SHAPES, ids=lambda value: str(value))
@pytest.mark.parametrize("op", MAGNITUDES)
def test_an_op_does_what_pillow_does(op, channels, size):
    if op == "quarter_turn" and size[0] != size[1]:
        pytest.skip("right angles want square images")
    images = torch.cat([pictures(20, size, channels), extremes(size, channels)])
    for magnitude in MAGNITUDES[op]:
        made = run(op, images, magnitude)
        expected = torch.stack([from_pil(pil_op(op, to_pil(image), magnitude)) for image in images])
        off = (made.int() - expected.int()).abs()
        if op in BICUBIC:
            assert off.max() <= 1, f"{op} {magnitude}"
            assert (off > 0).double().mean() < 0.01, f"{op} {magnitude}"
        else:
            assert torch.equal(made, expected), f"{op} {magnitude}: {int((off > 0).sum())} pixels differ"


@given(magnitude=st.floats(-1, 1), op=st.sampled_from(["brightness", "contrast", "color", "sharpness"]))
def test_a_blend_agrees_with_pillow_at_any_magnitude(magnitude, op):
    images = pictures(4, (16, 16), seed=3)
    expected = torch.stack([from_pil(pil_op(op, to_pil(image), magnitude)) for image in images])
    assert torch.equal(run(op, images, magnitude), expected)


@given(threshold=st.floats(0, 256), bits=st.integers(1, 8))
def test_solarize_and_posterize_agree_with_their_definitions_at_every_level(threshold, bits):
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    plain = np.arange(256)
    solarized = np.where(plain >= threshold, 255 - plain, plain)
    assert run("solarize", levels, threshold).flatten().tolist() == solarized.tolist()
    assert run("posterize", levels, bits).flatten().tolist() == (plain // 2 ** (8 - bits) * 2 ** (8 - bits)).tolist()


def test_the_published_solarize_threshold_inverts_from_level_143():
    levels = torch.tensor([142, 143], dtype=torch.uint8).view(1, 1, 1, 2)
    assert run("solarize", levels, 256 - 256 * 4 / 9).flatten().tolist() == [142, 112]


@given(degrees=st.floats(-180, 180), op=st.sampled_from(["rotate", "rotate_black"]))
def test_a_turn_agrees_with_pillow_at_any_angle(degrees, op):
    images = pictures(2, (21, 32), seed=5)
    expected = torch.stack([from_pil(pil_op(op, to_pil(image), degrees)) for image in images])
    assert torch.equal(run(op, images, degrees), expected)


@given(slant=st.floats(-1, 1), op=st.sampled_from(["shear_x_black", "shear_y_black"]))
def test_a_slant_to_the_nearest_pixel_agrees_with_torchvision_at_any_slant(slant, op):
    images = pictures(2, (32, 20), seed=6)
    expected = torch.stack([from_pil(pil_op(op, to_pil(image), slant)) for image in images])
    assert torch.equal(run(op, images, slant), expected)


# A slant of less moves no pixel by a level; Pillow cuts its float sums, and half of them then lie just below a whole level.
slants = st.floats(-1, 1).filter(lambda slant: slant == 0 or abs(slant) > 1e-4)


@given(slant=slants, op=st.sampled_from(["shear_x", "shear_y"]))
def test_a_shear_is_within_one_level_of_pillow_at_any_slant(slant, op):
    images = pictures(2, (32, 20), seed=6)
    expected = torch.stack([from_pil(pil_op(op, to_pil(image), slant)) for image in images])
    off = (run(op, images, slant).int() - expected.int()).abs()
    # a slant may put a pixel's centre on the image's very edge, where the last bit decides between the image and the fill
    assert (off > 1).sum() <= 3 * 2 and off.float().mean() < 0.1


def test_luminance_is_pillows_conversion_to_grey():
    images = torch.cat([pictures(20), extremes()])
    expected = torch.stack([from_pil(to_pil(image).convert("L")) for image in images])
    assert torch.equal(luminance(images.float()).to(torch.uint8), expected)


def test_each_image_of_a_batch_gets_its_own_magnitude():
    images = pictures(6, seed=8)
    for op, magnitudes in MAGNITUDES.items():
        if magnitudes == [None]:
            continue
        chosen = [float(magnitudes[k * 7 % len(magnitudes)]) for k in range(6)]
        made = known.function(op)(images=images.clone(), magnitude=torch.tensor(chosen, dtype=torch.float64))
        for image, view, magnitude in zip(images, made, chosen, strict=True):
            off = (view.int() - from_pil(pil_op(op, to_pil(image), magnitude)).int()).abs().max()
            assert off <= (1 if op in BICUBIC else 0), f"{op} {magnitude}"


def test_cutout_covers_the_square_that_was_drawn_and_nothing_else():
    images = torch.zeros(4, 3, 8, 10, dtype=torch.uint8)
    place = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.999, 0.999], [0.5, 0.5]], dtype=torch.float64)
    magnitude = torch.tensor([0.5, 0.5, 0.5, 0.0], dtype=torch.float64)  # side 4 of the shorter side 8
    made = known.function("cutout")(images=images, magnitude=magnitude, place=place)
    expected = np.zeros((4, 8, 10), dtype=np.uint8)
    expected[0, 2:6, 3:7] = 128  # centre (4, 5), two pixels either way
    expected[1, 0:2, 0:2] = 128
    expected[2, 5:8, 7:10] = 128  # centre (7, 9): from 5 and 7 on
    for channel in range(3):
        assert np.array_equal(made[:, channel].numpy(), expected)


def test_a_turn_by_right_angles_wants_square_images():
    with pytest.raises(Exception, match="square"):
        run("quarter_turn", pictures(1, (8, 9)), 1)


def test_pillow_of_this_machine_is_not_the_reference_of_itself():
    """One value by hand for each family, so that the tests above do not rest on Pillow alone."""
    image = torch.tensor([[0, 100], [200, 255]], dtype=torch.uint8)[None, None]
    assert run("brightness", image, 0.3).flatten().tolist() == [0, 130, 255, 255]
    # mean 138.75 rounds to 139: 139 + 0.5 x (v - 139), cut
    assert run("contrast", image, -0.5).flatten().tolist() == [69, 119, 169, 197]
    assert run("invert", image, None).flatten().tolist() == [255, 155, 55, 0]
    assert run("shift_x", image, 1).flatten().tolist() == [128, 0, 128, 200]
    assert run("quarter_turn", image, 1).flatten().tolist() == [100, 255, 0, 200]
    assert run("shift_x_black", image, 1.9).flatten().tolist() == [0, 0, 0, 200]  # one whole pixel
    # a row at height y reads y + 1/2 to the left of its pixels' centres: 0 and 1 above, -1 and 0 below
    assert run("shear_x_black", image, 1).flatten().tolist() == [0, 100, 0, 200]
    narrow = torch.tensor([10, 20, 30, 60], dtype=torch.uint8).view(1, 1, 2, 2)
    assert run("autocontrast", narrow, None).flatten().tolist() == [0, 51, 102, 255]
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert run("color", red, -1).flatten().tolist() == [76, 76, 76]  # 0.299 x 255 = 76.2
    assert Image.new("RGB", (1, 1), (255, 0, 0)).convert("L").getpixel((0, 0)) == 76
