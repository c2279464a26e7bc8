"""The searched part of a space: a policy, a ratio, a method, loss weights and a recipe, each fixed or with a range.

Every setting is checked against the signature of the file it goes to (autokd.rooms.catalogue), ends of ranges included, and
every default is filled in: what a tree emits says all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from autokd.augment import known as known_ops
from autokd.config.published import by_base, weighed
from autokd.config.terms import nested, parse_terms, terms_of
from autokd.config.trial import LossConfig, MethodConfig, PolicyConfig, RecipeConfig
from autokd.errors import did_you_mean
from autokd.rooms import Entry, Limit, Setting, catalogue, complain
from autokd.space.document import Place
from autokd.space.domains import (
    WORDS,
    Branches,
    Choose,
    Constant,
    Int,
    Log,
    Node,
    Tell,
    Uniform,
    emit,
    parse,
    values_of,
)

__all__ = [
    "LOSS",
    "OPTIMIZERS",
    "POLICY_EXTRAS",
    "RECIPE",
    "RATIO",
    "SCHEDULES",
    "SHARED_BY_OPTIMIZERS",
    "SHARED_BY_SCHEDULES",
    "STEP",
    "Knob",
    "Pick",
    "Tree",
    "fixed_policy",
    "fixed_recipe",
    "method_settings",
    "needs_teacher",
    "count",
    "parse_tree",
    "searched",
]

Pick = Callable[[str, Node], Any]  # knob path, domain -> value
Settings = tuple[tuple[str, Node], ...]

LOSS = (
    Setting("ce_weight", "float", 1.0, limit=Limit(ge=0)),
    Setting("kd_weight", "float", 1.0, limit=Limit(ge=0)),
    Setting("ce_on_plain", "bool", True),
    Setting("ce_on_augmented", "bool", True),
    Setting("kd_on_plain", "bool", True),
    Setting("kd_on_augmented", "bool", True),
    Setting("adapt", "str", "fixed", words=("fixed", "gradient_cosine", "loss_ratio", "uncertainty")),
    Setting("adapt_memory", "float", 0.9, limit=Limit(ge=0, lt=1)),
)
_REMEMBER = ("gradient_cosine", "uncertainty")  # the ways of adapting that read adapt_memory
RATIO = Setting("ratio", "float", 0.5, limit=Limit(ge=0, le=1))
POLICY_EXTRAS = (Setting("shared_geometry", "bool", False), replace(RATIO, default=None, optional=True))
STEP = (  # of the policy `custom`
    Setting("op", "str", required=True),
    Setting("magnitude", "float", None, optional=True),
    Setting("sign", "bool", False),
    Setting("probability", "float", 1.0, limit=Limit(ge=0, le=1)),
)
_LR = Setting("lr", "float", 0.05, limit=Limit(gt=0))
_DECAY = Setting("weight_decay", "float", 5e-4, limit=Limit(ge=0))
_WARMUP = Setting("warmup", "float", 0.0, limit=Limit(ge=0, lt=1))
RECIPE = (
    _LR,
    _DECAY,
    Setting("batch", "int", 64, limit=Limit(ge=1)),
    _WARMUP,
    Setting("clip", "float", None, limit=Limit(gt=0), optional=True),
    Setting("label_smoothing", "float", 0.0, limit=Limit(ge=0, lt=1)),
    Setting("ema", "float", None, limit=Limit(gt=0, lt=1), optional=True),
    Setting("precision", "str", "auto", words=("auto", "float32", "tf32", "bf16")),
)
_IN_RECIPE = {setting.name for setting in RECIPE}
_FROM_RECIPE = {"label_smoothing"}  # of `ce`, which stands beside every method and so is set once, in the recipe
OPTIMIZERS = {
    "sgd": (Setting("momentum", "float", 0.9, limit=Limit(ge=0, lt=1)), Setting("nesterov", "bool", True)),
    "adamw": (),
}
_MILESTONES = Setting("milestones", "shares", (0.625, 0.75, 0.875))
SCHEDULES = {
    "cosine": (),
    "step": (_MILESTONES, Setting("decay", "float", 0.1, limit=Limit(gt=0, lt=1))),
    "constant": (),
    "trapezoid": (Setting("cooldown", "float", 0.2, limit=Limit(gt=0, le=1)),),
}
SHARED_BY_OPTIMIZERS = (_LR, _DECAY)  # may stand in a branch as well, where optimisers want different ranges
SHARED_BY_SCHEDULES = (_WARMUP,)
PARTS = ("policy", "ratio", "method", "loss", "recipe")


@dataclass(frozen=True)
class Knob:
    """One thing that is searched. `condition` is "" where every trial has it, else "method is kd"."""

    path: str
    domain: Node
    condition: str = ""


@dataclass(frozen=True)
class Tree:
    """The searched part, complete: every setting of every branch has a node."""

    policy: Branches
    ratio: Node
    method: Branches
    loss: Settings
    recipe: Settings
    optimizer: Branches
    schedule: Branches

    def policy_of(self, pick: Pick) -> tuple[PolicyConfig, float]:
        """The policy and the share of augmented views; 0 where the policy is `none`."""
        name = pick("policy", self.policy.choice())
        settings = {key: pick(f"policy.{name}.{key}", node) for key, node in self.policy.settings(name).items()}
        shared = settings.pop("shared_geometry", False)
        ratio = settings.pop("ratio", None)
        steps = _steps(settings)
        if name == "none":
            return PolicyConfig(name, settings), 0.0
        if ratio is None:
            ratio = pick("ratio", self.ratio)
        return PolicyConfig(name, settings, steps, shared), float(ratio)

    def method_of(self, pick: Pick) -> tuple[MethodConfig, LossConfig]:
        """The method and how its loss is weighed; without a teacher there is nothing to weigh but the cross-entropy."""
        name = pick("method", self.method.choice())
        settings = {key: pick(f"method.{name}.{key}", node) for key, node in self.method.settings(name).items()}
        weights: dict[str, Any] = {}
        for setting in LOSS:
            key = setting.name
            if _of_teacher(key) and not needs_teacher(name):
                weights[key] = 0.0 if key == "kd_weight" else setting.default
            elif key in settings:
                weights[key] = settings.pop(key)
            elif key in dict(self.loss):
                weights[key] = pick(f"loss.{key}", dict(self.loss)[key])
        also = terms_of(settings)
        weights = {key: by_base(name, key, settings) if value is None else value for key, value in weights.items()}
        return MethodConfig(name, settings, also), LossConfig(**weights)

    def recipe_of(self, pick: Pick) -> RecipeConfig:
        values = {}
        for path, branches in (("recipe.optimizer", self.optimizer), ("recipe.schedule", self.schedule)):
            name = pick(path, branches.choice())
            values[path.removeprefix("recipe.")] = name
            values |= {key: pick(f"{path}.{name}.{key}", node) for key, node in branches.settings(name).items()}
        for key, node in self.recipe:
            if key not in values:
                values[key] = pick(f"recipe.{key}", node)
        return RecipeConfig(**values)

    def nodes(self) -> Iterator[Knob]:
        """Every setting, searched or fixed, in the order in which it is drawn."""
        yield from _knobs("method", self.method)
        for key, node in self.loss:
            users = [name for name in self.method.names if self._uses_loss(name, key)]
            if users:
                yield Knob(f"loss.{key}", node, _among("method", users, self.method.names))
        yield from _knobs("policy", self.policy)
        users = [name for name in self.policy.names if name != "none" and "ratio" not in self.policy.settings(name)]
        if users:
            yield Knob("ratio", self.ratio, _among("policy", users, self.policy.names))
        for path, branches in (("recipe.optimizer", self.optimizer), ("recipe.schedule", self.schedule)):
            yield from _knobs(path, branches)
        for key, node in self.recipe:
            yield Knob(f"recipe.{key}", node)

    def knobs(self) -> list[Knob]:
        """Every setting with a range."""
        return [knob for knob in self.nodes() if searched(knob.domain)]

    def points(self, pairs_of: Callable[[str], int]) -> int:
        """How many configurations there are, a range of numbers counted once. `pairs_of(method)`: its pairs."""

        def product(nodes: Iterable[Node]) -> int:
            return prod(count(node) for node in nodes)

        methods = 0
        for name, settings in self.method.options:
            loss = [node for key, node in self.loss if self._uses_loss(name, key)]
            methods += pairs_of(name) * product([node for _, node in settings] + loss)
        policies = 0
        for name, settings in self.policy.options:
            own = dict(settings)
            policies += product(own.values()) * (1 if name == "none" or "ratio" in own else count(self.ratio))
        inner = prod(
            sum(product(node for _, node in settings) for _, settings in branches.options)
            for branches in (self.optimizer, self.schedule)
        )
        return methods * policies * inner * product(node for _, node in self.recipe)

    def _uses_loss(self, method: str, key: str) -> bool:
        return key not in self.method.settings(method) and (needs_teacher(method) or not _of_teacher(key))

    def emit(self) -> dict[str, Any]:
        """The YAML values that are read back as this tree."""
        policy = emit(self.policy)
        for name, settings in policy["choose"].items():
            nodes = self.policy.settings(name)
            steps = _steps({key: emit(node) for key, node in nodes.items()})
            policy["choose"][name] = {key: value for key, value in settings.items() if not key.startswith("steps.")}
            if steps:
                policy["choose"][name]["steps"] = list(steps)
        method = emit(self.method)
        for name, settings in method["choose"].items():
            kept = {key: value for key, value in settings.items() if not key.startswith("also.")}
            also = nested(settings)
            method["choose"][name] = {**kept, "also": also} if also else kept
        recipe: dict[str, Any] = {"optimizer": emit(self.optimizer), "schedule": emit(self.schedule)}
        recipe |= {key: emit(node) for key, node in self.recipe}
        taught = any(map(needs_teacher, self.method.names))
        loss = {key: emit(node) for key, node in self.loss if taught or not _of_teacher(key)}  # else it is refused, read back
        return {
            "policy": policy,
            "ratio": emit(self.ratio),
            "method": method,
            "loss": loss,
            "recipe": recipe,
        }


def needs_teacher(method: str) -> bool:
    """Whether a method reads anything of a teacher."""
    entry = catalogue("methods").get(method)
    return entry is None or any("teacher" in word for word in entry.reads)


def method_settings(entry: Entry) -> tuple[tuple[Setting, ...], tuple[Setting, ...]]:
    """The settings of a method's own, and those of its place in the loss with the method's published weights as defaults."""
    own = tuple(s for s in entry.settings if s.name not in _FROM_RECIPE)
    taught = needs_teacher(entry.name)
    return own, tuple(weighed(s, entry) for s in LOSS if taught or not _of_teacher(s.name))


def parse_tree(value: Any, place: Place, tell: Tell, *, default: str = "kd") -> Tree | None:
    """Read the section `space`. Tells every fault; None where it is no mapping. default: the method where none is named."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        tell(place, f"space is a mapping of {', '.join(PARTS)}", "for example space: {method: kd}")
        return None
    for key in value:
        if key not in PARTS:
            tell((*place, key), f"space has no {key!r}", _where_else(key, PARTS, "parts of space"))
    loss = _settings(value.get("loss"), LOSS, (*place, "loss"), "loss", tell, fill=False)
    ratio = _leaf(value.get("ratio", RATIO.default), RATIO, (*place, "ratio"), tell)
    policy = _policy(value.get("policy", "none"), (*place, "policy"), tell)
    method = _method(value.get("method", default), (*place, "method"), dict(loss), tell)
    if "ratio" in value and policy is not None and policy.names == ("none",) and searched(ratio):
        tell((*place, "ratio"), "ratio cannot matter: the only policy is none", "add a policy, or take the ratio out")
    if method is not None and not any(map(needs_teacher, method.names)):
        for key, _ in loss:
            if _of_teacher(key):
                tell(
                    (*place, "loss", key),
                    f"{key} cannot matter: no method here has a teacher",
                    "take it out, or add a method",
                )
    if method is not None:
        _adapting(method, dict(loss), place, tell)
    for name in policy.names if policy is not None and method is not None else ():
        without = [one for one in method.names if not needs_teacher(one)] if method is not None else []
        if without and policy is not None and _follows_teacher(name, policy.settings(name)):
            what = f"policy {name} follows the teacher's attention, and {', '.join(without)} has no teacher"
            tell((*place, "policy"), what, "take one of them out")
    recipe, optimizer, schedule = _recipe(value.get("recipe"), (*place, "recipe"), tell)
    if policy is None or method is None or optimizer is None or schedule is None:
        return None
    given = dict(loss)
    placements = tuple(
        (s.name, given.get(s.name, Constant(s.default)))
        for s in LOSS
        if s.name in given or s.kind == "bool" or s.name == "adapt"
    )
    return Tree(policy, ratio or Constant(RATIO.default), method, placements, recipe, optimizer, schedule)


