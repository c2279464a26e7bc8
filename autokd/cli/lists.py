"""autokd models, methods, policies, datasets: what a search may choose from. Read from syntax trees, so torch stays out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd.cli.console import echo, wrapped
from autokd.cli.documents import print_json
from autokd.cli.options import Json, Quiet
from autokd.cli.tables import print_table
from autokd.cli.terminal import shown
from autokd.errors import AutokdError, did_you_mean
from autokd.report.columns import Column, folded
from autokd.report.words import amount

if TYPE_CHECKING:
    from autokd.models.zoo import Known, Resolved
    from autokd.rooms import Entry

__all__ = ["datasets", "methods", "models", "policies"]

Named = Annotated[str | None, typer.Argument(metavar="NAME", help="Tell all of one of them.")]


def models(name: Named = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the networks with parameters and multiply-accumulates."""
    from autokd.models.zoo import FOREIGN, resolve, table
    from autokd.rooms import catalogue

    families = catalogue("models")
    known = {item.name: item for item in table()}
    family = name
    asked: list[Known] = []
    if name is not None and name not in families:
        found = resolve(name)
        family = found.entry.name if found.entry else None
        asked = [known.get(found.name) or _counted(found)]
    if family is None and asked:
        shown = asked
    else:
        shown = [*asked, *(item for item in known.values() if item not in asked and family in (None, item.family))]
    if as_json:
        facts = [
            {
                "name": item.name,
                "family": item.family,
                "params": item.params,
                "macs": item.macs,
                "input": "3x32x32, 100 classes",
                "settings": _settings(families[item.family]) if item.family in families else [],
                "source": item.source,
            }
            for item in shown
        ]
        print_json(facts)
        return
    if quiet:
        echo("\n".join(item.name for item in shown))
        return
    rows = [(item.name, amount(item.params), amount(item.macs), item.family) for item in shown]
    print_table((folded("model"), "params", "MACs", Column("family", 1)), rows)
    echo()
    if family is not None:
        _tell(families[family], kind="options", whole=name is not None)
    if name is not None:
        return
    wrapped("Parameters and multiply-accumulates (MACs) of one 3x32x32 image and 100 classes. Names go by a pattern:")
    for entry in families.values():
        wrapped(entry.facts.get("EXAMPLE", entry.name), indent="  ")
    wrapped(f"Also {FOREIGN}.")


def _counted(found: Resolved) -> Known:
    """The cost of a network that stands in no table, at 3x32x32 and 100 classes; counting it takes torch."""
    from autokd.cost.count import count
    from autokd.models.zoo import Known

    cost = count(found.name, classes=100, channels=3, size=32)
    source = found.entry.source if found.entry else found.place or found.kind
    return Known(found.name, cost.params, cost.macs, found.entry.name if found.entry else found.kind, source)


