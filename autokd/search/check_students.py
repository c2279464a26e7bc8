"""Train each student one step before Ray starts: a network that cannot be trained is reported once, as a fault of the space.

Networks of the zoo are known to train. Results for networks of a library are cached by library version, so that the next command
need not import torch. A user's own network is checked by every command, in the process that counts its costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError, as_one
from autokd.files import cache_root
from autokd.rooms import catalogue
from autokd.search.notes import keep_notes, key_of, read_notes
from autokd.space.domains import values_of

__all__ = ["check_students"]

_FORM = 1  # increase it when autokd.train.check reports other things


def check_students(
    space: Any,
    card: Any,
    *,
    code: str,
    every: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    path: Path | None = None,
    check: Callable[..., tuple[str, ...]] | None = None,
) -> tuple[str, ...]:
    """Check the students, and the teachers that are trained here. Returns notes; raises AutokdError or Faults with all faults.

    code: hash of the code that builds networks. every: also check networks of the zoo. path: the cache file.
    """
    path = path or cache_root() / "training_checks.json"
    known: dict[str, list[str]] = read_notes(path, code, "networks")
    found: dict[str, list[str]] = {}
    notes: list[str] = []
    faults = _turned(space, card)
    for label, name, options in _asked(space, every):
        image = {"classes": card.classes, "channels": card.channels, "size": card.size}
        key = key_of(name, options, image, label, _FORM)
        if key in known:
            notes += known[key]
            continue
        tell(f"checking that {label} can be trained (one step)")
        try:
            told = (check or _check)(name, options=options, label=label, **image)
        except AutokdError as fault:
            faults.append(fault)
            continue
        notes += told
        if key:
            found[key] = list(told)
    if found:
        keep_notes(path, code, "networks", known | found)
    if faults:
        raise as_one(faults)
    return tuple(dict.fromkeys(notes))


def _turned(space: Any, card: Any) -> list[AutokdError]:
    """Faults for methods and policies that rotate images by 90 degrees, where images are not square."""
    if card.height == card.width:
        return []
    methods = [name for name, entry in catalogue("methods").items() if name in space.methods and "rotation" in entry.reads]
    policies = [name for name in space.tree.policy.names if name == "rotation"]
    ops = [value for one in space.tree.nodes() if one.path.endswith(".op") for value in values_of(one.domain)]
    policies += ["custom"] * ("quarter_turn" in ops)
    return [
        AutokdError(
            f"the {kind} {name} rotates images by 90 degrees, and these are {card.height} x {card.width} pixels",
            where=space.source,
            fix=f"remove it from space.{kind}, or give the data a `size`, which makes images square",
        )
        for kind, names in (("method", methods), ("policy", policies))
        for name in names
    ]


def _asked(space: Any, every: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(label for messages, name, options) of each network to check."""
    networks = [(name.removeprefix(f"{Path.cwd()}/"), one.name, one.options) for name, one in space.students.items()]
    trained = [one for one in space.teachers.values() if one.training is not None]
    networks += [(f"the teacher {one.name}", one.model, one.options) for one in trained]
    seen = []
    for label, name, options in networks:
        if (every or ":" in name) and (name, options) not in seen:
            seen.append((name, options))
            yield label, name, options


def _check(name: str, **asked: Any) -> tuple[str, ...]:
    from autokd.train.check import check_training

    return check_training(name, **asked)
