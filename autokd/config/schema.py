"""The JSON Schema of a search space, for editors: sections from their pydantic models, branches from the catalogues."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from autokd.augment import known as known_ops
from autokd.config.sections import SpaceFile, StudentItem, StudentsSection
from autokd.config.terms import candidates, term_settings
from autokd.config.tree import (
    LOSS,
    OPTIMIZERS,
    POLICY_EXTRAS,
    RATIO,
    RECIPE,
    SCHEDULES,
    SHARED_BY_OPTIMIZERS,
    SHARED_BY_SCHEDULES,
    STEP,
    method_settings,
    needs_teacher,
)
from autokd.models import zoo
from autokd.rooms import Setting, catalogue

__all__ = ["schema"]

_NUMBER = {"type": "number"}
_PAIR = {"type": "array", "prefixItems": [_NUMBER, _NUMBER], "minItems": 2, "maxItems": 2}


def schema() -> dict[str, Any]:
    """The whole format, draft 2020-12. What needs more than one place to judge (pairs, files, empty ranges) is not in it."""
    _, told = models_json_schema(
        [(SpaceFile, "validation"), (StudentItem, "validation"), (StudentsSection, "validation")],
        ref_template="#/$defs/{model}",
    )
    definitions = told["$defs"]
    root = definitions.pop("SpaceFile")
    word = {"type": "string", "examples": zoo.names()}
    student = {"anyOf": [word, {"$ref": "#/$defs/StudentItem"}]}
    optional = {"$ref": "#/$defs/StudentsSection"}
    places = root["properties"]
    places["students"] = {"anyOf": [{"type": "array", "items": student, "minItems": 1}, optional]}
    places["pairs"] = {
        "description": "[teacher, student] each",
        "type": "array",
        "minItems": 1,
        "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
    }
    places["space"] = _space(definitions)
    definitions["DataSection"]["properties"]["name"]["enum"] = list(catalogue("data.sets"))
    train = definitions["TrainSection"]
    train["additionalProperties"] = False
    train["properties"]["policy"] = {"anyOf": [{"type": "string"}, {"type": "object", "maxProperties": 1}]}
    for setting in _recipe_settings():
        train["properties"][setting.name] = _value(setting)
    train["properties"]["optimizer"] = {"enum": list(OPTIMIZERS)}
    train["properties"]["schedule"] = {"enum": list(SCHEDULES)}
    latency = definitions["BudgetSection"]["properties"]["latency"]
    latency["anyOf"] = [*latency["anyOf"], definitions["LatencySection"]["properties"]["max"]]  # latency: 5 ms
    for name in list(places):  # an empty section is one that is not there
        if name not in root.get("required", ()):
            places[name] = {"anyOf": [places[name], {"type": "null"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "autokd search space",
        **{key: value for key, value in root.items() if key != "title"},
        "$defs": definitions,
    }


def _space(definitions: dict[str, Any]) -> dict[str, Any]:
    methods = {
        name: _settings(
            sum(method_settings(entry), ()),
            entry.summary,
            recommended=bool(entry.search),
        )
        for name, entry in catalogue("methods").items()
    }
    for name, entry in candidates().items():
        definitions[f"term.{name}"] = {"anyOf": [_settings(term_settings(entry), entry.summary), {"type": "null"}]}
    for name, made in methods.items():
        if needs_teacher(name):
            terms = {other: {"$ref": f"#/$defs/term.{other}"} for other in candidates() if other != name}
            told = "further distillation terms on the same views, each weight x term"
            also = {"type": "object", "additionalProperties": False, "properties": terms, "description": told}
            (made["anyOf"][0] if "anyOf" in made else made)["properties"]["also"] = also
    policies = {
        name: _settings(
            (*entry.settings, *(POLICY_EXTRAS if name != "none" else ())), entry.summary, recommended=bool(entry.search)
        )
        for name, entry in catalogue("augment.policies").items()
    }
    policies.setdefault("none", _settings((), "crop and flip alone"))
    step = _settings(STEP, "one op of a spelled-out policy")
    step["properties"]["op"] = _leaf({"enum": known_ops.names()}, numbers=False)
    step["required"] = ["op"]
    custom = _settings(POLICY_EXTRAS, "a policy spelled out")
    custom["properties"]["steps"] = {"type": "array", "items": step, "minItems": 1}
    custom["required"] = ["steps"]
    policies["custom"] = custom
    optimizers = {name: _settings((*own, *SHARED_BY_OPTIMIZERS)) for name, own in OPTIMIZERS.items()}
    schedules = {name: _settings((*own, *SHARED_BY_SCHEDULES)) for name, own in SCHEDULES.items()}
    recipe = _settings(RECIPE, "how the student is trained")
    recipe["properties"] |= {
        "optimizer": _branches("optimizer", optimizers, definitions),
        "schedule": _branches("schedule", schedules, definitions),
    }
    for setting in _recipe_settings():
        recipe["properties"].setdefault(setting.name, _setting(setting))
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "policy": _branches("policy", policies, definitions),
            "ratio": _setting(RATIO),
            "method": _branches("method", methods, definitions),
            "loss": {"anyOf": [_settings(LOSS, "weights and placements of the two losses"), {"type": "null"}]},
            "recipe": {"anyOf": [recipe, {"type": "null"}]},
        },
    }


def _recipe_settings() -> list[Setting]:
    inner = [s for kinds in (OPTIMIZERS, SCHEDULES) for own in kinds.values() for s in own]
    return [*RECIPE, *inner]


def _branches(word: str, options: dict[str, dict[str, Any]], definitions: dict[str, Any]) -> dict[str, Any]:
    """A name, {name: settings}, or {choose: …} over names with or without settings."""
    inner = {}
    for name, settings in options.items():
        definitions[f"{word}.{name}"] = {"anyOf": [settings, {"type": "null"}]}
        inner[name] = {"$ref": f"#/$defs/{word}.{name}"}
    definitions[f"{word}.branches"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": inner,
        "minProperties": 1,
    }
    several = {"$ref": f"#/$defs/{word}.branches"}
    single = {**several, "maxProperties": 1}
    names = {"enum": list(options)}
    listed = {"type": "array", "minItems": 1, "items": {"anyOf": [names, single]}}
    choose = {
        "type": "object",
        "additionalProperties": False,
        "required": ["choose"],
        "properties": {"choose": {"anyOf": [several, listed]}, "prior": names},
    }
    return {"anyOf": [names, single, choose]}


def _settings(settings: Any, text: str = "", recommended: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {setting.name: _setting(setting) for setting in settings},
    }
    required = [setting.name for setting in settings if setting.required]
    if required:
        made["required"] = required
    if text:
        made["description"] = text
    return {"anyOf": [made, {"const": "search"}], "description": text} if recommended else made


def _setting(setting: Setting) -> dict[str, Any]:
    if setting.kind == "shares":
        return _value(setting)
    made = _leaf(_value(setting), numbers=setting.kind in ("int", "float") and not setting.words)
    if not setting.required:
        made["default"] = setting.default
    return made


def _leaf(value: dict[str, Any], *, numbers: bool) -> dict[str, Any]:
    """A constant, or one of the four words over it."""
    choose = {
        "type": "object",
        "additionalProperties": False,
        "required": ["choose"],
        "properties": {
            "choose": {"type": "array", "items": value, "minItems": 1},
            "prior": {"anyOf": [value, {"type": "null"}]},
        },
    }
    forms = [value, choose, {"const": "search"}]
    for word in ("uniform", "log", "int") if numbers else ():
        properties: dict[str, Any] = {word: _PAIR, "prior": {"type": ["number", "null"]}}
        if word == "int":
            properties["log"] = {"type": "boolean"}
        forms.append({"type": "object", "additionalProperties": False, "required": [word], "properties": properties})
    return {"anyOf": forms}


def _value(setting: Setting) -> dict[str, Any]:
    if setting.kind == "shares":
        return {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}}
    if setting.words:
        made: dict[str, Any] = {"enum": list(setting.words)}
    else:
        kinds = {"float": "number", "int": "integer", "bool": "boolean", "str": "string"}
        made = {"type": kinds[setting.kind]}
        names = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
        made |= {
            name: getattr(setting.limit, key) for key, name in names.items() if getattr(setting.limit, key) is not None
        }
    return {"anyOf": [made, {"type": "null"}]} if setting.optional else made