def fixed_recipe(value: Mapping[str, Any], place: Place, tell: Tell) -> RecipeConfig:
    """The recipe of a teacher's training: constants only, all keys side by side."""
    known = {s.name: s for s in _all_recipe()}
    values: dict[str, Any] = {}
    for key, item in value.items():
        at = (*place, key)
        if key in ("optimizer", "schedule"):
            names = OPTIMIZERS if key == "optimizer" else SCHEDULES
            if not isinstance(item, str) or item not in names:
                near = did_you_mean(str(item), names)
                tell(at, f"{key} is one of {', '.join(names)}, not {item!r}", f"write one of them{near}")
            else:
                values[key] = item
        elif key in known:
            node = _leaf(item, known[key], at, tell)
            if isinstance(node, Constant):
                values[key] = node.value
            elif node is not None:
                tell(at, f"{key} is fixed here: a teacher is trained once", "write one value")
    return RecipeConfig(**values)


def fixed_policy(value: Any, place: Place, tell: Tell) -> tuple[str, dict[str, Any]]:
    """The policy a teacher is trained with: a name, or {name: {setting: value}}."""
    branches = _policy(value, place, tell)
    if branches is None:
        return "none", {}
    name = branches.prior
    settings = branches.settings(name)
    settings.pop("shared_geometry", None)
    if len(branches.names) > 1 or any(searched(node) for node in settings.values()):
        tell(place, "the policy is fixed here: a teacher is trained once", "write one policy with constant settings")
    if _follows_teacher(name, settings):
        tell(place, f"policy {name} follows a teacher's attention, and a teacher has no teacher", "use another policy")
    if "ratio" in settings:
        tell((*place, name, "ratio"), "the ratio stands beside the policy here", "write train: {policy: …, ratio: 0.5}")
    return name, {key: node.prior for key, node in settings.items() if key != "ratio"}


