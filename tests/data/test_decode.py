from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from autokd.data.decode import decode, decode_into
from autokd.errors import AutokdError


def packed(image: Image.Image, kind="PNG", **more) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def test_colour_comes_channel_first(random_pixels, png):
    pixels = random_pixels(1, 5, 7)[0]
    assert np.array_equal(decode(png(pixels)), pixels.transpose(2, 0, 1))


def test_grey_of_a_grey_file_is_untouched(random_pixels, png):
    pixels = random_pixels(1, 5, 7)[0, :, :, 0]
    assert np.array_equal(decode(png(pixels), colour="grey"), pixels[None])
    assert np.array_equal(decode(png(pixels)), np.stack([pixels] * 3))


def test_sixteen_bits_keep_their_high_byte():
    wide = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    assert decode(packed(Image.fromarray(wide)), colour="grey").tolist() == [[[0, 0, 1, 255]]]


def test_transparency_is_dropped():
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert decode(packed(image))[:, 0, 0].tolist() == [10, 20, 30]


def test_a_palette_with_transparency_raises_no_warning(recwarn):
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(packed(image, transparency=b"\x00\x80"))[:, 1, 1].tolist() == [10, 20, 30]
    assert not recwarn.list


def test_a_photograph_is_turned_as_its_exif_says(random_pixels):
    image = Image.fromarray(random_pixels(1, 4, 6)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = decode(packed(image, exif=exif))
    assert np.array_equal(turned.transpose(1, 2, 0), np.rot90(np.asarray(image), -1))


def test_crop_scales_the_shorter_side_and_keeps_the_middle(random_pixels, png):
    pixels = random_pixels(1, 16, 32)[0]  # to 8 x 8: the middle 16 x 16, halved
    middle = Image.fromarray(pixels[:, 8:24]).resize((8, 8), Image.Resampling.BICUBIC)
    got = decode(png(pixels), size=8).transpose(1, 2, 0).astype(int)
    assert got.shape == (8, 8, 3)
    inner = np.abs(got - np.asarray(middle))[:, 2:-2]  # at the cut, Pillow's filter sees beyond it
    assert inner.max() <= 1


def test_stretch_is_pillows_bicubic(random_pixels, png):
    pixels = random_pixels(1, 16, 32)[0]
    expected = Image.fromarray(pixels).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(decode(png(pixels), size=8, fit="stretch").transpose(1, 2, 0), np.asarray(expected))


def test_the_right_size_is_left_alone(random_pixels, png):
    pixels = random_pixels(1, 8, 8)[0]
    for fit in ("crop", "stretch"):
        assert np.array_equal(decode(png(pixels), size=8, fit=fit).transpose(1, 2, 0), pixels)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_broken_image_is_named(random_pixels, png, damage):
    whole = png(random_pixels(1)[0])
    broken = {"cut": whole[:1500], "noise": bytes(500), "empty": b"x"}[damage]
    with pytest.raises(AutokdError, match="cannot be read") as caught:
        decode(broken, where="flowers.parquet: row 3")
    assert caught.value.where == "flowers.parquet: row 3"
    assert "0x" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AutokdError, match="no such image file") as caught:
        decode(tmp_path / "gone.png")
    assert caught.value.where.endswith("gone.png")


def test_many_come_in_order_with_their_mean_and_spread(tmp_path, random_pixels, png):
    pixels = random_pixels(300, 4, 4)
    facts = decode_into(tmp_path / "a.npy", ((str(i), png(p)) for i, p in enumerate(pixels)), 300)
    assert np.array_equal(np.load(tmp_path / "a.npy"), pixels.transpose(0, 3, 1, 2))
    scaled = pixels.reshape(-1, 3).astype(np.float64) / 255
    assert facts["mean"] == pytest.approx(scaled.mean(axis=0), abs=1e-12)
    assert facts["std"] == pytest.approx(scaled.std(axis=0), abs=1e-12)


def test_a_channel_that_never_changes_can_be_divided_by(tmp_path, png):
    facts = decode_into(tmp_path / "a.npy", [("0", png(np.full((2, 2, 3), 9, np.uint8)))], 1)
    assert facts["std"] == pytest.approx([1 / 255] * 3)


def test_an_image_of_another_size_is_named(tmp_path, random_pixels, png):
    images = [("0", png(random_pixels(1, 4, 4)[0])), ("one", png(random_pixels(1, 4, 5)[0]))]
    with pytest.raises(AutokdError, match="5 x 4 pixels, the first one 4 x 4") as caught:
        decode_into(tmp_path / "a.npy", images, 2)
    assert caught.value.where == "one" and "size" in caught.value.fix
