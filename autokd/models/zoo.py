"""What can be built, told without importing torch: the zoo's families, their sizes, and what a model's name means.

A family is one file of this folder. Its `__all__` names the function that builds it: positional parameters are
`classes`, `channels` and the named groups of PATTERN, keyword-only ones are the options. Upper-case literals say the
rest: PATTERN (the whole name), EXAMPLE, SIZES {name: (parameters, multiply-accumulates)} at 3x32x32 and 100 classes,
SMALLEST (pixels a side), and where needed ALIASES, AMBIGUOUS {name: what to write}, DEPTHS (first, step).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError, did_you_mean
from autokd.machine import expanded
from autokd.rooms import Entry, catalogue, complain

LIBRARIES = ("torchvision", "timm")
FOREIGN = "torchvision:NAME, timm:NAME, some.module:callable or path/to/file.py:callable"


@dataclass(frozen=True)
class Known:
    """One network of the zoo. `params` and `macs` are at 3x32x32 and 100 classes."""

    name: str
    params: int
    macs: int
    family: str
    source: str


@dataclass(frozen=True)
class Resolved:
    """What a model's name means. `kind` is zoo, torchvision, timm or own."""

    kind: str
    name: str  # canonical: aliases are followed
    entry: Entry | None = None  # of the zoo
    arguments: dict[str, Any] = field(default_factory=dict)  # what the name itself says: depth, width
    place: str = ""  # of own code: module or file
    attribute: str = ""  # of own code: callable; of a library: its name of the network


@lru_cache(maxsize=1)
def table() -> tuple[Known, ...]:
    """Every published network of the zoo, family by family."""
    return tuple(
        Known(name, params, macs, entry.name, entry.source)
        for entry in catalogue("models").values()
        for name, (params, macs) in entry.facts["SIZES"].items()
    )


def names() -> list[str]:
    """The names of `table()`; families accept more, such as resnet14x0.5 or wrn_28_10."""
    return [known.name for known in table()]


def resolve(name: str, options: dict[str, Any] | None = None) -> Resolved:
    """What `name` means, with its options checked as far as that needs no torch.

    Raises AutokdError for an unknown, impossible or ambiguous name, and for an option the family does not have.
    """
    if not isinstance(name, str) or not name.strip():
        raise AutokdError(f"a model is named by a word, not by {name!r}", fix=_ways_out())
    name = name.strip()
    place, colon, attribute = name.rpartition(":")
    if colon:
        if not place or not attribute:
            raise AutokdError(f"{name!r} is not a model's name", fix=f"write {FOREIGN}")
        if place in LIBRARIES:
            _refuse_ours(name, options or {})
            return Resolved(place, name, attribute=attribute)
        if not attribute.isidentifier():
            raise AutokdError(f"{attribute!r} in {name!r} cannot be the name of a callable", fix=f"write {FOREIGN}")
        return Resolved("own", name, place=place, attribute=attribute)
    found = _in_zoo(name)
    _check_options(found, options or {})
    return found


def anchor(name: str, folder: str | Path | None = None) -> str:
    """The same model, whatever folder a process stands in: path/to/file.py:callable with its path made absolute.

    `folder` is what the path is relative to (the current folder unless given). Every other name stays as it is.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or place in LIBRARIES or not is_file(place):
        return name
    return f"{Path(folder or '.', expanded(place)).resolve()}:{attribute}"


def is_file(place: str) -> bool:
    """Whether own code is named by its file rather than by its module."""
    return place.endswith(".py") or "/" in place or os.sep in place


def _in_zoo(name: str) -> Resolved:
    families = list(catalogue("models").values())
    word = name
    for entry in families:
        word = entry.facts.get("ALIASES", {}).get(name, word)
    word = word.lower().replace("-", "_")
    for entry in families:
        if word in entry.facts.get("AMBIGUOUS", {}):
            raise AutokdError(f"{name!r} could be more than one network", fix=f"write {entry.facts['AMBIGUOUS'][word]}")
    for entry in families:
        match = re.fullmatch(entry.facts["PATTERN"], word)
        if match is None:
            continue
        said = {key: _value(text) for key, text in match.groupdict().items() if text is not None}
        first, step = entry.facts.get("DEPTHS", (0, 1))
        depth = said.get("depth", first)
        if depth < first or (depth - first) % step:
            raise AutokdError(
                f"{name!r} cannot be built: its depth must be {first}, {first + step}, {first + 2 * step}, ...",
                fix=f"or name a library's network: torchvision:{word}, timm:{word}",
            )
        return Resolved("zoo", word, entry, said)
    raise AutokdError(f"unknown model {name!r}{did_you_mean(word, names())}", fix=_ways_out(families))


def _value(text: str) -> Any:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _check_options(found: Resolved, options: dict[str, Any]) -> None:
    assert found.entry is not None
    for key, value in options.items():
        setting = found.entry.setting(key)
        if setting is None:
            known = [s.name for s in found.entry.settings]
            offers = f"options of {found.name}: {', '.join(known)}" if known else f"{found.name} has no options"
            raise AutokdError(f"{found.name} has no option {key!r}{did_you_mean(key, known)}", fix=offers)
        trouble = complain(setting, value)
        if trouble:
            raise AutokdError(f"{found.name}: {trouble}", fix=str(setting))


_NAMED = "a teacher names its published weights by `weights: NAME` and a file by `checkpoint: FILE`; students start at random"
_OURS = {  # settings of torchvision and timm that follow from other parts of a space
    **dict.fromkeys(("pretrained", "weights", "weights_backbone", "pretrained_backbone", "checkpoint_path"), _NAMED),
    **dict.fromkeys(("pretrained_cfg", "pretrained_cfg_overlay"), _NAMED),
    "num_classes": "it is the number of classes of the data set",
    "in_chans": "it is the number of channels of the data set",
    "img_size": "it is the size of the data set's images",
    "features_only": "a network answers with its logits",
    "cache_dir": "the variables HF_HOME and TORCH_HOME say where downloaded weights are kept",
}


def _refuse_ours(name: str, options: dict[str, Any]) -> None:
    ours = [key for key in options if key in _OURS]
    if ours:
        told = f"{name}: autokd itself sets {' and '.join(map(repr, ours))}, which cannot be given as options"
        raise AutokdError(told, fix="; ".join(dict.fromkeys(_OURS[key] for key in ours)))


def _ways_out(families: Iterable[Entry] = ()) -> str:
    forms = [entry.facts["EXAMPLE"] for entry in families or catalogue("models").values()]
    return "known: " + "; ".join(forms) + f"; or {FOREIGN}"
