"""The script of the card against what autokd itself decodes: every step of it, for every way that images can be read."""

from __future__ import annotations

import numpy as np
import pytest

from autokd.data.decode import decode
from autokd.finalize.plain import reading, script

PLAIN = {"fit": "crop", "black": None, "white": None}
LOOKS = [
    PLAIN,
    {**PLAIN, "fit": "stretch"},
    {**PLAIN, "white": 4095},
    {**PLAIN, "black": 100, "white": 60_000},
    {**PLAIN, "black": 0.25, "white": 0.75},
    {**PLAIN, "black": 0.5},
]


def pixels_of(*how):
    """The script's own `pixels`, without the student."""
    text = script("student.onnx", *how)
    names: dict = {}
    exec(text.partition("session = ")[0] + text[text.index("def grey") : text.index("def answer")], names)
    return names["pixels"]


@pytest.mark.parametrize("looks", LOOKS, ids=str)
def test_the_script_reads_images_as_autokd_does(looks, odd_images, tmp_path):
    files = odd_images.write_odd(tmp_path / "odd")
    if looks["white"] or looks["black"]:
        files = [file for file in files if file.stem in ("deep", "floats", "grey", "turned-6")]
    for channels, colour in ((1, "grey"), (3, "rgb")):
        pixels = pixels_of(channels, 8, 8, looks)
        for file in files:
            expected = decode(file, colour=colour, size=8, **looks)
            assert expected.shape == (channels, 8, 8) and np.array_equal(pixels(file), expected), file


def test_a_rectangle_is_read_as_it_is_and_another_size_is_refused(odd_images, tmp_path):
    files = {file.name: file for file in odd_images.write_odd(tmp_path / "odd")}
    pixels = pixels_of(3, 17, 23, PLAIN)
    assert np.array_equal(pixels(files["alpha.png"]), decode(files["alpha.png"])) and len(files) == 12
    with pytest.raises(ValueError, match="40 x 9 pixels, not 23 x 17"):
        pixels(files["grey.png"])


def test_the_words_name_what_the_data_says():
    told = reading(3, 32, 32, PLAIN)
    assert "middle square" in told["size"] and "antialiasing" in told["size"] and "RGB" in told["colours"]
    assert "high byte" in told["more than 8 bits"] and "EXIF" in told["orientation"]
    assert "`fit: stretch`" in reading(3, 32, 32, LOOKS[1])["size"]
    assert "23 x 17 pixels exactly" in reading(3, 17, 23, PLAIN)["size"]
    assert "0 becomes 0 and 4095 becomes 255" in reading(1, 8, 8, LOOKS[2])["more than 8 bits"]