def methods(name: Named = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the distillation methods with settings and source."""
    _list("methods", name, as_json, quiet, extra=_method_cost, example=partial(_searched, "method"))


def policies(name: Named = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the augmentation policies with their settings and source."""
    _list("augment.policies", name, as_json, quiet, extra=lambda entry: {}, example=partial(_searched, "policy"))


def datasets(name: Named = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the data sets with their size, settings and source."""
    _list("data.sets", name, as_json, quiet, extra=_data_cost, example=lambda entry: str(entry.facts.get("EXAMPLE", "")))


def _list(room: str, name: str | None, as_json: bool, quiet: bool, *, extra: Any, example: Any) -> None:
    """extra: further facts of an entry. example: how a space file has it; told where one entry is asked for."""
    from autokd.rooms import catalogue

    entries = catalogue(room)
    if name is not None:
        if name not in entries:
            raise AutokdError(f"unknown name {name!r}{did_you_mean(name, entries)}", fix="known: " + ", ".join(entries))
        entries = {name: entries[name]}
    if as_json:
        print_json([{**_facts(entry), **extra(entry), "example": example(entry)} for entry in entries.values()])
    elif quiet:
        echo("\n".join(entries))
    else:
        for number, entry in enumerate(entries.values()):
            if number:
                echo()
            more = {"in a space": example(entry)} if name is not None and example(entry) else {}
            _tell(entry, extra=extra(entry) | more, whole=name is not None)


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "reads": list(entry.reads),
        "settings": _settings(entry),
        "search": entry.search,
        "facts": entry.facts,
        "source": entry.source,
        "file": entry.module.replace(".", "/") + ".py",
    }


def _settings(entry: Entry) -> list[dict[str, Any]]:
    return [
        {
            "name": setting.name,
            "kind": "word" if setting.words else setting.kind,
            "default": setting.default,
            "required": setting.required,
            "limit": str(setting.limit),
            "words": list(setting.words),
            "optional": setting.optional,
            "meaning": setting.meaning,
        }
        for setting in entry.settings
    ]


def _searched(section: str, entry: Entry) -> str:
    """A method or policy in a space: with ranges where it has some."""
    from autokd.config.tree import method_settings

    own = method_settings(entry)[0] if section == "method" else entry.settings  # some of a method's are the recipe's
    told = f"{{choose: {{{entry.name}: search}}}}" if any(one.name in entry.search for one in own) else entry.name
    return f"space: {{{section}: {told}}}"


def _tell(entry: Entry, *, kind: str = "settings", extra: dict[str, Any] | None = None, whole: bool = False) -> None:
    """An entry for a person. whole: with what each setting means."""
    from textwrap import wrap

    from autokd.cli.console import console

    lines: list[tuple[str, str]] = []
    for key, value in (extra or {}).items():
        lines.append(
            (
                key,
                ", ".join(map(str, value))
                if isinstance(value, Sequence) and not isinstance(value, str)
                else str(value),
            )
        )
    for number, setting in enumerate(entry.settings):
        lines.append((kind if number == 0 else "", str(setting)))
        if whole and setting.meaning:
            lines.append(("", f"  {setting.meaning}"))
    if entry.search:
        words = "; ".join(f"{key}: {_range(value)}" for key, value in entry.search.items())
        lines.append(("searched", words))
    if entry.source:
        lines.append(("source", entry.source))
    width, room = min(console().width, 120), max([8, *(len(key) for key, _ in lines)])
    head, *rest = wrap(f"{entry.name}  {entry.summary}", width, subsequent_indent="  ")
    typer.echo(shown(typer.style(entry.name, bold=True) + head.removeprefix(entry.name)))
    for line in rest:
        echo(line)
    for key, text in lines:
        deeper = " " * (len(text) - len(text.lstrip()))
        told = wrap(text.lstrip(), width, initial_indent=f"  {key:<{room}} {deeper}", subsequent_indent=" " * (room + 3) + deeper)
        echo("\n".join(told))


def _range(value: Any) -> str:
    """{"log": [1, 20]} -> '1 to 20, log'; {"choose": [False, True]} -> 'false | true', as `autokd validate` says it."""
    if not isinstance(value, dict) or len(value) != 1:
        return _yaml(value)
    word, bounds = next(iter(value.items()))
    if word == "choose":
        return " | ".join(map(_yaml, bounds))
    low, high, *_ = bounds
    return f"{_yaml(low)} to {_yaml(high)}" + ("" if word == "uniform" else f", {word}")


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _method_cost(entry: Entry) -> dict[str, Any]:
    """What a method asks for beyond the student's own pass, in words."""
    reads = set(entry.reads)
    cost = []
    if reads & {"teacher_logits", "plain_teacher_logits"}:
        cost.append("teacher logits (kept: one pass a view for all trials)")
    if "plain_teacher_logits" in reads:
        cost.append("the plain view of the same image")
    if any("features" in word for word in reads):
        cost.append("features of both networks (live teacher)")
    return {"reads": list(entry.reads), "cost": cost or ["no teacher"]}


def _data_cost(entry: Entry) -> dict[str, Any]:
    """The upper-case facts of a data set's file, in the words of a person."""
    facts = entry.facts
    told: dict[str, Any] = {}
    if "TRAIN_IMAGES" in facts or "CLASSES" in facts:
        size = facts.get("SIZE")
        pixels = f"{facts.get('CHANNELS', '?')}x{size}x{size}" if size else "any size"
        told["holds"] = (
            f"{facts.get('TRAIN_IMAGES') or 'your own'} training images, {facts.get('CLASSES') or 'own'} classes, {pixels}"
        )
    if facts.get("DOWNLOAD"):
        told["download"] = "on first use"
    return told