# -- the parts ---------------------------------------------------------------------------------------------------------


def _method(value: Any, place: Place, loss: dict[str, Node], tell: Tell) -> Branches | None:
    known = catalogue("methods")

    def settings(name: str, value: Any, at: Place) -> Settings:
        entry = known[name]
        own, extras = method_settings(entry)
        also: Settings = ()
        if isinstance(value, dict):
            rejected = [key for key in value if (_of_teacher(key) or key == "also") and not needs_teacher(name)]
            if "also" in value and "also" not in rejected:
                also = parse_terms(value["also"], name, (*at, "also"), tell, read)
                value = {key: item for key, item in value.items() if key != "also"}
            for key in rejected:
                tell((*at, key), f"{key} cannot matter: {name} has no teacher", "take it out")
            strays = _IN_RECIPE - {s.name for s in own}
            for key in [key for key in value if key in strays and key not in rejected]:
                fix = f"write space: {{recipe: {{{key}: …}}}}; it holds for the cross-entropy beside every method"
                tell((*at, key), f"{key} is part of the recipe, not of {name}", fix)
                rejected.append(key)
            value = {key: item for key, item in value.items() if key not in rejected}
        made = _settings(value, (*own, *extras), at, name, tell, entry=entry, others=_owners(known))
        asked = set(value) if isinstance(value, dict) else set()
        # what is not said here is taken from space.loss where that says it, else from the method's published weights
        return tuple(
            (key, node)
            for key, node in made
            if key in asked or key in {s.name for s in own} or (key in ("ce_weight", "kd_weight") and key not in loss)
        ) + also

    def read(value: Any, settings: tuple[Setting, ...], at: Place, owner: str, entry: Entry) -> Settings:
        return _settings(value, settings, at, f"the term {owner}", tell, entry=entry)

    return _branches(value, place, "method", known, settings, tell)


