"""Every student trains one step before Ray starts: a network that cannot be trained is a fault of the space, not of each trial.

The zoo's networks are known to train. What a library's network showed is kept in the cache folder, by the versions that decide
it, so that the next command need not import torch; one of a person's own trains its step in the process that counts it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError, Faults
from autokd.files import cache_root, write_text
from autokd.rooms import catalogue
from autokd.space.domains import values_of

__all__ = ["rehearse_all"]

_FORM = 1  # of autokd.train.rehearse; raise it when it would tell other things


def rehearse_all(
    space: Any,
    card: Any,
    *,
    code: str,
    every: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    path: Path | None = None,
    rehearse: Callable[..., tuple[str, ...]] | None = None,
) -> tuple[str, ...]:
    """Notes on the students, and on the teachers that are to be trained. Raises AutokdError or Faults, all at once.

    code: names the code that builds and trains. every: also the zoo's. path: where what was found is kept; the cache folder.
    """
    path = path or cache_root() / "rehearsed.json"
    known = _read(path, code)
    found: dict[str, list[str]] = {}
    notes: list[str] = []
    faults = _turned(space, card)
    for label, name, options in _asked(space, every):
        image = {"classes": card.classes, "channels": card.channels, "size": card.size}
        key = _key(label, name, options, image)
        if key in known:
            notes += known[key]
            continue
        tell(f"training {label} a step, to see that it can be trained")
        try:
            told = (rehearse or _rehearse)(name, options=options, label=label, **image)
        except AutokdError as fault:
            faults.append(fault)
            continue
        notes += told
        if key:
            found[key] = list(told)
    if found:
        _keep(path, code, known | found)
    if faults:
        raise faults[0] if len(faults) == 1 else Faults(faults)
    return tuple(dict.fromkeys(notes))


def _turned(space: Any, card: Any) -> list[AutokdError]:
    """Methods and policies that turn images by right angles, where these are not square."""
    if card.height == card.width:
        return []
    methods = [name for name, entry in catalogue("methods").items() if name in space.methods and "rotation" in entry.reads]
    policies = [name for name in space.tree.policy.names if name == "rotation"]
    ops = [value for one in space.tree.nodes() if one.path.endswith(".op") for value in values_of(one.domain)]
    policies += ["custom"] * ("quarter_turn" in ops)
    return [
        AutokdError(
            f"the {kind} {name} turns images by right angles, and these are {card.height} x {card.width} pixels",
            where=space.source,
            fix=f"leave it out of space.{kind}, or give the data a `size`, which makes images square",
        )
        for kind, names in (("method", methods), ("policy", policies))
        for name in names
    ]


def _asked(space: Any, every: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(as it is called here, name, options) of each network that trains and is not known to."""
    networks = [(name.removeprefix(f"{Path.cwd()}/"), one.name, one.options) for name, one in space.students.items()]
    trained = [one for one in space.teachers.values() if one.training is not None]
    networks += [(f"the teacher {one.name}", one.model, one.options) for one in trained]
    seen = []
    for label, name, options in networks:
        if (every or ":" in name) and (name, options) not in seen:
            seen.append((name, options))
            yield label, name, options


def _rehearse(name: str, **asked: Any) -> tuple[str, ...]:
    from autokd.train.rehearse import rehearse

    return rehearse(name, **asked)


def _key(label: str, name: str, options: dict[str, Any], image: dict[str, Any]) -> str:
    """What the answer depends on beside the code that builds networks; "" where that cannot be told."""
    from autokd.models.origin import library_of

    version = library_of(name)
    if version is None:
        return ""
    try:
        return json.dumps([_FORM, label, name, version, options, image], sort_keys=True)
    except TypeError:  # an option that is no plain value
        return ""


def _read(path: Path, code: str) -> dict[str, list[str]]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return dict(told["networks"]) if told["code"] == code else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _keep(path: Path, code: str, networks: dict[str, list[str]]) -> None:
    try:
        write_text(path, json.dumps({"code": code, "networks": networks}, indent=1))
    except OSError:
        pass  # trained a step again another time
