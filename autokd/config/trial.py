"""What one trial is: a frozen value that says everything the training depends on.

Only the standard library is imported here, so that a trial can be described, sent and run where nothing but torch is
installed. A `SearchSpace` (autokd.config.search_space) hands these out; `train` takes them.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from hashlib import blake2b
from typing import Any

__all__ = [
    "DataConfig",
    "LossConfig",
    "MethodConfig",
    "PolicyConfig",
    "RecipeConfig",
    "StudentConfig",
    "TeacherConfig",
    "TeacherTraining",
    "Term",
    "TrialConfig",
]


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how the training part is split.

    `fraction` keeps a stratified share of the training split (few-shot); the validation split is cut first and never shrinks.
    `mean`, `std`, `padding` and `flip` override what the data set says of itself (None: the data set's own). Images that cannot
    be read stop, or are skipped up to a share `faulty_limit` of a part.
    """

    name: str
    root: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    validation: float = 0.1  # share of the training part
    split_seed: int = 0
    split_file: str | None = None  # JSON {"train": [...], "validation": [...]}: positions in the training part
    fraction: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    padding: int | None = None  # random crop after zero padding by so many pixels
    flip: bool | None = None
    views_seed: int | None = None  # of the views of every training; None: 0 in a search, and fresh trainings draw their own
    faulty: str = "stop"  # stop | skip
    faulty_limit: float = 0.01


@dataclass(frozen=True)
class RecipeConfig:
    """How weights are trained. Lengths are shares of the training, so that a recipe keeps its shape at any length."""

    optimizer: str = "sgd"  # sgd | adamw
    lr: float = 0.05
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True
    batch: int = 64  # views a step
    schedule: str = "cosine"  # cosine | step | constant | trapezoid
    warmup: float = 0.0  # share of the training
    milestones: tuple[float, ...] = (0.625, 0.75, 0.875)  # of `step`: 150, 180 and 210 of 240 epochs
    decay: float = 0.1  # of `step`
    cooldown: float = 0.2  # of `trapezoid`
    clip: float | None = None  # largest gradient norm
    label_smoothing: float = 0.0
    ema: float | None = None  # decay of the moving average of the weights a step; its weights are the scored ones
    precision: str = "auto"  # auto | float32 | tf32 | bf16, of products


@dataclass(frozen=True)
class TeacherTraining:
    """How a teacher is trained when it is not loaded. `policy` augments half of the views where named."""

    epochs: int = 240
    seed: int = 0
    views_seed: int | None = None  # None: the data's
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    policy: str = "none"
    policy_settings: dict[str, Any] = field(default_factory=dict)
    ratio: float = 0.0


@dataclass(frozen=True)
class TeacherConfig:
    """A frozen trained network. Exactly one of `checkpoint`, `weights` and `training` says where its weights come from."""

    name: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    weights: str | None = None  # torchvision / timm weights by name
    training: TeacherTraining | None = None
    mean: tuple[float, ...] | None = None  # its own normalisation, where it differs from the data set's
    std: tuple[float, ...] | None = None
    saw_validation: bool = False  # a teacher trained on all training images has seen the validation split


@dataclass(frozen=True)
class StudentConfig:
    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PolicyConfig:
    """An augmentation policy by name with its settings, or spelled out in `steps`."""

    name: str = "none"
    settings: dict[str, Any] = field(default_factory=dict)
    steps: tuple[dict[str, Any], ...] = ()  # {op, magnitude, sign, probability}, of the policy called "custom"
    shared_geometry: bool = False  # the augmented view keeps the plain view's crop and flip


