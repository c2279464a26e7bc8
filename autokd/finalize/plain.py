"""How to get a student's answers without autokd: what its graphs read, in words, and a script for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["reading", "script"]


def reading(channels: int, height: int, width: int, looks: Mapping[str, Any]) -> dict[str, str]:
    """The steps from an image file to the input of the graph, in their order. looks: fit, black and white of the data."""
    colours = "converted to RGB, channels in the order red, green, blue; a grey image has three equal channels"
    if channels == 1:
        colours = "converted to grey by Pillow's mode `L`: 0.299 red + 0.587 green + 0.114 blue"
    scaled = f"scaled to {width} x {height} by Pillow's bicubic, which averages over pixels where it shrinks (antialiasing)"
    size = f"{width} x {height} pixels exactly; images of another size are refused, not scaled"
    if height == width and looks["fit"] == "crop":
        size = f"the middle square is cut out and {scaled}"
    elif height == width:
        size = f"{scaled}, whatever their shape (`fit: stretch`)"
    return {
        "orientation": "turned as its EXIF orientation says, before all else; of an animation the first frame counts",
        "more than 8 bits": _deep(looks["black"], looks["white"]),
        "colours": f"{colours}; transparency is dropped, not blended with a background",
        "size": size,
    }


def _deep(black: float | None, white: float | None) -> str:
    if black is None and white is None:
        told = "grey of 16 bits keeps its high byte, grey of floats from 0 to 1 becomes 0 to 255"
    else:
        upper = "the largest of its type (65535, or 1 of floats)" if white is None else f"{white:g}"
        told = f"grey of more than 8 bits: {black or 0:g} becomes 0 and {upper} becomes 255, what lies beyond is cut off"
    return f"{told}; of 16 bits a colour the high byte counts. autokd refuses images whose range is unknown, the script does not"


def script(file: str, channels: int, height: int, width: int, looks: Mapping[str, Any]) -> str:
    """A Python script that answers image files as `autokd predict` does, with onnxruntime, numpy and Pillow alone."""
    mode, last = ("L", "np.asarray(image)[None]") if channels == 1 else ("RGB", "np.asarray(image).transpose(2, 0, 1)")
    if height != width:
        fitted = (
            f"    if image.size != ({width}, {height}):\n"
            f'        raise ValueError(f"{{path}}: {{image.width}} x {{image.height}} pixels, not {width} x {height}")'
        )
    elif looks["fit"] == "crop":
        fitted = f"    image = ImageOps.fit(image, ({width}, {height}), method=Image.Resampling.BICUBIC)"
    else:
        fitted = f"    image = image.resize(({width}, {height}), Image.Resampling.BICUBIC)"
    return f'''import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["autokd_student"])["classes"]


{_grey(looks["black"], looks["white"])}


def pixels(path):
    """An image file as the student reads it: uint8 [{channels}, {height}, {width}]."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
    if image.mode[0] in "IF":
        image = Image.fromarray(grey(np.asarray(image)))
    elif image.mode == "P":
        image = image.convert("RGBA")
    image = image.convert("{mode}")
{fitted}
    return np.ascontiguousarray({last})


def answer(path, top=3):
    """The likeliest classes of an image file, with their probabilities."""
    (logits,) = session.run(None, {{"images": pixels(path)[None]}})
    powers = np.exp(logits[0].astype(np.float64) - logits[0].max())
    order = np.argsort(-powers, kind="stable")[:top]
    return [(classes[number], float(powers[number] / powers.sum())) for number in order]


for path in sys.argv[1:]:
    print(path, *(f"{{name}} {{chance:.2%}}" for name, chance in answer(path)))
'''


def _grey(black: float | None, white: float | None) -> str:
    """The function that brings more than 8 bits to 8, as autokd.data.decode does."""
    low, whole = black or 0, all(value is None or value == int(value) for value in (black, white))
    low = int(low) if whole else low
    high = '1 if values.dtype.kind == "f" else 65535' if white is None else str(int(white) if whole else white)
    exact = """    if values.dtype.kind != "f":
        return ((values.astype(np.int64).clip(black, white) - black) * 256 // (white - black + 1)).astype(np.uint8)
"""
    return f'''def grey(values):
    """Grey of more than 8 bits to 8."""
    black, white = {low}, {high}
{exact if whole else ""}    share = np.nan_to_num((values.astype(np.float64) - black) / (white - black)).clip(0, 1)
    return np.rint(share * 255).astype(np.uint8)'''