def _policy(value: Any, place: Place, tell: Tell) -> Branches | None:
    known: dict[str, Entry | None] = {"none": None, **catalogue("augment.policies"), "custom": None}

    def settings(name: str, value: Any, at: Place) -> Settings:
        entry = known[name]
        if name == "none":
            return _settings(value, entry.settings if entry else (), at, name, tell, others=_owners(known))
        if name != "custom":
            assert entry is not None
            made = _settings(
                value, (*entry.settings, *POLICY_EXTRAS), at, name, tell, entry=entry, others=_owners(known)
            )
            return tuple(item for item in made if item != ("ratio", Constant(None)))
        rest = {key: item for key, item in value.items() if key != "steps"} if isinstance(value, dict) else value
        made = _settings(rest, POLICY_EXTRAS, at, name, tell, more=("steps",))
        steps = value.get("steps") if isinstance(value, dict) else None
        if not isinstance(steps, list) or not steps:
            fix = "for example steps: [{op: rotate, magnitude: 10, sign: true, probability: 0.3}]"
            tell(
                (*at, "steps") if isinstance(value, dict) and "steps" in value else at,
                "custom needs a list of steps",
                fix,
            )
            steps = []
        spelled: list[tuple[str, Node]] = []
        for i, step in enumerate(steps):
            below = (*at, "steps", i)
            nodes = dict(_settings(step, STEP, below, "a step", tell))
            spelled += [(f"steps.{i}.{key}", node) for key, node in nodes.items()]
            for what, fix in _step_complaints(nodes):
                tell((*below, "op") if "op" in what else below, what, fix)
        return tuple(item for item in made if item != ("ratio", Constant(None))) + tuple(spelled)

    return _branches(value, place, "policy", known, settings, tell)


def _recipe(value: Any, place: Place, tell: Tell) -> tuple[Settings, Branches | None, Branches | None]:
    value = {} if value is None else value
    if not isinstance(value, dict):
        tell(place, "recipe is a mapping", "for example recipe: {lr: {log: [0.005, 0.4]}, batch: 64}")
        value = {}
    rest = dict(value)
    found: dict[str, Branches | None] = {}
    inside: set[str] = set()
    for word, kinds, shared in (
        ("optimizer", OPTIMIZERS, SHARED_BY_OPTIMIZERS),
        ("schedule", SCHEDULES, SHARED_BY_SCHEDULES),
    ):
        written = rest.pop(word, next(iter(kinds)))
        fixed = written if isinstance(written, str) else None
        owners = {s.name: tuple(n for n, own in kinds.items() if s in own) for own in kinds.values() for s in own}
        inline: dict[str, Any] = {}
        for key in [key for key in rest if key in owners]:
            item = rest.pop(key)
            if fixed in owners[key]:  # recipe: {optimizer: sgd, momentum: 0.9} means what it looks like
                inline[key] = item
            else:
                fix = f"write it under {word}: {{choose: {{{owners[key][0]}: {{{key}: …}}}}}}"
                tell((*place, key), f"{key} belongs to {' and '.join(owners[key])}", fix)
        if inline:
            written = {fixed: inline}

        def settings(
            name: str,
            value: Any,
            at: Place,
            kinds: Any = kinds,
            shared: Any = shared,
            owners: Any = owners,
            inline: Any = inline,
        ) -> Settings:
            at = place if inline else at
            extra = tuple(s for s in shared if isinstance(value, dict) and s.name in value)
            made = _settings(
                value, (*kinds[name], *extra), at, name, tell, others=owners, more=[s.name for s in shared]
            )
            inside.update(s.name for s in extra)
            nodes = dict(made)
            if "nesterov" in nodes and "momentum" in nodes:
                if True in values_of(nodes["nesterov"]) and 0 in values_of(nodes["momentum"]):
                    tell((*at, "momentum"), "nesterov needs a momentum above 0", "raise it, or set nesterov: false")
            return made

        found[word] = _branches(written, (*place, word), word, kinds, settings, tell)
    for key in inside & set(rest):
        tell((*place, key), f"{key} is given here and in a branch", "keep one of them")
    partly = [
        (word, key, [n for n in branches.names if key not in branches.settings(n)])
        for word, branches in found.items()
        if branches is not None
        for key in inside
        if any(key in branches.settings(n) for n in branches.names)
    ]
    for word, key, without in partly:
        if without and key not in rest:
            tell(
                (*place, word),
                f"{' and '.join(without)} has no {key}",
                f"give {key} in every branch, or once in recipe",
            )
    everywhere = {key for _, key, without in partly if not without}
    recipe = _settings(rest, RECIPE, place, "recipe", tell, more=("optimizer", "schedule"))
    return tuple(item for item in recipe if item[0] not in everywhere), found["optimizer"], found["schedule"]