@dataclass(frozen=True)
class Term:
    """A further distillation loss beside the method, on the same views: weight x term is added to the total."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True)
class MethodConfig:
    """A distillation method by name, with the terms that go with it; `ce` is training without a teacher."""

    name: str = "kd"
    settings: dict[str, Any] = field(default_factory=dict)
    also: tuple[Term, ...] = ()


@dataclass(frozen=True)
class LossConfig:
    """total = ce_weight x cross-entropy + kd_weight x method + the weighted terms, each over the views its placement names.

    `adapt` says whether these weights stay, or are multiplied by factors that follow the training (autokd.train.weights).
    """

    ce_weight: float = 1.0
    kd_weight: float = 1.0
    ce_on_plain: bool = True
    ce_on_augmented: bool = True
    kd_on_plain: bool = True
    kd_on_augmented: bool = True
    adapt: str = "fixed"  # fixed | gradient_cosine | loss_ratio | uncertainty
    adapt_memory: float = 0.9  # how slowly the factors follow


@dataclass(frozen=True)
class TrialConfig:
    """One student under one configuration. `epochs` x training images = the views the student trains on at full length.

    views_seed: of this training's views; None: the data's.
    """

    data: DataConfig
    student: StudentConfig
    teacher: TeacherConfig | None = None
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    ratio: float = 0.5  # augmented views / all views; 0 where the policy is `none`
    method: MethodConfig = field(default_factory=MethodConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    epochs: float = 240
    seed: int = 0
    views_seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = _plain(self)
        for part, name, default in _LATER:
            if values[part][name] == default:
                del values[part][name]
        training = (values["teacher"] or {}).get("training")
        if training is not None and training["recipe"]["precision"] == "auto":
            del training["recipe"]["precision"]
        for known in (values, training):
            if known is not None and known["views_seed"] is None:
                del known["views_seed"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialConfig:
        return _rebuild(cls, values)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name this configuration, seed included."""
        return blake2b(self.to_json().encode(), digest_size=6).hexdigest()

    @property
    def seed_of_views(self) -> int:
        """What the views of this training are drawn by."""
        return (self.data.views_seed or 0) if self.views_seed is None else self.views_seed

    def with_(self, **changes: Any) -> TrialConfig:
        return replace(self, **changes)

    def fresh(self, seed: int) -> TrialConfig:
        """The same with another seed, of its views, too, unless the space fixes `data.views_seed`."""
        if seed == self.seed:
            return self
        return self.with_(seed=seed, views_seed=seed if self.data.views_seed is None else None)


_FIELDS: dict[type, tuple[str, ...]] = {}
_ATOMS = frozenset({str, int, float, bool, type(None)})


def _plain(value: Any) -> Any:
    """What dataclasses.asdict gives, five times as fast: a resume asks it of every trial."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {name: _plain(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return kind(_plain(item) for item in value)
    names = _FIELDS.get(kind)
    if names is None:
        if not is_dataclass(kind):
            return deepcopy(value)
        names = _FIELDS[kind] = tuple(one.name for one in fields(kind))
    return {name: _plain(getattr(value, name)) for name in names}


_LATER = (  # told only where it says something, so that the keys of configurations from before it stay what they are
    ("method", "also", ()),
    ("loss", "adapt", "fixed"),
    ("loss", "adapt_memory", 0.9),
    ("recipe", "precision", "auto"),
    ("data", "faulty", "stop"),
    ("data", "faulty_limit", 0.01),
)
_NESTED = {
    "data": DataConfig,
    "student": StudentConfig,
    "teacher": TeacherConfig,
    "policy": PolicyConfig,
    "method": MethodConfig,
    "loss": LossConfig,
    "recipe": RecipeConfig,
    "training": TeacherTraining,
}


def _rebuild(kind: type, values: dict[str, Any]) -> Any:
    made = {}
    for item in fields(kind):
        if item.name not in values:
            continue
        value = values[item.name]
        nested = _NESTED.get(item.name)
        if nested is not None and isinstance(value, dict):
            value = _rebuild(nested, value)
        elif item.name == "also":
            value = tuple(term if isinstance(term, Term) else _rebuild(Term, term) for term in value)
        elif isinstance(value, list):
            value = tuple(value)
        made[item.name] = value
    built = kind(**made)
    assert is_dataclass(built)
    return built
