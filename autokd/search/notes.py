"""Notes of what earlier processes found out about networks: JSON files of the cache folder, each of one code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autokd.files import write_text

__all__ = ["keep_notes", "key_of", "read_notes"]


def key_of(name: str, *parts: Any) -> str:
    """The key of a network with these parts and its library's version; "" for one that has no notes (one's own, or with an
    option that is no plain value)."""
    from autokd.models.origin import library_of

    version = library_of(name)
    try:
        return json.dumps([name, *parts, version], sort_keys=True) if version else ""
    except TypeError:
        return ""


def read_notes(path: Path, code: str, word: str) -> dict[str, Any]:
    """By key, what stands under `word`; nothing where the file is damaged or of another code."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return dict(told[word]) if told["code"] == code else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def keep_notes(path: Path, code: str, word: str, notes: Mapping[str, Any]) -> None:
    """Write them, where that can be done; what is not kept is found out again."""
    try:
        write_text(path, json.dumps({"code": code, word: notes}, indent=1))
    except OSError:
        pass