def _branches(
    value: Any,
    place: Place,
    word: str,
    known: Mapping[str, Any],
    settings: Callable[[str, Any, Place], Settings],
    tell: Tell,
) -> Branches | None:
    """Read `kd`, `{kd: {…}}`, `{choose: [kd, ce]}` or `{choose: {kd: {…}, ce: {}}, prior: kd}`."""
    prior, options, below = None, value, place
    if isinstance(value, dict) and "choose" in value:
        prior, options, below = value.get("prior"), value["choose"], (*place, "choose")
        for key in value:
            if key not in ("choose", "prior"):
                hint = f"move it into the list: choose: {{{key}: …}}" if key in known else "beside choose: prior"
                tell((*place, key), f"{word} takes no {key!r} beside choose", hint)
    elif isinstance(value, dict) and len(value) > 1:
        names = ", ".join(value)
        tell(place, f"{word} has several branches and no choose", f"write {word}: {{choose: {{{names}}}}}")
        return None
    elif isinstance(value, dict) and set(value) & set(WORDS):
        tell(place, f"{word} is chosen by name", f"write {word}: {{choose: [{', '.join(list(known)[:3])}]}}")
        return None
    if isinstance(options, str):
        listed: list[tuple[Any, Any, Place]] = [(options, {}, (*below, options))]
    elif isinstance(options, dict):
        listed = [(name, item, (*below, name)) for name, item in options.items()]
    elif isinstance(options, list):
        listed = []
        for i, item in enumerate(options):
            if isinstance(item, dict) and len(item) == 1:
                listed.append((*next(iter(item.items())), (*below, i)))
            else:
                listed.append((item, {}, (*below, i)))
    else:
        listed = []
    if not listed:
        tell(below, f"{word} needs a name", f"one of {', '.join(known)}")
        return None
    made: list[tuple[str, Settings]] = []
    for name, item, at in listed:
        if not isinstance(name, str) or name not in known:
            tell(
                at,
                f"unknown {word} {name!r}",
                f"known: {', '.join(known)}{did_you_mean(str(name), [*known, 'choose'])}",
            )
        elif name in dict(made):
            tell(at, f"{word} {name!r} stands here twice", "keep one of them, with all its settings")
        else:
            made.append((name, settings(name, item, at)))
    good = [name for name, _ in made]
    if prior is not None and prior not in good and len(good) == len(listed):
        tell((*place, "prior"), f"the prior {prior!r} is none of the options", f"one of {', '.join(good)}")
    if not made:
        return None
    return Branches(tuple(made), prior if isinstance(prior, str) and prior in good else good[0])


def _settings(
    value: Any,
    known: Iterable[Setting],
    place: Place,
    owner: str,
    tell: Tell,
    *,
    entry: Entry | None = None,
    others: Mapping[str, tuple[str, ...]] | None = None,
    more: Iterable[str] = (),
    fill: bool = True,
) -> Settings:
    """A mapping of settings, checked and completed. The word `search` stands for the range that the file recommends."""
    known = tuple(known)
    names = [s.name for s in known] + list(more)
    ranges = {key: item for key, item in entry.search.items() if key in names} if entry else {}
    if value is None:
        value = {}
    if value == "search":
        if not ranges:
            tell(place, f"{owner} recommends no ranges", f"give them: {', '.join(names) or 'it has no settings'}")
        value = dict.fromkeys(ranges, "search")
    if not isinstance(value, dict):
        what = f"the settings of {owner} are a mapping, not {value!r}"
        tell(place, what, f"settings: {', '.join(names)}" if names else f"{owner} has none: write {{}}")
        return ()
    for key in value:
        if key not in names:
            elsewhere = (others or {}).get(key, ())
            offers = f"settings of {owner}: {', '.join(names)}" if names else f"{owner} has no settings: write {{}}"
            if elsewhere:
                offers = f"{key} belongs to {', '.join(elsewhere)}; {offers}"
            else:
                offers += did_you_mean(key, names)
            tell((*place, key), f"{owner} has no setting {key!r}", offers)
    made: list[tuple[str, Node]] = []
    for setting in known:
        if setting.name not in value:
            if setting.required:
                tell(place, f"{owner} needs {setting.name}", f"{setting}")
            elif fill:
                made.append((setting.name, Constant(setting.default)))
            continue
        at = (*place, setting.name)
        item = value[setting.name]
        if item == "search" and "search" not in setting.words and (setting.kind != "str" or setting.words):
            if setting.name not in ranges:
                fix = (
                    f"{owner} recommends ranges for: {', '.join(ranges)}"
                    if ranges
                    else "give a range: {uniform: [0, 1]}"
                )
                tell(at, f"there is no recommended range for {setting.name}", fix)
                continue
            item = ranges[setting.name]
        node = _leaf(item, setting, at, tell)
        if node is not None:
            made.append((setting.name, node))
    if entry is not None:
        given = {s.name for s in entry.settings if s.optional and value.get(s.name) is not None}
        _passed_on(dict(made), given, place, owner, tell)
    return tuple(made)


