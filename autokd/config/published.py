"""The published weights of a method's loss; those of a method around another one follow the one inside (`base`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autokd.rooms import Entry, Setting, catalogue

__all__ = ["by_base", "weighed"]


def weighed(setting: Setting, entry: Entry, name: str = "") -> Setting:
    """A setting of the loss with the method's published value as its default: null, and allowed to be, where that follows the
    base. name: of the weight, where the setting bears another.
    """
    name = name or setting.name
    if name in next(iter(_of_bases(entry).values()), {}):
        return replace(setting, default=None, optional=True)
    weights = entry.facts.get("WEIGHTS", {})
    weights = weights[entry.name] if isinstance(weights.get(entry.name), dict) else weights
    return replace(setting, default=weights.get(name, setting.default))


def by_base(method: str, name: str, settings: Mapping[str, Any]) -> float:
    """The published weight `name` of a method whose `settings` say which base it has."""
    entry = catalogue("methods")[method]
    base = entry.setting("base")
    assert base is not None
    return float(_of_bases(entry)[settings.get("base", base.default)][name])


def _of_bases(entry: Entry) -> dict[str, dict[str, float]]:
    return entry.facts.get("BASE_WEIGHTS", {})
