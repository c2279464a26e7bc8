"""Encoded images to uint8 arrays, many at a time."""

from __future__ import annotations

import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, astuple
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.reading import Faulty, FaultyImages, Seen
from autokd.errors import AutokdError, Faults
from autokd.machine import cpus

__all__ = ["RULES", "Encoded", "decode", "decode_first", "decode_into", "decode_named", "extensions", "progress"]

RULES = 2  # of what decoding means; raised when the same file comes to other pixels, so that no older ones are used
Encoded = tuple[str, Any]  # where it stands (for messages), and its bytes, file or Pillow image, or the fault of having none
_CHUNK = 128
_UNREAD = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})  # Pillow names these, and needs others to read them


@lru_cache(maxsize=1)
def extensions() -> frozenset[str]:
    """The suffixes of files that Pillow decodes here, lower case and with their dot: the one list of training and prediction."""
    from PIL import Image

    known = Image.registered_extensions()  # this loads Pillow's plugins
    readable = {*Image.OPEN, "MPO"} - _UNREAD
    return frozenset(suffix for suffix, kind in known.items() if kind in readable)


_PROGRESS: ContextVar[Callable[[int, int], None] | None] = ContextVar("progress", default=None)


@contextmanager
def progress(tell: Callable[[int, int], None] | None) -> Iterator[None]:
    """Within it, whatever decodes many images tells how many of how many are done."""
    token = _PROGRESS.set(tell)
    try:
        yield
    finally:
        _PROGRESS.reset(token)


def decode(encoded: Any, *, where: str = "", **how: Any) -> np.ndarray:
    """One image, uint8 [C, H, W]: `decode_named` without the kind of its file."""
    return decode_named(encoded, where=where, **how)[0]


def decode_named(
    encoded: Any,
    *,
    colour: str = "rgb",
    size: int | None = None,
    fit: str = "crop",
    black: float | None = None,
    white: float | None = None,
    where: str = "",
) -> tuple[np.ndarray, str]:
    """One image, uint8 [C, H, W], and the kind of file that Pillow found it to be.

    encoded: its bytes, the path of its file, a Pillow image, or an AutokdError, which is raised.
    colour: `rgb` or `grey` (the luma of Pillow's mode L). Transparency is dropped, the first frame of an animation counts, and
    a photograph is turned as its EXIF orientation says.
    black, white: the values of a grey image of 16 or 32 bits or of floats that become 0 and 255; what lies beyond is cut off.
    Where they are not given, 16 bits keep their high byte and floats lie in 0..1; an image whose values end below a sixteenth
    of that, or whose kind has no such range, is refused, as nobody can know what is white in it.
    size: None keeps the image as it is. With fit `crop` the shorter side is scaled to `size` and the middle cut out; with
    `stretch` both sides are scaled to it. Scaling is Pillow's bicubic (which averages over pixels where it shrinks).
    Raises AutokdError at `where` when it cannot be read.
    """
    from PIL import Image, ImageOps

    image, kind, deep = _opened(encoded, where)
    if image.mode[0] in "IF":
        image = Image.fromarray(_grey(np.asarray(image), kind, black, white, where))
    elif image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of a palette's transparency
    image = image.convert("L" if colour == "grey" else "RGB")
    if deep:
        _check_high_bytes(image, black, white, where)
    if size is not None and image.size != (size, size):
        if fit == "crop":
            image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
        else:
            image = image.resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), kind


def _opened(encoded: Any, where: str) -> tuple[Any, str, bool]:
    """The Pillow image, upright; its kind; whether it has 16 bits a colour, of which Pillow gives the high ones."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(encoded, AutokdError):
        raise encoded
    if isinstance(encoded, Image.Image):
        return encoded, encoded.format or "", False
    fix = "mend it, or take it out"
    try:
        if isinstance(encoded, Path):
            found = os.stat(encoded)
            if not stat.S_ISREG(found.st_mode):
                raise OSError("it is no file")
            empty = not found.st_size
        else:
            empty = not encoded
        if empty:
            raise OSError("it is empty")
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as opened:
            deep = opened.mode in ("L", "LA", "RGB", "RGBA", "RGBX") and any(";16" in str(tile) for tile in opened.tile)
            kind = opened.format or ""
            opened.load()
            return ImageOps.exif_transpose(opened), kind, deep
    except FileNotFoundError:
        named = f": {encoded}" if where and where != str(encoded) else ""
        raise AutokdError(f"there is no such image file{named}", where=where or str(encoded)) from None
    except UnidentifiedImageError:
        told = "it is no image, or damaged at its beginning"
    except Exception as fault:  # Pillow's decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error ...
        told = str(getattr(fault, "strerror", None) or fault).split("<_io", 1)[0].strip()
    raise AutokdError(f"the image cannot be read: {told}", where=where, fix=fix)


_DARK = 1 / 16  # of the range: 12 bits in 16 end there


def _grey(values: np.ndarray, kind: str, black: float | None, white: float | None, where: str) -> np.ndarray:
    """Grey values of any type to uint8, by `black` and `white` or by the range of their type."""
    if black is not None or white is not None:
        low, high = 0.0 if black is None else black, _white(values, kind) if white is None else white
        if high is None or high <= low:
            raise AutokdError(f"white ({high}) is not above black ({low:g})", where=where, fix=_RANGE)
        return _scaled(values, low, high)
    high = _white(values, kind)
    least, most = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    span = f"its values run from {least:.6g} to {most:.6g}"
    if not np.isfinite([least, most]).all():
        raise AutokdError("some of its values are no numbers", where=where, fix="mend it, or take it out")
    if high is None:
        raise AutokdError(f"32-bit whole numbers have no white of their own; {span}", where=where, fix=_RANGE)
    if least < 0 or most > high:
        raise AutokdError(f"{span}, and without further words floats lie in 0..1", where=where, fix=_RANGE)
    if most < (high + (high > 1)) * _DARK:
        raise AutokdError(f"{span} of {high:g}: it would be black", where=where, fix=_RANGE)
    return _scaled(values, 0.0, high)


_RANGE = "say what is white with the option `white` (4095 for 12 bits; `black` where it is not 0)"


def _white(values: np.ndarray, kind: str) -> float | None:
    """The largest value that a type can hold, where that is what is white."""
    if values.dtype.kind == "f":
        return 1.0
    return 65535.0 if values.dtype.itemsize == 2 or kind in ("PNG", "PPM") else None


def _scaled(values: np.ndarray, black: float, white: float) -> np.ndarray:
    if values.dtype.kind != "f" and black == int(black) and white == int(white):  # the high byte, exactly
        shifted = values.astype(np.int64).clip(int(black), int(white)) - int(black)
        return (shifted * 256 // (int(white) - int(black) + 1)).astype(np.uint8)
    share = np.nan_to_num((values.astype(np.float64) - black) / (white - black), nan=0.0).clip(0, 1)
    return np.rint(share * 255).astype(np.uint8)


def _check_high_bytes(image: Any, black: float | None, white: float | None, where: str) -> None:
    """Of 16 bits a colour Pillow gives the high byte, so that no other range can be asked for."""
    most = max((high for _, high in image.getextrema()) if image.mode == "RGB" else (image.getextrema()[1],))
    asked = (black or 0) != 0 or white not in (None, 65535)
    if asked or (white is None and most < 256 * _DARK):
        what = f"16 bits a colour are read by their high byte, and that is {most} at the most"
        raise AutokdError(what, where=where, fix="save it with 8 bits a colour, or in grey")


def decode_first(images: Iterable[Encoded], **how: Any) -> np.ndarray:
    """The first image that can be read. Raises the fault of the first one where none can."""
    fault: AutokdError | None = None
    for where, encoded in images:
        try:
            return decode(encoded, where=where, **how)
        except AutokdError as one:
            fault = fault or one
    raise fault or AutokdError("there are no images")


def decode_into(path: Path, images: Iterable[Encoded], count: int, **how: Any) -> dict[str, Any]:
    """Decode `count` images into a .npy file, uint8 [good, C, H, W], and say what they are.

    how: colour, size, fit, black and white of `decode_named`. An image that cannot be read takes no row; it stands in `faulty`.
    Returns {shape, mean, std, faulty, kinds, look}: mean and std a channel, of pixels scaled to 0..1; faulty: [position, where,
    why] of each; kinds: how many of each kind of file; look: what is odd about the pixels (autokd.data.reading.Look).
    Raises AutokdError where images differ in size, and FaultyImages where none can be read.
    """
    shape: tuple[int, ...] | None = None
    total = squares = np.zeros(0, dtype=np.uint64)
    faulty: list[tuple[int, Faulty]] = []
    kinds: Counter[str] = Counter()
    seen, done = Seen(), 0
    tell = _PROGRESS.get() or (lambda done, count: None)

    def one(item: Encoded) -> tuple[np.ndarray, str] | AutokdError:
        try:
            return decode_named(item[1], where=item[0], **how)
        except AutokdError as fault:
            return fault

    with path.open("wb") as file, ThreadPoolExecutor(_threads()) as pool:
        for chunk in _chunks(images):
            for (where, _), found in zip(chunk, pool.map(one, chunk), strict=True):
                row, done = done, done + 1
                if isinstance(found, AutokdError):
                    faulty.append((row, Faulty(found.where or where, found.what, found.fix)))
                    continue
                pixels, kind = np.ascontiguousarray(found[0]), found[1]
                if shape is None:
                    shape = pixels.shape
                    total, squares = np.zeros((2, shape[0]), dtype=np.uint64)
                    _header(file, count, shape)
                if pixels.shape != shape:  # told at once: whatever follows will be scaled
                    raise _of_another_size(where, pixels.shape, shape, faulty)
                # written, not memory-mapped: a full disk is then an error and not a crash
                file.write(pixels.data)
                values = pixels.reshape(len(pixels), -1).astype(np.uint64)
                total, squares = total + values.sum(axis=1), squares + (values * values).sum(axis=1)
                kinds[kind] += 1
                seen.add(row, pixels)
            tell(done, count)
        if done != count:
            raise ValueError(f"{done} images came of {count}")
        if shape is None:
            raise FaultyImages([fault for _, fault in faulty], count)
        good = done - len(faulty)
        _header(file, good, shape)
    numbers = float(good * shape[1] * shape[2])
    mean = total / numbers
    std = np.sqrt(np.maximum(squares / numbers - mean * mean, 0.0))
    std = np.maximum(std, 1.0)  # a channel that never changes is divided by one grey level, not by nothing
    return {
        "shape": [good, *shape],
        "mean": (mean / 255).tolist(),
        "std": (std / 255).tolist(),
        "faulty": [[row, *astuple(one)] for row, one in faulty],
        "kinds": dict(kinds),
        "look": asdict(seen.look()),
    }


def _header(file: Any, rows: int, shape: tuple[int, ...]) -> None:
    """Write the beginning of a .npy file, or write it again: numpy leaves room for any number of rows."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, *shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _of_another_size(
    where: str, shape: tuple[int, ...], first: tuple[int, ...], faulty: list[tuple[int, Faulty]]
) -> AutokdError:
    told = AutokdError(
        f"this image is {_sides(shape)}, the first one {_sides(first)}",
        where=where,
        fix="give the data set a `size`: images are then scaled to it",
    )
    return Faults([told, *(AutokdError(one.reason, where=one.file, fix=one.fix) for _, one in faulty)]) if faulty else told


def _sides(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]} pixels"


def _threads() -> int:
    return min(16, cpus())


def _chunks(images: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    source = iter(images)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk
