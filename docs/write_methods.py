"""Write the part of docs/methods.md that the catalogue says: `python docs/write_methods.py`. A test holds the page to it."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import wrap
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from autokd.config.terms import candidates  # noqa: E402
from autokd.config.tree import method_settings, needs_teacher  # noqa: E402
from autokd.methods.build import build_method  # noqa: E402
from autokd.rooms import Entry, Setting, catalogue  # noqa: E402

PAGE = ROOT / "docs" / "methods.md"
BEGIN, END = "<!-- catalogue: begin -->", "<!-- catalogue: end -->"


def section() -> str:
    """Every method in a few lines, by what it compares."""
    titles = {
        "labels": "Without a teacher",
        "logits": "Of logits",
        "features": "Of feature maps",
        "relation": "Of relations",
    }
    known = catalogue("methods")
    levels = [*titles, *sorted({e.facts.get("LEVEL", "logits") for e in known.values()} - set(titles))]
    parts = []
    for level in levels:
        found = [entry for entry in known.values() if entry.facts.get("LEVEL", "logits") == level]
        if found:
            parts += [f"### {titles.get(level, f'Of {level}')}", *map(_method, found)]
    return "\n\n".join(parts)


def _method(entry: Entry) -> str:
    own, extras = method_settings(entry)
    weights = ", ".join(f"`{s.name}` {_weight(entry, s)}" for s in extras if s.name in ("ce_weight", "kd_weight"))
    told = [_setting(s) + ("" if s in own else ", of the recipe") for s in entry.settings]
    lines = [
        f"**{entry.name}.** {entry.summary}",
        f"- Settings: {'; '.join(told) or 'none'}. Published weights: {weights}.",
        f"- Needs {needs(entry)}",
        f"- Source: {entry.source or 'our own'}",
    ]
    return "\n".join(
        "\n".join(wrap(line, 118, subsequent_indent="  " if line.startswith("- ") else "", break_long_words=False))
        for line in lines
    ).replace("\n- ", "\n\n- ", 1)


def _weight(entry: Entry, setting: Setting) -> str:
    """The published value; of a method around another one, the values by its base."""
    bases: dict[str, dict[str, float]] = entry.facts.get("BASE_WEIGHTS", {})
    if not bases:
        return _plain(setting.default)
    values = dict.fromkeys(one[setting.name] for one in bases.values())
    return ", ".join(
        f"{_plain(value)} ({', '.join(name for name, one in bases.items() if one[setting.name] == value)})" for value in values
    )


def _setting(setting: Setting) -> str:
    kind = (
        " or ".join(setting.words) if setting.words else {"bool": "true or false"}.get(setting.kind, str(setting.limit))
    )
    return f"`{setting.name}` {_plain(setting.default)}" + (f" ({kind})" if kind else "")


def _plain(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}[value]
        if value is None or isinstance(value, bool)
        else (f"{value:g}" if isinstance(value, float) else str(value))
    )


def needs(entry: Entry) -> str:
    """The teacher live or from the cache, parts that train beside the student, and what it does to the batch."""
    if not needs_teacher(entry.name):
        return "no teacher."
    method: Any = build_method(entry.name)
    live = "teacher_features" in entry.reads
    kept = "the teacher's logits and pooled vectors" if "teacher_pooled" in entry.reads else "the teacher's logits"
    words = ["the teacher's feature maps, so a live teacher" if live else f"{kept}, live or kept"]
    if "plain_teacher_logits" in method.reads:
        words.append("its answer to the plain view of an augmented one")
    if hasattr(method.module, "know_energies"):
        words.append("the teacher's answers to all training images once, before the first trial")
    if hasattr(method.module, "build_parts"):
        words.append("parts of its own that train with the student and are not exported")
    if method.turns > 1:
        words.append(f"every view turned {method.turns} ways")
    if hasattr(method.module, "teacher_loss"):
        words.append("parts of the teacher that are trained first, once for all trials")
    if method.student_images is not None:
        words.append("a student that is shown, and used on, images of a lower resolution")
    where = (
        "Goes beside another method with `also`" if entry.name in candidates() else "Is no term beside another method"
    )
    return f"{'; '.join(words)}. {where}."


def written(page: str) -> str:
    """The page with its generated part made anew."""
    head, rest = page.split(BEGIN, 1)
    return f"{head}{BEGIN}\n\n{section()}\n\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
