"""Further distillation terms of a method in a space file: `also: {spkd: {weight: 3000}}` in its branch.

Inside a tree they are settings of the branch with dotted names (`also.spkd.weight`), drawn and searched like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autokd.config.published import by_base, weighed
from autokd.config.trial import Term
from autokd.errors import did_you_mean
from autokd.rooms import Entry, Limit, Setting, catalogue
from autokd.space.document import Place
from autokd.space.domains import Node, Tell

__all__ = ["candidates", "nested", "parse_terms", "term_settings", "terms_of"]

Read = Callable[[Any, tuple[Setting, ...], Place, str, Entry], tuple[tuple[str, Node], ...]]

_PREFIX = "also."


def candidates() -> dict[str, Entry]:
    """The methods that may stand beside another: they have a teacher, and leave the batch as it is."""
    return {
        name: entry
        for name, entry in catalogue("methods").items()
        if any("teacher" in word for word in entry.reads) and not entry.facts.get("ALONE")
    }


def term_settings(entry: Entry) -> tuple[Setting, ...]:
    """A term's weight, by default its published one, and the settings of its method."""
    return (weighed(Setting("weight", "float", 1.0, limit=Limit(ge=0)), entry, "kd_weight"), *entry.settings)


def parse_terms(value: Any, method: str, place: Place, tell: Tell, read: Read) -> tuple[tuple[str, Node], ...]:
    """`{spkd: {weight: …, layer: …}}` as dotted settings; every fault is told at its line."""
    known = candidates()
    if value is None:
        return ()
    if not isinstance(value, dict):
        tell(place, f"also is a mapping of methods, not {value!r}", "for example also: {spkd: {weight: 3000}}")
        return ()
    made: list[tuple[str, Node]] = []
    for name, settings in value.items():
        at = (*place, name)
        if name == method:
            tell(at, f"{name} is the method itself", "name another method, or raise kd_weight")
        elif name in catalogue("methods") and name not in known:
            what = "has no teacher" if name == "ce" else "decides what the whole batch looks like"
            tell(at, f"{name} cannot be a term beside {method}: it {what}", f"terms: {', '.join(known)}")
        elif name not in known:
            tell(at, f"unknown method {name!r}", f"terms: {', '.join(known)}{did_you_mean(str(name), known)}")
        else:
            nodes = read(settings, term_settings(known[name]), at, name, known[name])
            made += [(f"{_PREFIX}{name}.{key}", node) for key, node in nodes]
    return tuple(made)


def nested(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"also.spkd.weight": w, …} as {"spkd": {"weight": w, …}}; other settings are left out."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        if key.startswith(_PREFIX):
            _, name, own = key.split(".", 2)
            found.setdefault(name, {})[own] = value
    return found


def terms_of(settings: dict[str, Any]) -> tuple[Term, ...]:
    """Take the terms out of a branch's drawn settings. One whose weight is 0 is none."""
    found = nested(settings)
    for key in [key for key in settings if key.startswith(_PREFIX)]:
        del settings[key]
    made = [(name, own.pop("weight"), own) for name, own in found.items()]
    made = [(name, by_base(name, "kd_weight", own) if weight is None else weight, own) for name, weight, own in made]
    return tuple(Term(name, own, weight) for name, weight, own in made if weight > 0)
