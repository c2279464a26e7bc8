"""A policy from what a person wrote: a name and its settings, or steps spelled out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autokd.augment import known
from autokd.augment.policy import Policy, Step
from autokd.errors import AutokdError, Faults, did_you_mean
from autokd.rooms import catalogue, complain, load

__all__ = ["build_policy"]

_ROOM = "augment.policies"
_STEP_KEYS = ("op", "magnitude", "sign", "probability")


def build_policy(
    name: str, settings: Mapping[str, Any] | None = None, steps: Sequence[Mapping[str, Any]] = ()
) -> Policy:
    """The policy called `name`, or, for the name "custom", the chain of `steps` ({op, magnitude, sign, probability}).

    Raises AutokdError (several at once as Faults) for an unknown name, op, setting or key and for values out of range.
    """
    settings = dict(settings or {})
    if name == "custom":
        return _custom(settings, steps)
    known_policies = catalogue(_ROOM)
    if name not in known_policies:
        choices = [*known_policies, "custom"]
        raise AutokdError(
            f"there is no policy {name!r}", fix=f"policies: {', '.join(choices)}{did_you_mean(name, choices)}"
        )
    if steps:
        raise AutokdError(f"policy {name!r} brings its own steps", fix="name the policy `custom` to spell out steps")
    entry = known_policies[name]
    allowed = [setting.name for setting in entry.settings]
    faults = []
    for key, value in settings.items():
        setting = entry.setting(key)
        if setting is None:
            fix = f"settings of {name}: {', '.join(allowed) or 'none'}{did_you_mean(key, allowed)}"
            faults.append(AutokdError(f"{name} has no setting {key!r}", fix=fix))
        elif what := complain(setting, value):
            faults.append(AutokdError(what, fix=f"{name}: {setting}"))
    _raise(faults)
    whole = {setting.name for setting in entry.settings if setting.kind == "int"}
    return load(entry)(
        **{key: int(value) if key in whole and value is not None else value for key, value in settings.items()}
    )


def _custom(settings: dict[str, Any], steps: Sequence[Mapping[str, Any]]) -> Policy:
    faults = [AutokdError(f"custom has no setting {key!r}", fix="spell it out in `steps`") for key in settings]
    if not steps:
        faults.append(
            AutokdError(
                "policy 'custom' has no steps", fix="steps: [{op: rotate, magnitude: 10, sign: true, probability: 0.3}]"
            )
        )
    made = []
    for number, step in enumerate(steps, 1):
        where = f"step {number}"
        if not isinstance(step, Mapping):
            faults.append(
                AutokdError(f"a step is a mapping, not {step!r}", where=where, fix="{op: invert, probability: 0.1}")
            )
            continue
        for key in step:
            if key not in _STEP_KEYS:
                fix = f"a step has {', '.join(_STEP_KEYS)}{did_you_mean(key, _STEP_KEYS)}"
                faults.append(AutokdError(f"a step has no {key!r}", where=where, fix=fix))
        op, magnitude = step.get("op"), step.get("magnitude")
        sign, probability = step.get("sign", False), step.get("probability", 1.0)
        wrong = known.complaints(op, magnitude, sign, probability)
        faults += [AutokdError(what, where=where, fix=fix) for what, fix in wrong]
        if not wrong:
            made.append(Step(str(op), None if magnitude is None else float(magnitude), sign, float(probability)))
    _raise(faults)
    return Policy("custom", tuple(made))


def _raise(faults: list[AutokdError]) -> None:
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Faults(faults)
