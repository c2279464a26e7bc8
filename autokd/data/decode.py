"""Encoded images to uint8 arrays, many at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from autokd.errors import AutokdError
from autokd.machine import cpus

__all__ = ["EXTENSIONS", "decode", "decode_into"]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
Encoded = tuple[str, Any]  # where it stands (for messages), and its bytes, its file, or a Pillow image
_CHUNK = 128


def decode(
    encoded: Any, *, colour: str = "rgb", size: int | None = None, fit: str = "crop", where: str = ""
) -> np.ndarray:
    """One image, uint8 [C, H, W]. encoded: its bytes, the path of its file, or a Pillow image.

    colour: `rgb` or `grey` (the luma of Pillow's mode L). 16-bit grey keeps its high byte, transparency is dropped, the first
    frame of an animation counts, and a photograph is turned as its EXIF orientation says.
    size: None keeps the image as it is. With fit `crop` the shorter side is scaled to `size` and the middle cut out; with
    `stretch` both sides are scaled to it. Scaling is Pillow's bicubic (which averages over pixels where it shrinks).
    Raises AutokdError at `where` when it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        if isinstance(encoded, Image.Image):
            image = encoded
        else:
            with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
    except FileNotFoundError:
        raise AutokdError("there is no such image file", where=where or str(encoded)) from None
    except Exception as fault:  # Pillow's decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error ...
        told = str(fault) if isinstance(encoded, Path) else str(fault).split("<_io", 1)[0].strip()
        raise AutokdError(f"the image cannot be read: {told}", where=where, fix="mend it, or take it out") from None
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of a palette's transparency
    image = image.convert("L" if colour == "grey" else "RGB")
    if size is not None and image.size != (size, size):
        if fit == "crop":
            image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
        else:
            image = image.resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_into(path: Path, images: Iterable[Encoded], count: int, **how: Any) -> dict[str, Any]:
    """Decode `count` images into a .npy file, uint8 [count, C, H, W], and say what they are.

    how: colour, size and fit of `decode`. Returns {shape, mean, std}: mean and std a channel, of pixels scaled to 0..1.
    Raises AutokdError where an image cannot be read or differs in size from the first.
    """
    shape: tuple[int, ...] | None = None
    total = squares = np.zeros(0, dtype=np.uint64)
    done = 0

    def one(item: Encoded) -> np.ndarray:
        return decode(item[1], where=item[0], **how)

    with path.open("wb") as file, ThreadPoolExecutor(_threads()) as pool:
        for chunk in _chunks(images):
            for (where, _), pixels in zip(chunk, pool.map(one, chunk), strict=True):
                if shape is None:
                    shape = pixels.shape
                    total, squares = np.zeros((2, shape[0]), dtype=np.uint64)
                    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
                    np.lib.format.write_array_header_1_0(file, header)
                if pixels.shape != shape:
                    raise AutokdError(
                        f"this image is {_sides(pixels.shape)}, the first one {_sides(shape)}",
                        where=where,
                        fix="give the data set a `size`: images are then scaled to it",
                    )
                # written, not memory-mapped: a full disk is then an error and not a crash
                file.write(np.ascontiguousarray(pixels).data)
                values = pixels.reshape(len(pixels), -1).astype(np.uint64)
                total, squares = total + values.sum(axis=1), squares + (values * values).sum(axis=1)
                done += 1
    if shape is None or done != count:
        raise ValueError(f"{done} images came of {count}")
    numbers = float(count * shape[1] * shape[2])
    mean = total / numbers
    std = np.sqrt(np.maximum(squares / numbers - mean * mean, 0.0))
    std = np.maximum(std, 1.0)  # a channel that never changes is divided by one grey level, not by nothing
    return {"shape": [count, *shape], "mean": (mean / 255).tolist(), "std": (std / 255).tolist()}


def _sides(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]} pixels"


def _threads() -> int:
    return min(8, cpus())


def _chunks(images: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    source = iter(images)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk
