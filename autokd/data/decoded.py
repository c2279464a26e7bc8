"""From encoded images to a part of a data set: decoded once, kept, with what was learned on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.cache import remembered, seen
from autokd.data.decode import RULES, Encoded, decode_into
from autokd.data.images import Images
from autokd.data.reading import Faulty, Look, Reading

__all__ = ["assemble", "images_of", "key_of", "known", "looking"]


def looking(
    colour: str = "rgb",
    size: int | None = None,
    fit: str = "crop",
    black: float | None = None,
    white: float | None = None,
) -> dict[str, Any]:
    """The settings of `decode_named` as one value: all that decides pixels beside the files."""
    return {"colour": colour, "size": size, "fit": fit, "black": black, "white": white}


def known(name: str, made_of: dict[str, Any], how: dict[str, Any]) -> dict[str, Any] | None:
    """What decoding told ({shape, mean, std, …}), where these images were decoded before."""
    return seen(name, key_of(made_of, how))


def images_of(
    name: str,
    made_of: dict[str, Any],
    how: dict[str, Any],
    encoded: Callable[[], Iterable[Encoded]],
    labels: np.ndarray,
    classes: tuple[str, ...],
    where: Callable[[int], str],
    *,
    files: Callable[[], list[Path]] | None = None,
    **told: Any,
) -> Images:
    """A part of a set. made_of: what its images come from. how: of `looking`. labels: int64 [rows]. where: names a row. files:
    further ones that it came from, as in `remembered`. told: further fields of `Reading`.

    An image that cannot be read has no row in the result, and the others keep their positions as `index`.
    """

    def make(path: Path) -> dict[str, Any]:
        return decode_into(path, encoded(), len(labels), **how)

    pixels, facts = remembered(name, key_of(made_of, how), make, files)
    return assemble(pixels, facts, labels, classes, where, **told)


def assemble(
    pixels: np.ndarray,
    facts: dict[str, Any],
    labels: np.ndarray,
    classes: tuple[str, ...],
    where: Callable[[int], str],
    **told: Any,
) -> Images:
    """`pixels` [good, C, H, W] and the facts of `decode_into` as a part of a set."""
    good = np.ones(len(labels), dtype=bool)
    good[[row for row, *_ in facts["faulty"]]] = False
    look, index = facts["look"], np.flatnonzero(good)
    pairs = {"constant": tuple(look["constant"]), "copies": tuple((row, first) for row, first in look["copies"])}
    reading = Reading(
        labels,
        where,
        faulty=tuple(Faulty(*one) for _, *one in facts["faulty"]),
        look=Look(**{**look, **pairs}),
        **{"kinds": facts["kinds"], **told},
    )
    return Images(pixels, labels[index], classes, index.astype(np.int64), reading)


def key_of(made_of: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """What an entry of decoded images is named by: what they come from, and all that decides their pixels."""
    return {"rules": RULES, **made_of, **how}
