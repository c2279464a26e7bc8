"""The sections of a space file that hold no ranges: what each may say, with types, limits and defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from autokd.config.limits import Budget
from autokd.config.units import Amount, amount, milliseconds, size
from autokd.seeds import LARGEST

__all__ = [
    "Budget",
    "BudgetSection",
    "ConfirmSettings",
    "DataSection",
    "FinalizeSettings",
    "LatencySection",
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


def _limit(read: Callable[[object], Amount]) -> Callable[[object], Any]:
    def check(value: object) -> Any:
        if value is None or isinstance(value, Amount):
            return value
        try:
            found = read(value)
        except ValueError as error:
            raise _told(str(error)) from None
        if found.value <= 0:
            raise _told(f"must be above 0, not {value!r}; leave the limit out where there is none")
        return found

    return check


def _count(value: object) -> Any:
    """A whole number; `50 k` and 1e3 are whole numbers too."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        try:
            found = amount(value)
        except ValueError:
            return value
        whole = math.isfinite(found.value) and found.value == int(found.value)
        return int(found.value) if whole and not found.share and not found.flops else value
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value


def _told(text: str) -> PydanticCustomError:
    what, _, fix = text.partition("; ")
    return PydanticCustomError("told", "{what}", {"what": what, "fix": fix})


def _seed(value: int) -> int:
    if not 0 <= value <= LARGEST:
        raise PydanticCustomError("range", "{range}", {"range": f"from 0 to {LARGEST}"})
    return value


def _sequence(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


_OF_TEACHER = r"%(\s+of\s+(the\s+)?teacher)?"


def _written(units: str, example: str, *, bare: bool = True) -> dict[str, Any]:
    text = {"type": "string", "pattern": rf"^[0-9._]+([eE][-+]?[0-9]+)?\s*({units}|{_OF_TEACHER})$"}
    number = {"type": "number", "exclusiveMinimum": 0}
    return {"anyOf": [number, text] if bare else [text], "description": example}


_QUANTITY = _written(r"[kKMGT]?\s*[A-Za-z]*", "a number such as 300000, 300 k or 45 M")
_SIZE = _written(r"[kKMGT]?(i?B|\s*bytes?)?", "bytes, such as 500000, 1 MB, 500 kB or 2 MiB")
_TIME = _written(r"(us|µs|ms|s)", "a time, such as 5 ms, 800 us or 0.2 s", bare=False)
_WHOLE = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9._]+\s*[kKMGT]$"}]}

