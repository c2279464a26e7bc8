"""The sections of a space file that hold no ranges: what each may say, with types, limits and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from autokd.config.units import Amount, amount

__all__ = [
    "Budget",
    "BudgetSection",
    "DataSection",
    "FinalizeSettings",
    "Resources",
    "Rungs",
    "SearchSettings",
    "SignalSettings",
    "SpaceFile",
    "StudentsSection",
    "TeacherSection",
    "Tracking",
    "TrainSection",
]


def _amount(value: object) -> Any:
    if value is None or isinstance(value, Amount):
        return value
    try:
        found = amount(value)
    except ValueError as error:
        raise _told(str(error)) from None
    if found.value <= 0:
        raise _told(f"must be above 0, not {value!r}; leave the limit out where there is none")
    return found


def _count(value: object) -> Any:
    """A whole number; `50 k` and 1e3 are whole numbers too."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        try:
            found = amount(value)
        except ValueError:
            return value
        return value if found.share or found.flops or found.value != int(found.value) else int(found.value)
    return int(value) if isinstance(value, float) and value == int(value) else value


def _told(text: str) -> PydanticCustomError:
    what, _, fix = text.partition("; ")
    return PydanticCustomError("told", "{what}", {"what": what, "fix": fix})


def _sequence(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


_QUANTITY = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {
            "type": "string",
            "pattern": r"^[0-9._]+([eE][-+]?[0-9]+)?\s*([kKMGT]?\s*[A-Za-z]*|%(\s+of\s+(the\s+)?teacher)?)$",
        },
    ],
    "description": "a number such as 300000, 300 k or 45 M",
}
_WHOLE = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9._]+\s*[kKMGT]$"}]}