def _passed_on(nodes: Mapping[str, Node], given: set[str], place: Place, owner: str, tell: Tell) -> None:
    """A method around another (its `base`) passes on what is None by default: one of the bases here has to know it."""
    methods = catalogue("methods")
    bases = [methods[name] for name in (values_of(nodes["base"]) if "base" in nodes else ()) if name in methods]
    for key in sorted(given) if bases else ():
        if not any(base.setting(key) for base in bases):
            names = " and ".join(base.name for base in bases)
            tell((*place, key), f"{key} of {owner} cannot matter: {names} has no such setting", "take it out")


def _leaf(value: Any, setting: Setting, place: Place, tell: Tell) -> Node | None:
    """One setting, within its limits at both ends, in its own type, with its prior filled in."""
    if setting.kind == "shares":
        return _shares(value, setting, place, tell)
    node = parse(value, place, tell)
    if node is None:
        return None
    if setting.kind in ("bool", "str") and isinstance(node, (Uniform, Log, Int)):
        offered = ", ".join(setting.words) if setting.words else "true, false" if setting.kind == "bool" else "a, b"
        tell(place, f"{setting.name} has no range of numbers", f"write {{choose: [{offered}]}}")
        return None
    if setting.kind == "int" and isinstance(node, (Uniform, Log)):
        ends = f"{node.low:g}, {node.high:g}"
        tell(place, f"{setting.name} is a whole number", f"write {{int: [{ends}]}}")
        return None
    for item in values_of(node):
        trouble = complain(setting, item)
        if trouble:
            near = did_you_mean(str(item), setting.words)
            tell(_at(node, place, item), trouble, f"{setting.name} takes: {_takes(setting)}{near}")
            return None
    return _typed(node, setting)


def _shares(value: Any, setting: Setting, place: Place, tell: Tell) -> Node | None:
    good = isinstance(value, (list, tuple)) and all(
        isinstance(x, (int, float)) and not isinstance(x, bool) for x in value
    )
    if not good or not all(0 < x < 1 for x in value) or list(value) != sorted(set(value)):
        fix = "shares of the training, rising, each between 0 and 1: [0.625, 0.75, 0.875] is 150, 180 and 210 of 240 epochs"
        tell(place, f"{setting.name} cannot be {value!r}", fix)
        return None
    return Constant(tuple(float(x) for x in value))


def _at(node: Node, place: Place, item: Any) -> Place:
    if isinstance(node, Choose):
        return (*place, "choose", node.options.index(item))
    if isinstance(node, Constant):
        return place
    return (*place, type(node).__name__.lower())


def _takes(setting: Setting) -> str:
    text = str(setting).removeprefix(f"{setting.name}: ").split(" = ")[0]
    text = {"float": "a number", "int": "a whole number", "bool": "true, false", "str": "a word"}.get(text, text)
    text = text.replace("float ", "a number ").replace("int ", "a whole number ")
    return text + (" or null" if setting.optional else "")


def _typed(node: Node, setting: Setting) -> Node:
    """The same node with floats where the setting is one, so that equal configurations are written alike."""
    if setting.kind == "int" and isinstance(node, (Constant, Choose)):
        convert: Callable[[Any], Any] = lambda x: int(x) if isinstance(x, float) else x  # noqa: E731
    elif setting.kind == "float":
        convert = lambda x: float(x) if isinstance(x, int) and not isinstance(x, bool) else x  # noqa: E731
    else:
        convert = lambda x: x  # noqa: E731
    if isinstance(node, Constant):
        return Constant(convert(node.value))
    prior: Any = node.prior
    if prior is None and setting.default is not None and node.holds(setting.default):
        prior = setting.default
    if prior is None and not (isinstance(node, Choose) and None in node.options):
        prior = node.middle()
    if isinstance(node, Choose):
        return Choose(tuple(map(convert, node.options)), convert(prior))
    return replace(node, prior=prior if isinstance(node, Int) else convert(prior))


def _adapting(method: Branches, loss: dict[str, Node], place: Place, tell: Tell) -> None:
    """Faults of weights that adapt: what would read nothing, and what would have nothing to compare with."""
    for name in method.names:
        nodes = {**loss, **method.settings(name)}
        if not needs_teacher(name):
            continue
        inside = method.settings(name)
        ways = values_of(nodes.get("adapt", Constant("fixed")))
        if "adapt_memory" in nodes and not set(ways) & set(_REMEMBER):
            at = (*place, "method") if "adapt_memory" in inside else (*place, "loss", "adapt_memory")
            what = f"adapt_memory cannot matter for {name}: its weights are {' or '.join(map(str, ways))}"
            tell(at, what, f"take it out, or adapt: {' or '.join(_REMEMBER)}")
        if "gradient_cosine" in ways and 0 in values_of(nodes.get("ce_weight", Constant(1.0))):
            at = (*place, "method") if "ce_weight" in inside else (*place, "loss", "ce_weight")
            tell(at, f"gradient_cosine compares {name} with the cross-entropy, whose weight may be 0", "raise ce_weight")


