"""What has to be known to use an exported student. It travels inside each of its files, so that a copied file still works."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from autokd.errors import AutokdError

__all__ = ["INPUT", "KEY", "Facts", "from_text", "looks_of", "to_text"]

KEY = "autokd_student"  # in safetensors and ONNX metadata
FILE = "autokd_student.json"  # beside the program in a .pt2
INPUT = "uint8 [N, C, H, W], grey levels 0 to 255 as an image file holds them; normalisation is part of the graph"
_FORM = 1


@dataclass(frozen=True)
class Facts:
    """student and options build the network; classes are in the order of the logits.

    mean, std: one number a channel, of pixels scaled to 0..1. shown: {method, settings} of a student that is shown less than its
    images hold (a lower resolution), else None. fit: how an image of another size is brought to height x width (`crop` or
    `stretch`). black, white: the values of images of more than 8 bits that are read as 0 and 255, where the data said so
    (autokd.data.decode). threshold: the confidence from which answers may be trusted, or None. made: where the student comes
    from.
    """

    student: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shown: dict[str, Any] | None = None
    fit: str = "crop"
    black: float | None = None
    white: float | None = None
    threshold: float | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def looks(self) -> dict[str, Any]:
        """How an image file is read, beside its size and colours: further arguments of `decode_named`."""
        return {"fit": self.fit, "black": self.black, "white": self.white}


def looks_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a data set that say how an image file is read, beside its size and colours."""
    return {"fit": str(options.get("fit", "crop")), "black": options.get("black"), "white": options.get("white")}


def to_text(facts: Facts) -> str:
    return json.dumps({"form": _FORM, "input": INPUT, **asdict(facts)}, ensure_ascii=False, default=str)


def from_text(text: str, where: str) -> Facts:
    """Raises AutokdError where the text is damaged or of a later version of autokd."""
    try:
        told = json.loads(text)
        if told.pop("form") > _FORM:
            raise AutokdError("this file is of a later autokd", where=where, fix="pip install -U autokd")
        known = {one.name for one in fields(Facts)}
        tuples = {word: tuple(told[word]) for word in ("classes", "mean", "std")}
        return Facts(**{word: value for word, value in told.items() if word in known} | tuples)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise AutokdError(f"what the file says of its student cannot be read ({fault})", where=where) from None
