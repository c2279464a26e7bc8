from __future__ import annotations

import io
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from autokd.data.decode import decode, decode_into, extensions, progress
from autokd.data.reading import FaultyImages
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


def tiff(values: np.ndarray, mode: str) -> bytes:
    return packed(Image.frombytes(mode, values.shape[::-1], np.ascontiguousarray(values).tobytes()), "TIFF")


def test_floats_lie_between_black_and_white():
    values = np.array([[0.0, 0.25, 0.5, 1.0]], dtype=np.float32)
    assert decode(tiff(values, "F"), colour="grey").tolist() == [[[0, 64, 128, 255]]]  # 0.25 x 255 = 63.75, 0.5 x 255 = 127.5
    assert decode(tiff(values * 255, "F"), colour="grey", white=255).tolist() == [[[0, 64, 128, 255]]]
    window = np.array([[-1024.0, -1000.0, -300.0, 400.0, 3071.0]], dtype=np.float32)  # of a tomography, in Hounsfield units
    assert decode(tiff(window, "F"), colour="grey", black=-1000, white=400).tolist() == [[[0, 0, 128, 255, 255]]]
    assert decode(tiff(values, "F")).shape == (3, 1, 4)


def test_whole_numbers_of_more_bits_are_scaled_by_what_is_said_to_be_white():
    twelve = np.array([[0, 15, 16, 4080, 4095]], dtype=np.uint16)
    assert decode(packed(Image.fromarray(twelve)), colour="grey", white=4095).tolist() == [[[0, 0, 1, 255, 255]]]
    wide = np.array([[0, 1, 29, 178, 255]], dtype=np.int32)
    assert decode(tiff(wide, "I"), colour="grey", white=255).tolist() == [[[0, 1, 29, 178, 255]]]
    signed = np.array([[-1024, 0, 1023]], dtype=np.int32)
    assert decode(tiff(signed, "I"), colour="grey", black=-1024, white=1023).tolist() == [[[0, 128, 255]]]
    plain = np.array([[3, 200]], dtype=np.uint8)
    assert decode(packed(Image.fromarray(plain)), colour="grey", white=4095).tolist() == [[[3, 200]]]  # of deep images alone


@pytest.mark.parametrize(
    ("values", "mode", "told"),
    [
        (np.array([[464, 2848]], np.uint16), "I;16", "values run from 464 to 2848 of 65535: it would be black"),
        (np.array([[0, 0]], np.uint16), "I;16", "it would be black"),
        (np.array([[29, 178]], np.int32), "I", "32-bit whole numbers have no white of their own; its values run from 29 to 178"),
        (np.array([[0.0, 255.0]], np.float32), "F", "run from 0 to 255, and without further words floats lie in 0..1"),
        (np.array([[-0.5, 1.0]], np.float32), "F", "run from -0.5 to 1"),
        (np.array([[0.0, 0.06]], np.float32), "F", "of 1: it would be black"),
        (np.array([[0.0, np.nan]], np.float32), "F", "some of its values are no numbers"),
    ],
)
def test_deep_images_of_which_nobody_can_know_what_is_white_are_refused(values, mode, told):
    with pytest.raises(AutokdError) as caught:
        decode(tiff(values, mode), where="scan.tif")
    assert told in caught.value.what and caught.value.where == "scan.tif" and caught.value.fix
    with pytest.raises(AutokdError, match="is not above black"):
        decode(tiff(values, mode), black=5, white=5)


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits in each of three colours, which Pillow reads and does not write. values: uint16 [H, W, 3]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits_a_colour_keep_their_high_bytes_and_are_refused_where_these_are_dark():
    values = np.array([[[0, 255, 256], [65535, 4096, 511]]], dtype=np.uint16)
    assert decode(png16(values))[:, 0].T.tolist() == [[0, 0, 1], [255, 16, 1]]
    dark = np.minimum(values, 4095)
    with pytest.raises(AutokdError, match="16 bits a colour are read by their high byte, and that is 15 at the most"):
        decode(png16(dark))
    assert decode(png16(dark), white=65535).max() == 15
    with pytest.raises(AutokdError, match="high byte"):
        decode(png16(values), white=4095)


def test_every_suffix_of_a_kind_that_pillow_decodes_is_an_image():
    known = extensions()
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"} <= known
    assert (".avif" in known) == features.check("avif")
    assert not known & {".pdf", ".mpg", ".h5", ".hdf", ".grib", ".eps", ".ps", ".wmf", ".txt", ""}


def test_images_that_cannot_be_read_take_no_row_and_move_no_other(tmp_path, random_pixels, png):
    pixels = random_pixels(300, 4, 4)
    encoded = [png(one) for one in pixels]
    encoded[0], encoded[131], encoded[299] = b"", encoded[131][:40], b"no image"
    heard = []
    with progress(lambda done, count: heard.append((done, count))):
        facts = decode_into(tmp_path / "a.npy", ((f"row {i}", one) for i, one in enumerate(encoded)), 300)
    good = np.delete(np.arange(300), [0, 131, 299])
    assert np.array_equal(np.load(tmp_path / "a.npy"), pixels[good].transpose(0, 3, 1, 2))
    assert [(row, where) for row, where, *_ in facts["faulty"]] == [(0, "row 0"), (131, "row 131"), (299, "row 299")]
    assert [why for _, _, why, _ in facts["faulty"]][::2] == [
        "the image cannot be read: it is empty",
        "the image cannot be read: it is no image, or damaged at its beginning",
    ]
    assert facts["kinds"] == {"PNG": 297} and facts["shape"] == [297, 3, 4, 4]
    scaled = pixels[good].reshape(-1, 3).astype(np.float64) / 255
    assert facts["mean"] == pytest.approx(scaled.mean(axis=0), abs=1e-12)
    assert heard == [(128, 300), (256, 300), (300, 300)]


def test_where_none_can_be_read_all_are_told_and_survive_a_journey(tmp_path):
    with pytest.raises(FaultyImages) as caught:
        decode_into(tmp_path / "a.npy", ((f"row {i}", b"x") for i in range(30)), 30)
    for fault in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert len(fault.faulty) == fault.count == 30
        told = str(fault)
        assert "30 of 30 images cannot be read\n  row 0: it is no image" in told and "… and 10 more" in told
        assert told.count("mend it, or take it out") == 1


def test_odd_pixels_are_noted(tmp_path, random_pixels, png):
    pixels = [*random_pixels(3, 4, 4), np.full((4, 4, 3), 7, np.uint8)]
    pixels += [pixels[1], pixels[3]]
    look = decode_into(tmp_path / "a.npy", ((str(i), png(one)) for i, one in enumerate(pixels)), 6)["look"]
    assert look["constant"] == (3, 5) and look["copies"] == ((4, 1), (5, 3))
    assert look["counts"] == {"constant": 2, "copies": 2}
    assert (look["low"], look["high"]) == (np.min(pixels), np.max(pixels))


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path):
        with pytest.raises(AutokdError, match="it is no file"):
            decode(path)