# -- small helpers -----------------------------------------------------------------------------------------------------


def searched(node: Node | None) -> bool:
    """Whether a node leaves anything open."""
    return (
        node is not None
        and not isinstance(node, Constant)
        and not (isinstance(node, Choose) and len(node.options) == 1)
    )


def count(node: Node) -> int:
    """How many values a node has; a range of numbers counts once."""
    if isinstance(node, Choose):
        return len(node.options)
    return node.high - node.low + 1 if isinstance(node, Int) else 1


def _knobs(path: str, branches: Branches) -> Iterator[Knob]:
    yield Knob(path, branches.choice())
    for name, settings in branches.options:
        condition = _is(path.removeprefix("recipe."), [name]) if len(branches.names) > 1 else ""
        yield from (Knob(f"{path}.{name}.{key}", node, condition) for key, node in settings)


def _is(word: str, names: list[str]) -> str:
    return f"{word} is {' or '.join(names)}"


def _of_teacher(key: str) -> bool:
    """Whether a setting of the loss says nothing where there is no teacher."""
    return key.startswith(("kd_", "adapt"))


def _follows_teacher(name: str, settings: Mapping[str, Node]) -> bool:
    """Whether a policy reads the teacher's attention, in one of its forms at least."""
    entry = catalogue("augment.policies").get(name)
    if entry is not None:
        return bool(entry.facts.get("FOLLOWS_TEACHER"))
    ops = {op for key, node in settings.items() if key.startswith("steps.") and key.endswith(".op") for op in values_of(node)}
    return any("attention" in known_ops.entry(str(op)).reads for op in ops if op in known_ops.names())


def _among(word: str, names: list[str], known: tuple[str, ...]) -> str:
    """The shorter of "policy is cutmix" and "policy is neither none nor mixup"; "" where all are meant."""
    others = [name for name in known if name not in names]
    if not others:
        return ""
    if len(names) <= len(others):
        return _is(word, names)
    return f"{word} is not {others[0]}" if len(others) == 1 else f"{word} is neither {' nor '.join(others)}"


def _owners(known: Mapping[str, Entry | None]) -> dict[str, tuple[str, ...]]:
    owners: dict[str, tuple[str, ...]] = {}
    for name, entry in known.items():
        for setting in entry.settings if entry else ():
            owners[setting.name] = (*owners.get(setting.name, ()), name)
    return owners


def _all_recipe() -> tuple[Setting, ...]:
    inner = (s for kinds in (OPTIMIZERS, SCHEDULES) for own in kinds.values() for s in own)
    return (*RECIPE, *inner)


def _step_complaints(nodes: dict[str, Node]) -> list[tuple[str, str]]:
    """What is wrong with a step of `custom`, at every value it may take."""
    found: list[tuple[str, str]] = []
    for op in values_of(nodes["op"]) if "op" in nodes else ():
        for magnitude in values_of(nodes.get("magnitude", Constant(None))):
            for sign in values_of(nodes.get("sign", Constant(False))):
                found += [item for item in known_ops.complaints(op, magnitude, sign) if item not in found]
    return found


def _steps(settings: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Take `steps.0.op`, `steps.0.probability`, … out of `settings` and give them back as a list of steps."""
    steps: dict[int, dict[str, Any]] = {}
    for key in [key for key in settings if key.startswith("steps.")]:
        _, position, name = key.split(".", 2)
        steps.setdefault(int(position), {})[name] = settings.pop(key)
    return tuple(steps[i] for i in sorted(steps))


def _where_else(key: str, known: Iterable[str], title: str) -> str:
    known = list(known)
    homes = {s.name: "recipe" for s in _all_recipe()} | {s.name: "loss" for s in LOSS}
    homes |= {
        "optimizer": "recipe",
        "schedule": "recipe",
        "student": "students",
        "students": "top",
        "teacher": "teachers",
    }
    home = homes.get(key)
    if home in ("students", "teachers", "top"):
        return "students and teachers are sections of their own, beside space"
    return f"{key} belongs in {home}" if home else f"{title}: {', '.join(known)}{did_you_mean(key, known)}"