Quantity = Annotated[Amount, BeforeValidator(_limit(amount)), WithJsonSchema(_QUANTITY)]
Size = Annotated[Amount, BeforeValidator(_limit(size)), WithJsonSchema(_SIZE)]
Time = Annotated[Amount, BeforeValidator(_limit(milliseconds)), WithJsonSchema(_TIME)]
Whole = Annotated[int, BeforeValidator(_count), WithJsonSchema(_WHOLE)]
Seed = Annotated[
    int, AfterValidator(_seed), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": LARGEST})
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Length = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]  # epochs; more than that is a slip of the finger
Statistics = Annotated[tuple[float, ...], BeforeValidator(_sequence), Field(min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class DataSection(Section):
    """Which images, and how the training part is split. null means: what the data set says of itself."""

    name: str
    root: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    validation: Annotated[
        float, Field(ge=0, lt=1, description="share of the training part that trials are scored on; 0 with select: last")
    ] = 0.1
    split_seed: Seed = 0
    split_file: Annotated[str | None, Field(description='JSON {"train": [...], "validation": [...]} of positions')] = (
        None
    )
    fraction: Annotated[float, Field(gt=0, le=1, description="share of the training split that is used")] = 1.0
    mean: Statistics | None = None
    std: Statistics | None = None
    padding: Annotated[int, Field(ge=0)] | None = None
    flip: bool | None = None
    views_seed: Annotated[
        Seed | None,
        Field(description="of the views of all trainings; null: those of confirm, finalize and study have views of their own"),
    ] = None
    faulty: Annotated[Literal["stop", "skip"], Field(description="what an image that cannot be read does")] = "stop"
    faulty_limit: Annotated[
        float, Field(ge=0, le=1, description="greatest share of a part's images that may be skipped; five always may")
    ] = 0.01


class TrainSection(Section):
    """How a teacher is trained in the run: epochs, a policy for a share of its views, and the keys of a recipe."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)  # the recipe's keys are checked by their limits

    epochs: Annotated[Whole, Field(ge=1, le=1_000_000)] = 240
    seed: Seed = 0
    views_seed: Annotated[Seed | None, Field(description="of its views; null: the data's")] = None
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


class LatencySection(Section):
    """A limit on the time of one batch, with the conditions it is measured under. `latency: 5 ms` is `latency: {max: 5 ms}`."""

    max: Time
    statistic: Annotated[Literal["median", "p90"], Field(description="of the repetitions")] = "median"
    batch: Annotated[Whole, Field(ge=1, description="images at once")] = 1
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[Whole, Field(ge=1, description="of the CPU")] = 1
    runtime: Annotated[Literal["torch", "compiled"], Field(description="compiled: by torch.compile")] = "torch"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


def _latency(value: object) -> Any:
    return {"max": value} if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


class BudgetSection(Section):
    """Limits on the student's inference. `flops` is halved into `macs`; `10 % of teacher` is a share of each pair's teacher."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    params: Quantity | None = None
    macs: Quantity | None = None
    flops: Quantity | None = None
    file_size: Annotated[Size | None, Field(description="of the exported safetensors file")] = None
    memory: Annotated[Size | None, Field(description="of one inference: weights and activations")] = None
    latency: Annotated[LatencySection | None, BeforeValidator(_latency)] = None

    @model_validator(mode="after")
    def _one_count(self) -> BudgetSection:
        if self.macs is not None and self.flops is not None:
            raise _told("macs and flops say the same thing twice; keep macs: one MAC is two FLOPs")
        return self


class Rungs(Section):
    """When trials are compared: `count` times before the end, first at a share `grace` of the full length; 1 in `eta` stays."""

    count: Annotated[Whole, Field(ge=0, le=100)] = 3
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
    trial_hours: Annotated[Positive, Field(description="longest time of one trial; it fails where it takes longer")] | None = None
    max_failures: Annotated[
        float, Field(ge=0, le=1, description="a greater share of failed trials, of at least 20 that ended, ends the search")
    ] = 0.5
    max_disk_gb: (
        Annotated[Positive, Field(description="of the run's folder; above it old checkpoints go, or the search pauses")] | None
    ) = None
    epochs: Annotated[Length, Field(description="full length of a trial: views / training images")] = 240.0
    rungs: Rungs = Field(default_factory=Rungs)
    scheduler: Literal["strata", "none"] = "strata"
    sampler: Literal["tpe", "random", "gp", "nsga2"] = "tpe"
    select: Annotated[
        Literal["validation", "last"],
        Field(description="how a student is chosen: by validation accuracy, or not at all: its last epoch is what counts"),
    ] = "validation"
    seed: Seed = 0
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
        if gpus is not None and ((gpus > 1 and gpus % 1 != 0) or (workers > 1 and gpus not in (0, workers))):
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

    epochs: Length | None = None
    seeds: Annotated[Whole, Field(ge=1, le=1000)] = 3
    train_on: Literal["train", "train+validation"] = "train"
    formats: Annotated[tuple[Literal["safetensors", "pt2", "onnx", "int8"], ...], BeforeValidator(_sequence)] = (
        "safetensors",
        "pt2",
        "onnx",
        "int8",
    )
    target: Annotated[float, Field(gt=0, le=1)] = 0.99


class ConfirmSettings(Section):
    """How the best trials of each budget are trained again with fresh seeds, and one of them chosen. Where this section stands
    in a space, a search ends with it, and keeps `share` of its limits on hours, images and gpu_hours for it."""

    top: Annotated[Whole, Field(ge=1, le=1000, description="candidates of each budget: its best finished trials")] = 4
    seeds: Annotated[Whole, Field(ge=2, le=1000, description="fresh seeds of each, unless it is shown to be worse before")] = 5
    share: Annotated[float, Field(ge=0, lt=1, description="of the search's limits, kept for the confirmation")] = 0.3
    prefer: Annotated[
        Literal["cheapest", "accurate"], Field(description="among those within one standard error of the best")
    ] = "cheapest"
    controls: Annotated[
        list[Literal["ce", "kd"]], Field(description="trained at the chosen student and length, with the same seeds")
    ] = ["ce", "kd"]  # noqa: RUF012 - pydantic copies it
    random: Annotated[
        bool, Field(description="a control more: the best of a random search on as many images as the search")
    ] = False


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
    confirm: ConfirmSettings | None = None
    signals: SignalSettings = Field(default_factory=SignalSettings)