Quantity = Annotated[Amount, BeforeValidator(_amount), WithJsonSchema(_QUANTITY)]
Whole = Annotated[int, BeforeValidator(_count), WithJsonSchema(_WHOLE)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Statistics = Annotated[tuple[float, ...], BeforeValidator(_sequence), Field(min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class DataSection(Section):
    """Which images, and how the training part is split. null means: what the data set says of itself."""

    name: str
    root: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    validation: Annotated[
        float, Field(gt=0, lt=1, description="share of the training part that trials are scored on")
    ] = 0.1
    split_seed: int = 0
    split_file: Annotated[str | None, Field(description='JSON {"train": [...], "validation": [...]} of positions')] = (
        None
    )
    fraction: Annotated[float, Field(gt=0, le=1, description="share of the training split that is used")] = 1.0
    mean: Statistics | None = None
    std: Statistics | None = None
    padding: Annotated[int, Field(ge=0)] | None = None
    flip: bool | None = None
    views_seed: int = 0


class TrainSection(Section):
    """How a teacher is trained in the run: epochs, a policy for a share of its views, and the keys of a recipe."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)  # the recipe's keys are checked by their limits

    epochs: Annotated[Whole, Field(ge=1)] = 240
    seed: int = 0
    policy: Any = "none"
    ratio: Annotated[float, Field(ge=0, le=1)] | None = None


class TeacherSection(Section):
    """A frozen trained network: exactly one of checkpoint, weights and train says where its weights come from."""

    model: str
    options: dict[str, Any] = Field(default_factory=dict)
    checkpoint: Annotated[str | None, Field(description="a .safetensors or .pt / .pth file of weights")] = None
    weights: Annotated[str | None, Field(description="published weights of torchvision or timm, by name")] = None
    train: TrainSection | None = None
    mean: Statistics | None = None
    std: Statistics | None = None
    saw_validation: Annotated[bool, Field(description="it was trained on all training images")] = False


class StudentItem(Section):
    """A student with options of its model, under a name of its own."""

    model: str
    name: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class StudentsSection(Section):
    """Students by pattern: `allow` (all of the zoo where left out) without `deny`."""

    allow: Annotated[list[str | StudentItem] | None, Field(description="names, or patterns such as resnet*")] = None
    deny: list[str] = Field(default_factory=list)
    cheaper_than_teacher: Annotated[
        bool, Field(description="a student with more MACs than its teacher is left out")
    ] = True


class BudgetSection(Section):
    """Limits on the student's inference. `flops` is halved into `macs`; `10 % of teacher` is a share of each pair's teacher."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    params: Quantity | None = None
    macs: Quantity | None = None
    flops: Quantity | None = None

    @model_validator(mode="after")
    def _one_count(self) -> BudgetSection:
        if self.macs is not None and self.flops is not None:
            raise _told("macs and flops say the same thing twice; keep macs: one MAC is two FLOPs")
        return self


@dataclass(frozen=True)
class Budget:
    """Limits on the student's inference; None: no limit. In `of_teacher`, shares of what the teacher of a pair has."""

    name: str
    params: float | None = None
    macs: float | None = None
    of_teacher: dict[str, float] = field(default_factory=dict)
    where: str = field(default="", compare=False)  # file:line

    def limits(self, teacher: tuple[float, float] | None = None) -> dict[str, float]:
        """The limits in numbers: {"params": …, "macs": …}, only those that are set.

        teacher: (params, macs) of the pair's teacher; without one a share limits nothing (train with cross-entropy alone
        under a share by naming the largest teacher here).
        """
        found = {key: value for key, value in (("params", self.params), ("macs", self.macs)) if value is not None}
        if teacher is not None:
            found |= {
                key: share * dict(zip(("params", "macs"), teacher))[key] for key, share in self.of_teacher.items()
            }
        return found

    def admits(self, params: float, macs: float, teacher: tuple[float, float] | None = None) -> bool:
        """Whether a student of this cost may run under the budget; at the limit it may."""
        cost = {"params": params, "macs": macs}
        return all(cost[key] <= limit for key, limit in self.limits(teacher).items())

    def __str__(self) -> str:
        told = [f"{key} {value:g}" for key, value in self.limits().items()]
        told += [f"{key} {share:.4g} of the teacher's" for key, share in self.of_teacher.items()]
        return f"{self.name}: {', '.join(told) or 'no limit'}"


class Rungs(Section):
    """When trials are compared: `count` times before the end, first at a share `grace` of the full length; 1 in `eta` stays."""

    count: Annotated[Whole, Field(ge=0)] = 3
    eta: Annotated[float, Field(gt=1)] = 3.0
    grace: Annotated[float, Field(gt=0, lt=1)] = 0.15

    def shares(self) -> tuple[float, ...]:
        """The rungs as shares of the full length, rising by equal factors from `grace` towards 1 (which is no rung)."""
        return tuple(self.grace ** (1 - i / self.count) for i in range(self.count))


class SearchSettings(Section):
    """How far and how the space is searched. Of trials, hours, images and gpu_hours, the limit that is hit first ends it."""

    trials: Annotated[Whole, Field(ge=1)] | None = 50
    hours: Positive | None = None
    images: Annotated[Whole, Field(ge=1, description="views trained on, over all trials")] | None = None
    gpu_hours: Annotated[Positive, Field(description="a trial's hours times its GPUs, over all trials")] | None = None
    epochs: Annotated[Positive, Field(description="full length of a trial: views / training images")] = 240.0
    rungs: Rungs = Field(default_factory=Rungs)
    scheduler: Literal["strata", "none"] = "strata"
    sampler: Literal["tpe", "random", "gp", "nsga2"] = "tpe"
    seed: int = 0
    concurrent: (
        Annotated[Whole, Field(ge=1, description="trials at once; null: as many as the machine holds")] | None
    ) = None
    start: Annotated[
        list[dict[str, Any]], Field(description="points tried first, by knob: {method.kd.temperature: 4}")
    ] = Field(default_factory=list)

    @model_validator(mode="after")
    def _ends(self) -> SearchSettings:
        if all(limit is None for limit in (self.trials, self.hours, self.images, self.gpu_hours)):
            raise _told("nothing ends this search; set at least one of trials, hours, images and gpu_hours")
        return self


class Resources(Section):
    """What one trial gets. `gpus` is a share of a GPU, one, or several with a worker on each; null: where there is one, by the
    memory that the largest trial is measured to take (on a cluster a quarter), or one for each worker. `cpus` null: one, or
    two where a long search measures that to be faster."""

    cpus: Annotated[Positive | None, Field(description="of each worker; null: one or two, measured")] = None
    gpus: Annotated[float, Field(ge=0, description="of one trial")] | None = None
    workers: Annotated[Whole, Field(ge=1, description="data-parallel workers of one trial")] = 1
    address: Annotated[str | None, Field(description="address of a Ray cluster; null: a Ray of its own")] = None

    @model_validator(mode="after")
    def _whole_gpus(self) -> Resources:
        gpus, workers = self.gpus, self.workers
        if gpus is not None and ((gpus > 1 and gpus != int(gpus)) or (workers > 1 and gpus not in (0, workers))):
            what = (
                f"{workers} worker{'s' * (workers > 1)} of a trial cannot share {gpus:g} GPUs: each has one of its own"
            )
            raise _told(f"{what}; write gpus: {max(workers, int(gpus))}, or leave gpus out")
        return self


class Tracking(Section):
    mlflow: bool = True


class FinalizeSettings(Section):
    """How the best of each budget is retrained and written. epochs null: the search's full length.

    formats: of the exported student, besides safetensors. target: the accuracy that a confidence threshold is to reach on the
    validation split.
    """

    epochs: Positive | None = None
    seeds: Annotated[Whole, Field(ge=1)] = 3
    train_on: Literal["train", "train+validation"] = "train"
    formats: Annotated[tuple[Literal["safetensors", "pt2", "onnx", "int8"], ...], BeforeValidator(_sequence)] = (
        "safetensors",
        "pt2",
        "onnx",
        "int8",
    )
    target: Annotated[float, Field(gt=0, le=1)] = 0.99


class SignalSettings(Section):
    """Whether the teacher's answers are kept between trials, and in how much disk space.

    top_k: of many classes so many of the largest logits and the rest as one mass (0: all; null: all up to 256 classes).
    """

    mode: Literal["auto", "cached", "live"] = "auto"
    max_gb: Positive = 20.0
    top_k: Annotated[Whole, Field(ge=0)] | None = None


class SpaceFile(Section):
    """A search space of autokd."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    data: DataSection
    teachers: dict[str, TeacherSection] = Field(default_factory=dict)
    students: Any = None  # checked by hand: a list of names or a StudentsSection
    pairs: Any = None
    space: Any = None  # checked by autokd.config.tree
    budgets: list[BudgetSection] = Field(default_factory=list)
    search: SearchSettings = Field(default_factory=SearchSettings)
    resources: Resources = Field(default_factory=Resources)
    tracking: Tracking = Field(default_factory=Tracking)
    finalize: FinalizeSettings = Field(default_factory=FinalizeSettings)
    signals: SignalSettings = Field(default_factory=SignalSettings)
