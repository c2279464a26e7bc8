"""What outlives a trial: data, rendered views, teachers and their answers, kept by the process that trains.

Trials that follow one another in a process share all of it; nothing here depends on the student, its recipe or its seed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autokd.augment.build import build_policy
from autokd.augment.views import Attention, Views
from autokd.config.trial import DataConfig, PolicyConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.data.images import Size, size_of
from autokd.data.training import Training, open_training
from autokd.errors import AutokdError
from autokd.files import locked
from autokd.machine import cpus
from autokd.methods._soft import energy
from autokd.models.build import build
from autokd.models.checkpoint import load_weights
from autokd.models.identity import identity
from autokd.models.precision import of_teacher
from autokd.models.published import published
from autokd.models.sources import code
from autokd.rooms import catalogue
from autokd.signals.live import LiveSignals
from autokd.signals.teacher import Teacher, weights_hash
from autokd.train.allocation import keep_freed_memory
from autokd.train.crash import CRASH_FIX, Crash, find_crashing_layer
from autokd.train.evaluate import Score, predict, score
from autokd.train.pace import Pace, default_pace, find_pace, force_layout, forced_layout, has_bf16

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from autokd.signals.cache import CachedSignals
    from autokd.train.trial import Trial

__all__ = ["Loaded", "Workshop"]

LEAST_PASSES = 0.25  # a trial that reads less of a view than this would pay for far more answers than it reads


@dataclass(frozen=True)
class Loaded:
    """A data set in memory: the two splits cut from its training part, as tensors on the training device."""

    training: Training
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool
    pixels: Tensor  # uint8 [N, C, H, W]
    labels: Tensor  # int64 [N]
    index: Tensor  # int64 [N], positions in the data set as published
    val_pixels: Tensor
    val_labels: Tensor

    @property
    def classes(self) -> int:
        return len(self.training.train.classes)

    @property
    def channels(self) -> int:
        return self.pixels.shape[1]

    @property
    def size(self) -> Size:
        return size_of(*self.pixels.shape[-2:])

    @property
    def validates(self) -> bool:
        """Whether any image is held out."""
        return len(self.val_labels) > 0

    @cached_property
    def fingerprint(self) -> str:
        return self.training.train.fingerprint()


class Workshop:
    """One process's bench. `device` is "cpu", "cuda" or "cuda:1"; `threads` bounds torch's own threads (None: by the processors).

    `signals` is live (ask the teacher at every batch), cached (keep its answers in `cache_dir`) or auto (time both); what was
    chosen and why stands in `decisions`. `top_k`: as in `CachedSignals`.
    """

    def __init__(
        self,
        device: str = "cpu",
        threads: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        signals: str = "auto",
        max_gb: float = 20.0,
        top_k: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        self.signals_mode, self.max_gb, self.top_k = signals, max_gb, top_k
        self.decisions: list[str] = []  # sentences for a person, each once
        self._told = 0
        self.threads = threads
        torch.set_num_threads(threads if threads is not None else min(torch.get_num_threads(), cpus()))
        if self.device.type == "cpu":
            keep_freed_memory()
        self._data: dict[str, Loaded] = {}
        self._teachers: dict[str, Teacher] = {}
        self._scores: dict[str, Score] = {}
        self._energies: dict[str, Tensor] = {}
        self._views: dict[str, Views] = {}
        self._stages: dict[str, dict[str, Any]] = {}
        self._kept: dict[tuple[str, ...], CachedSignals] = {}
        self._choices: dict[tuple[str, ...], bool] = {}
        self._paces: dict[tuple[str, tuple[int, ...], int, str], Pace] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of another bench like this one, in plain values."""
        return {
            "device": str(self.device),
            "threads": self.threads,
            "cache_dir": str(self.cache_dir) if self.cache_dir is not None else None,
            "signals": self.signals_mode,
            "max_gb": self.max_gb,
            "top_k": self.top_k,
        }

    def data(self, config: DataConfig) -> Loaded:
        key = _key(replace(config, views_seed=0))
        if key not in self._data:
            training = _opened(config)
            card, train, validation = training.card, training.train, training.validation
            self._data[key] = Loaded(
                training,
                tuple(config.mean or card.mean),
                tuple(config.std or card.std),
                card.padding if config.padding is None else config.padding,
                card.flip if config.flip is None else config.flip,
                torch.from_numpy(train.pixels).to(self.device),
                torch.from_numpy(train.labels).to(self.device),
                torch.from_numpy(train.index),
                torch.from_numpy(validation.pixels).to(self.device),
                torch.from_numpy(validation.labels).to(self.device),
            )
        return self._data[key]

    def views(
        self, data: DataConfig, policy: PolicyConfig, teacher: TeacherConfig | None = None, seed: int | None = None
    ) -> Views:
        """Views of the training images. `teacher`: whose attention a policy follows, where it follows any. `seed`: what they are
        drawn by; None: the data's."""
        seed = (data.views_seed or 0) if seed is None else seed
        built = build_policy(policy.name, policy.settings, policy.steps)
        follows = built.reads_attention
        key = _key(data) + _key(policy) + (_key(teacher) if follows and teacher is not None else "") + str(seed)
        if key not in self._views:
            if follows and teacher is None:
                raise AutokdError(
                    f"policy {policy.name!r} follows a teacher's attention, and this trial has no teacher",
                    fix="use it with a method that has one",
                )
            loaded = self.data(data)
            attention = self._attention(data, teacher) if follows and teacher is not None else None
            self._views[key] = Views(
                loaded.pixels,
                loaded.index,
                built,
                padding=loaded.padding,
                flip=loaded.flip,
                seed=seed,
                shared_geometry=policy.shared_geometry,
                geometry=loaded.training.card.geometry,  # type: ignore[arg-type]
                attention=attention,
            )
        return self._views[key]

    def views_of(self, config: TrialConfig) -> Views:
        """The views that this trial trains on."""
        return self.views(config.data, config.policy, config.teacher, config.seed_of_views)

    def _attention(self, data: DataConfig, config: TeacherConfig) -> Attention:
        from autokd.signals.attention import attention_of

        loaded, teacher = self.data(data), self.teacher(data, config)
        folder = self.cache_dir / "attention" if self.cache_dir is not None else None
        return attention_of(teacher, loaded.pixels, loaded.fingerprint, folder)

    def model(self, data: DataConfig, student: StudentConfig | TeacherConfig, seed: int | None = None) -> nn.Module:
        loaded = self.data(data)
        name = student.model if isinstance(student, TeacherConfig) else student.name
        return build(
            name,
            classes=loaded.classes,
            channels=loaded.channels,
            size=loaded.size,
            options=student.options,
            weights=student.weights if isinstance(student, TeacherConfig) else None,
            seed=seed,
        )

    def teacher(self, data: DataConfig, config: TeacherConfig, precision: str = "auto") -> Teacher:
        """The frozen network, loaded once. precision: of the students that it teaches. Raises AutokdError where its weights are
        not to be had."""
        precision = of_teacher(precision, self.device)
        key = _key(config) + _key(replace(data, fraction=1.0, views_seed=0)) + precision
        if key not in self._teachers:
            if config.checkpoint is None and config.weights is None:
                raise AutokdError(
                    f"the teacher {config.name!r} has no weights yet",
                    fix="give it a checkpoint, weights, or train it first (autokd teacher train)",
                )
            loaded = self.data(data)
            told = published(config.model, config.weights) if config.weights is not None else None
            weights = ""

            def make() -> nn.Module:
                nonlocal weights
                model = self.model(data, config)
                if config.checkpoint is not None:
                    read = load_weights(model, config.checkpoint)
                    self.tell(f"weights of {config.name}: {read.told}" if read.told else "")
                    if weights and read.sha256 != weights:
                        fix = "start the search anew, with the weights that shall count"
                        where = str(config.checkpoint)
                        raise AutokdError(f"the weights of {config.name!r} changed during the search", where=where, fix=fix)
                    weights = read.sha256
                return model

            network = make()
            told_apart = [weights or weights_hash(network), identity(config.model, config.options, network)]
            self._teachers[key] = Teacher(
                network,
                mean=tuple(config.mean or (told and told.mean) or loaded.mean),
                std=tuple(config.std or (told and told.std) or loaded.std),
                device=self.device,
                name=config.name,
                fingerprint=blake2b(json.dumps(told_apart).encode(), digest_size=16).hexdigest(),
                make=make,
                precision=precision,
            )
        return self._teachers[key]

    def verify(self, data: DataConfig, config: TeacherConfig) -> Score | None:
        """The teacher's accuracy, loss and calibration on the validation split, asked as the students will ask it; once. None
        without a validation split, where its weights are loaded all the same."""
        key = _key(config) + _key(replace(data, fraction=1.0, views_seed=0))
        if key not in self._scores:
            loaded, teacher = self.data(data), self.teacher(data, config)
            if not loaded.validates:
                return None
            logits = torch.cat([teacher.logits(chunk) for chunk in loaded.val_pixels.split(512)])
            self._scores[key] = score(logits, loaded.val_labels)
        return self._scores[key]

    def drop_teachers(self) -> None:
        """Load them anew when they are next asked: a file was written."""
        self._teachers.clear()
        self._scores.clear()

    def fingerprints(self, data: DataConfig) -> list[str]:
        """Of the images that train (all of them, whatever `fraction`) and of those that validate."""
        training = self.data(data).training if data.fraction == 1.0 else _opened(replace(data, fraction=1.0))
        return [training.train.fingerprint(), training.validation.fingerprint()]

    def energies(self, data: DataConfig, config: TeacherConfig, precision: str, temperature: float) -> Tensor:
        """The teacher's free energy of every training image as it is stored, [n], asked once: neither cropped nor augmented."""
        key = _key(config) + _key(replace(data, views_seed=0)) + of_teacher(precision, self.device) + str(temperature)
        if key not in self._energies:
            teacher, pixels = self.teacher(data, config, precision), self.data(data).pixels
            found = [energy(teacher.logits(chunk), temperature) for chunk in pixels.split(512)]
            self._energies[key] = torch.cat(found)
        return self._energies[key]

    def signals(self, config: TrialConfig) -> LiveSignals | CachedSignals | None:
        """The teacher's answers to the views of this trial, or None for a trial without a teacher."""
        if config.teacher is None:
            return None
        teacher = self.teacher(config.data, config.teacher, config.recipe.precision)
        if self.signals_mode == "live" or self.cache_dir is None or not self._worth_keeping(config):
            return LiveSignals(teacher)
        from autokd.signals.cache import CachedSignals
        from autokd.signals.choose import choose, told_of_sparse
        from autokd.signals.store import Store

        pooled = any("teacher_pooled" in reads for reads in _reads(config).values())
        key = (
            *(_key(config.data), _key(config.policy), _key(config.teacher), "pooled" if pooled else "", teacher.precision),
            str(config.seed_of_views),
        )
        first = key not in self._kept
        if first:
            self._kept = {one: kept for one, kept in self._kept.items() if one[-1] == key[-1]}  # seed after seed is trained
            views, loaded = self.views_of(config), self.data(config.data)
            self._kept[key] = CachedSignals(
                Store(self.cache_dir, max_gb=self.max_gb),
                teacher,
                data=loaded.fingerprint,
                rows=len(loaded.pixels),
                keys=(views.key(False), views.key(True)),
                render=_renderer(views),
                top=self.top_k,
                pooled=pooled,
            )
        if self.signals_mode == "auto":
            asked = (key[0], *key[2:-1])  # neither policy nor seed changes what an answer costs
            if asked not in self._choices:
                choice = choose(self._kept[key])
                self._choices[asked] = choice.cached
                self.tell(choice.sentence)
            if not self._choices[asked]:
                return LiveSignals(teacher)
        self.tell(told_of_sparse(self._kept[key]) if first else "")
        return self._kept[key]

    def stage(self, config: TrialConfig, module: nn.Module, teacher: Teacher) -> Teacher | None:
        """Train what a method adds to its teacher, once for all trials, and freeze it. See `autokd.train.stages`."""
        from autokd.train.stages import teacher_stage

        return teacher_stage(self, config, module, teacher, self._stages)

    def _worth_keeping(self, config: TrialConfig) -> bool:
        """Whether this trial reads what can be kept, and enough of it."""
        assert config.teacher is not None
        name = config.teacher.name
        for method, reads in _reads(config).items():
            if "teacher_features" in reads:  # feature maps are too large to be kept
                self.tell(f"signals of {name}: live for {method}, which reads feature maps")
                return False
        passes = config.epochs * max(config.ratio, 1 - config.ratio)
        if self.signals_mode == "auto" and passes < LEAST_PASSES:
            self.tell(f"signals of {name}: live for trials that read {passes:.2g} of a view")
            return False
        return True

    def news(self) -> list[str]:
        """The decisions made since this was last asked."""
        told, self._told = self.decisions[self._told :], len(self.decisions)
        return told

    def tell(self, sentence: str) -> None:
        """Note a sentence for a person, once."""
        if sentence and sentence not in self.decisions:
            self.decisions.append(sentence)

    def trial(self, config: TrialConfig, **options: object) -> Trial:
        from autokd.train.trial import Trial

        return Trial(self, config, **options)  # type: ignore[arg-type]

    def pace(self, config: TrialConfig, steps: int) -> Pace:
        """How the student of this trial is trained fastest here; measured where nobody has yet, and the training is long."""
        name, shape = self._trained(config)
        key = (name, shape, steps, config.recipe.precision)
        if key not in self._paces:
            pace, told = find_pace(
                lambda: self.model(config.data, config.student, seed=0),
                name,
                label=config.student.name,
                shape=shape,
                steps=steps,
                device=self.device,
                folder=self._pace_folder,
                precision=config.recipe.precision,
                channels_last=self.order(config),
            )
            self.tell(told)
            self._paces[key] = pace
        return self._paces[key]

    def order(self, config: TrialConfig) -> bool | None:
        """The only memory order allowed after a crash: channels last (True) or first (False); None: any."""
        return forced_layout(*self._trained(config), self.device, self._pace_folder)

    def after_crash(self, config: TrialConfig, crash: Crash) -> str:
        """A process crashed while it trained this trial: find the layer, and a memory order that does not crash.

        Trains the student one step in each order, each in a process of its own, and forbids the order that crashes, on this
        machine and with this version of torch. Returns a sentence for the user; "" if this was done before. Raises AutokdError if
        both orders crash.
        """
        folder = self._pace_folder
        if self.device.type != "cpu" or folder is None or self.order(config) is not None:
            return ""
        name, shape = self._trained(config)
        with locked(folder / "crash.lock"):
            if self.order(config) is not None:  # another process has looked meanwhile
                return ""
            last, first = (self._crash_of(config, shape, order) for order in (True, False))
            if last is not None and first is not None:
                raise AutokdError(f"{config.student.name} cannot be trained here: {last}", fix=CRASH_FIX)
            if last is None and first is None and "backward" not in crash.place:
                return ""  # the crash was not in a training step
            order, seen = first is not None, last or first or crash
            force_layout(order, str(seen), name, shape, self.device, folder)
        used, crashed = ("last", "first") if order else ("first", "last")
        return f"{config.student.name}: trained channels {used}, since training channels {crashed} crashed with {seen}"

    def _crash_of(self, config: TrialConfig, shape: tuple[int, ...], channels_last: bool) -> Crash | None:
        student, loaded = config.student, self.data(config.data)
        network = {"name": student.name, "classes": loaded.classes, "options": student.options}
        for bf16 in (False, True) if has_bf16() else (False,):
            found = find_crashing_layer(
                network, shape, channels_last=channels_last, bf16=bf16, threads=self.threads or torch.get_num_threads()
            )
            if found is not None:
                return found
        return None

    def _trained(self, config: TrialConfig) -> tuple[str, tuple[int, int, int, int]]:
        """A key of the student, and the shape of its batches."""
        loaded = self.data(config.data)
        shape: Any = (config.recipe.batch, *loaded.pixels.shape[1:])
        return _key(config.student) + code(config.student.name) + str(loaded.classes), shape

    @property
    def _pace_folder(self) -> Path | None:
        return self.cache_dir / "pace" if self.cache_dir is not None else None

    def score(
        self,
        model: nn.Module,
        loaded: Loaded,
        shown: Callable[[Tensor], Tensor] | None = None,
        pace: Pace | None = None,
    ) -> Score | None:
        """Accuracy and loss on the validation split, None without one; `shown` as in `predict`."""
        if not loaded.validates:
            return None
        pace = pace or default_pace(self.device)
        logits = predict(
            model,
            loaded.val_pixels,
            loaded.mean,
            loaded.std,
            batch=pace.evaluation,
            memory_format=pace.memory_format,
            shown=shown,
        )
        return score(logits, loaded.val_labels)


def _opened(config: DataConfig) -> Training:
    return open_training(
        config.name,
        root=config.root,
        options=config.options,
        validation=config.validation,
        split_seed=config.split_seed,
        split_file=config.split_file,
        fraction=config.fraction,
        faulty=config.faulty,
        faulty_limit=config.faulty_limit,
    )


def _renderer(views: Views) -> Callable[[Tensor, int, bool], Tensor]:
    def render(rows: Tensor, view: int, augmented: bool) -> Tensor:
        return views.render(rows, view, augmented).pixels

    return render


def _reads(config: TrialConfig) -> dict[str, tuple[str, ...]]:
    """What each method of a trial reads."""
    known = catalogue("methods")
    names = (config.method.name, *(term.name for term in config.method.also))
    return {name: known[name].reads for name in names if name in known}


def _key(config: object) -> str:
    from dataclasses import asdict

    return json.dumps(asdict(config), sort_keys=True, default=str)  # type: ignore[call-overload]
