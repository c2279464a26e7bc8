"""One student trained under one configuration: in steps, resumable at any of them, with no engine around it."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autokd.augment.normalise import normalise
from autokd.augment.views import View
from autokd.config.trial import RecipeConfig, TrialConfig
from autokd.errors import AutokdError, TrialFailed, refused
from autokd.files import intact_zip, whole
from autokd.methods.build import Method, build_method
from autokd.methods.ce import ce
from autokd.models.features import forward_features, logits_of
from autokd.models.identity import identity
from autokd.models.precision import arithmetic, used
from autokd.models.zoo import resolve
from autokd.signals.tally import Tally
from autokd.signals.teacher import Teacher
from autokd.train.ahead import Ahead, Part
from autokd.train.average import Average
from autokd.train.batches import Batch, Order, divide, mixed_seed, turned
from autokd.train.layout import use_safe_layout
from autokd.train.optimiser import SGD, AdamW
from autokd.train.pace import Pace
from autokd.train.report import Progress, Report
from autokd.train.schedule import learning_rate
from autokd.train.weights import SCHEMES, Weights
from autokd.train.workshop import Workshop

__all__ = ["Trial", "forget", "run", "train_in_parts"]

_TOLD_EVERY = 2.0  # seconds between two words on how far a training is
_CHECK_EVERY = 50  # steps between looks at the loss for NaN; a look costs a wait for the GPU


class Trial:
    """A training that stands still between calls of `advance`.

    `rank` and `world` split each batch over the workers of a data-parallel trial; `wrap` makes the network parallel
    (DistributedDataParallel, with its `find_unused_parameters`). The step is then that of one worker with the whole batch, but
    for what looks across rows: batch normalisation and methods that compare images see a worker's own rows, unless `wrap`
    synchronises them. Everything random is a function of (seed, step), so that a resumed trial ends with the same weights as an
    uninterrupted one.
    """

    def __init__(
        self,
        workshop: Workshop,
        config: TrialConfig,
        *,
        rank: int = 0,
        world: int = 1,
        wrap: Callable[..., nn.Module] | None = None,
    ) -> None:
        self.workshop, self.config, self.rank, self.world = workshop, config, rank, world
        self.loaded = workshop.data(config.data)
        self.views = workshop.views_of(config)
        self.method = build_method(config.method.name, config.method.settings)
        also = _also(config)
        self.task, self.terms = _losses(config, self.method, also)
        self.reads = frozenset[str]().union(*(term.reads for _, term in self.terms))
        self.device = workshop.device
        ratio = config.ratio if config.policy.name != "none" else 0.0
        self.turns = self.method.turns
        if config.recipe.batch % self.turns:
            raise AutokdError(
                f"{config.method.name} turns every view {self.turns} ways, and a batch of {config.recipe.batch} does not divide",
                fix=f"choose a batch that is a multiple of {self.turns}",
            )
        self.division = divide(config.recipe.batch // self.turns, ratio)
        self.total_steps = max(1, round(config.epochs * len(self.loaded.pixels) / config.recipe.batch))
        self.order = Order(len(self.loaded.pixels), self.division.images, config.seed)
        self.ahead = Ahead(self.views, self.order, self.division, self.total_steps, rank=rank, world=world)
        model = workshop.model(config.data, config.student, seed=mixed_seed(config.seed, 1) & 0x7FFFFFFF)
        self.pace = workshop.pace(config, self.total_steps)
        self.student = self.pace.prepare(model, self.device)
        self.average = Average(self.student, config.recipe.ema) if config.recipe.ema is not None else None
        self.teacher_seconds = 0.0
        self.tuned: Teacher | None = None  # a teacher that a stage of its own trained on, in place of the given one
        started = time.perf_counter()
        self.extra = self._learnable_parts([self.method, *also])
        self.teacher_seconds = time.perf_counter() - started
        if world > 1 and self.extra is not None and any(True for _ in self.extra.parameters()):
            raise AutokdError(
                f"{config.method.name} trains parts of its own, which several workers of one trial do not share",
                fix="search it with resources.workers: 1 (and at most one GPU a trial)",
            )
        self.wrap = wrap
        self.parallel = self._parallel()
        self.optimizer = _optimizer(self.student, self.extra, config.recipe, fused=self.pace.fused)
        self.signals = workshop.signals(config) if self.method.needs_teacher else None
        if self.method.needs_teacher and self.signals is None:
            raise AutokdError(
                f"the method {config.method.name!r} needs a teacher", fix="name one, or use the method ce"
            )
        self.tally, self._asked_before = Tally(), [0, 0]
        self.asked = [0, 0]  # answers that were kept, and that were computed, over all resumes and workers
        self.weights = self._weights()
        self.step = 0
        self.seconds = 0.0
        self._losses = torch.zeros((), device=self.device)
        self._counted = 0
        self.right: Tensor | None = None  # bool [validation images], as last scored
        self.on_progress: Callable[[Progress], None] | None = None
        self._pace_from: tuple[float, int] | None = None  # when this process had made its first step, and which one that was
        self._told = 0.0
        self._val_top1: float | None = None

    def _parallel(self) -> nn.Module:
        """The student as a training step calls it."""
        if self.wrap:
            return self.wrap(self.student, find_unused_parameters=self._may_skip_parameters)
        several = self.config.loss.adapt == "gradient_cosine"  # backward passes of one step: a compiled network has one
        return self.student if several or "student_features" in self.reads else self.pace.run(self.student)

    @property
    def _may_skip_parameters(self) -> bool:
        """Whether some parameters may get no gradient in a step, which DistributedDataParallel has to know: in a network of the
        zoo only if no loss reads its logits."""
        logits = self.task or "student_logits" in self.reads
        return not logits or resolve(self.config.student.name).kind != "zoo"

    @property
    def batch(self) -> int:
        return self.config.recipe.batch

    @property
    def total_images(self) -> int:
        """Views the student trains on at full length."""
        return self.total_steps * self.batch

    @property
    def images(self) -> int:
        return self.step * self.batch

    @property
    def precision(self) -> str:
        """What the student is trained in: float32, tf32 or bf16."""
        return used(self.config.recipe.precision, self.device, autocast=self.pace.bf16)

    def advance(self, images: int) -> Report:
        """Train until `images` views have been processed (at most the full length), then score on the validation split, if any.

        Raises TrialFailed where the loss is no longer a finite number.
        """
        with arithmetic(self.config.recipe.precision, self.device):
            return self._advance(images)

    def _advance(self, images: int) -> Report:
        start = time.perf_counter()
        target = min(self.total_steps, math.ceil(images / self.batch))
        self.student.train()
        while self.step < target:
            self._train_step()
            self._tell_progress()
            if self.step % _CHECK_EVERY == 0:
                self._check()
        self._check()
        self._agree()
        train_loss = self._losses.item() / max(1, self._counted)
        self._losses.zero_()
        self._counted = 0
        result = self.workshop.score(self.scored, self.loaded, self.method.student_images, pace=self.pace)
        if result is not None and not math.isfinite(result.loss):
            raise TrialFailed("the validation loss is not finite")
        self.right = result.right if result is not None else None
        self.asked = self._all_asked()
        self.seconds += time.perf_counter() - start
        self._val_top1 = result.top1 if result is not None else None
        self._tell_progress(look=True)
        return Report(
            images=self.images,
            epochs=self.images / len(self.loaded.pixels),
            passes=self.step * self.division.images / len(self.loaded.pixels),
            val_top1=result.top1 if result is not None else None,
            val_loss=result.loss if result is not None else None,
            train_loss=train_loss,
            lr=learning_rate(self.config.recipe, self.step / self.total_steps),
            seconds=self.seconds,
            teacher_seconds=self.teacher_seconds,
            signal_hits=self.asked[0],
            signal_misses=self.asked[1],
            precision=self.precision,
        )

    def _tell_progress(self, *, look: bool = False) -> None:
        if self.on_progress is None:
            return
        now = time.monotonic()
        if self._pace_from is None:
            self._pace_from, self._told = (now, self.step), now
        if not look and now - self._told < _TOLD_EVERY:
            return
        self._told = now
        began, first = self._pace_from
        left = (now - began) * (self.total_steps - self.step) / (self.step - first) if self.step > first else None
        epochs = self.images / len(self.loaded.pixels)
        self.on_progress(Progress(epochs, self.config.epochs, self._val_top1, left, look))

    @property
    def scored(self) -> nn.Module:
        """The network whose weights are scored and exported: the moving average where there is one."""
        return self.average.module if self.average is not None else self.student

    def loss(self, step: int) -> Tensor:
        """The training loss of one step, with gradients and the factors of now: a scalar."""
        return self._sum(self.parts(step))

    def parts(self, step: int) -> list[Tensor]:
        """The losses of one step, scalars without their weights: cross-entropy (where it counts), method, further terms."""
        views = self.ahead.step(step)
        pixels = torch.cat([view.pixels for _, _, view in views])
        pixels = turned(pixels, self.turns)
        images = normalise(pixels, self.loaded.mean, self.loaded.std)
        if self.method.student_images is not None:
            images = self.method.student_images(images)
        images = images.contiguous(memory_format=self.pace.memory_format)
        known: dict[str, Any] = {"augmented": _flags(views, self.device)}
        known["labels"] = torch.cat([self.loaded.labels[part.rows.to(self.device)] for part, _, _ in views])
        known["targets"] = torch.cat([self._targets(part, view) for part, _, view in views])
        known["index"] = self.loaded.index[torch.cat([part.rows for part, _, _ in views])].to(self.device)
        known["view"] = torch.arange(len(known["labels"]), device=self.device)
        if self.turns > 1:
            known = {name: value.repeat(self.turns, *[1] * (value.dim() - 1)) for name, value in known.items()}
        known["rotation"] = torch.arange(len(pixels), device=self.device) // (len(pixels) // self.turns)
        known["epoch"] = step * self.batch / len(self.loaded.pixels)
        self.pace.begin_step()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.pace.bf16):
            if "student_features" in self.reads:
                known["student_features"] = forward_features(self.parallel, images)
                known["student_logits"] = known["student_features"].logits.float()
            else:
                known["student_logits"] = logits_of(self.parallel(images), self.config.student.name).float()
        parts = []
        weights = self.config.loss
        if self.task:
            chosen = _placement(known["augmented"], weights.ce_on_plain, weights.ce_on_augmented)
            if self.turns > 1:  # labels are those of upright images
                chosen = (known["rotation"] == 0) if chosen is None else chosen & (known["rotation"] == 0)
            part = _rows_of(known, ("student_logits", "targets"), chosen)
            smoothing = self.config.recipe.label_smoothing
            parts.append(ce(part["student_logits"], part["targets"], label_smoothing=smoothing))
        if self.terms:
            start = time.perf_counter()
            self._ask(known, views, pixels)
            self.teacher_seconds += time.perf_counter() - start
            chosen = _placement(known["augmented"], weights.kd_on_plain, weights.kd_on_augmented)
            parts += [term(_rows_of(known, tuple(term.reads), chosen)) for _, term in self.terms]
        return parts

    def _sum(self, parts: Sequence[Tensor]) -> Tensor:
        total = torch.zeros((), device=self.device)
        for position, (weight, part) in enumerate(zip(self._shares, parts, strict=True)):
            weighed = weight * part
            total = total + (weighed if self.weights.scheme == "fixed" else self.weights.factors[position] * weighed)
        return total

    @property
    def _shares(self) -> list[float]:
        """The weight of each loss, as configured."""
        return [self.config.loss.ce_weight] * self.task + [weight for weight, _ in self.terms]

    def _weights(self) -> Weights:
        scheme = self.config.loss.adapt
        if scheme not in SCHEMES:
            raise AutokdError(f"no way to adapt weights {scheme!r}", fix=f"adapt: {', '.join(SCHEMES)}")
        scheme = scheme if self.terms else "fixed"
        if scheme == "gradient_cosine" and not self.task:
            fix = "give it a ce_weight above 0, or use loss_ratio or uncertainty"
            raise AutokdError("gradient_cosine compares with the cross-entropy, and this trial has none", fix=fix)
        if scheme != "fixed" and self.world > 1:
            fix = "search it with resources.workers: 1 (and at most one GPU a trial)"
            raise AutokdError("weights that adapt are not shared by the workers of one trial", fix=fix)
        memory, count = self.config.loss.adapt_memory, self.task + len(self.terms)
        return Weights(scheme, count, task=self.task, steps=self.total_steps, memory=memory, device=self.device)

    def _follow(self, parts: Sequence[Tensor]) -> None:
        """Let the factors see the losses of this step, and now and then their gradients over all of the student's weights."""
        if self.weights.wants_gradients(self.step):
            own = [p for p in self.student.parameters() if p.requires_grad]
            scaled = [self.config.loss.ce_weight * parts[0], *parts[1:]]
            found = [torch.autograd.grad(part, own, retain_graph=True, materialize_grads=True) for part in scaled]
            self.weights.see_gradients([torch.cat([g.detach().flatten() for g in one]) for one in found])
        if self.weights.scheme != "fixed":
            self.weights.see_losses(self.step, torch.stack([part.detach().float() for part in parts]))

    def _train_step(self) -> None:
        _seed(mixed_seed(self.config.seed, 2, self.step), self.device)  # dropout and the like
        rate = learning_rate(self.config.recipe, self.step / self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = self.parts(self.step)
        self._follow(parts)
        loss = self._sum(parts)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self._share).backward()
        if self.config.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.student.parameters(), self.config.recipe.clip)
            own = list(self.extra.parameters()) if self.extra is not None else []
            if own:
                nn.utils.clip_grad_norm_(own, self.config.recipe.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        self._losses += loss.detach()
        self._counted += 1
        self.step += 1

    @cached_property
    def _share(self) -> float:
        """This worker's rows of a batch times the workers: 1 where a batch divides. Gradients are averaged over workers."""
        mine = slice(self.rank, None, self.world)
        rows = sum(len(range(count)[mine]) for count in (self.division.plain, self.division.augmented))
        return rows * self.world / (self.division.plain + self.division.augmented)

    def _all_asked(self) -> list[int]:
        """What the teacher was asked for, in sum over the workers: answers kept, answers computed."""
        now = torch.tensor([self.tally.hits, self.tally.misses], device=self.device)
        if self.world > 1:
            torch.distributed.all_reduce(now)
        return [before + more for before, more in zip(self._asked_before, now.tolist(), strict=True)]

    def _agree(self) -> None:
        """Give every worker the first one's batch statistics: weights are the same already."""
        if self.world > 1:
            buffers = [*self.student.buffers(), *(self.average.module.buffers() if self.average is not None else ())]
            for buffer in buffers:
                torch.distributed.broadcast(buffer, 0)

    def _check(self) -> None:
        if self.world > 1:  # the mean over the workers, so that all stop where one has to
            torch.distributed.all_reduce(self._losses)
            self._losses /= self.world
        if not math.isfinite(self._losses.item()):
            raise TrialFailed(f"the loss is not finite at step {self.step} of {self.total_steps}")

    def _targets(self, part: Batch, view: View) -> Tensor:
        """Label probabilities [B, C]; a mixed view shares its label with its partner."""
        own = nn.functional.one_hot(self.loaded.labels[part.rows.to(self.device)], self.loaded.classes).float()
        if view.partner is None or view.share is None:
            return own
        other = nn.functional.one_hot(self.loaded.labels[view.partner.to(self.device)], self.loaded.classes).float()
        share = view.share.to(self.device)[:, None]
        return share * own + (1 - share) * other

    def _ask(self, known: dict[str, Any], views: Sequence[Part], pixels: Tensor) -> None:
        """Put the teacher's answers, row by row beside the student's, into `known`. `pixels`: all rows, turned ones too."""
        assert self.signals is not None
        self.signals.tally = self.tally  # trials of one process share their signals
        if "teacher_features" in self.reads:  # one pass answers for both
            self.tally.asked(len(pixels))
            features = self.signals.features(pixels) if self.tuned is None else self.tuned.features(pixels)
            known["teacher_features"], known["teacher_logits"] = features, features.logits.float()
            known["teacher_pooled"] = features.pooled.float()
            lengths = [len(part.rows) for part, _, _ in views]
            answers = list(known["teacher_logits"][: sum(lengths)].split(lengths))
        elif "teacher_pooled" in self.reads:
            pairs = [self._pooled_answers(part.rows, part.passes, flag, view.pixels) for part, flag, view in views]
            known["teacher_pooled"] = torch.cat([pooled for _, pooled in pairs]).to(self.device)
            answers = [logits for logits, _ in pairs]
            known["teacher_logits"] = torch.cat(answers).to(self.device)
        else:
            weights = self.config.loss
            every = len(views) == 1 or "plain_teacher_logits" in self.reads
            every = every or (weights.kd_on_plain and weights.kd_on_augmented)
            answers = [
                self._answers(part.rows, part.passes, flag, view.pixels)
                if every or flag == weights.kd_on_augmented
                else torch.zeros(len(part.rows), self.loaded.classes, device=self.device)  # no loss reads these rows
                for part, flag, view in views
            ]
            known["teacher_logits"] = torch.cat(answers).to(self.device)
        if "plain_teacher_logits" in self.reads:
            known["plain_teacher_logits"] = torch.cat(self._plain_answers(views, answers)).to(self.device)

    def _plain_answers(self, views: Sequence[Part], answers: Sequence[Tensor]) -> list[Tensor]:
        """The teacher's answers to the plain view of each row's image: those of the plain rows serve the augmented ones, too."""
        plain = answers[0] if not views[0][1] else answers[0][:0]
        found = [plain] if len(plain) else []
        for part, augmented, _ in views:
            if not augmented:
                continue
            have = min(len(plain), len(part.rows))
            found += [plain[:have]] if have else []
            if have < len(part.rows):
                rows, passes = part.rows[have:], part.passes[have:]
                assert self.signals is not None
                more = self.views.render(rows, passes, False).pixels if self.signals.wants_pixels else None
                found.append(self._answers(rows, passes, False, more))
        return found

    def _answers(self, rows: Tensor, passes: Tensor, flag: bool, pixels: Tensor | None) -> Tensor:
        assert self.signals is not None
        return self.signals.logits(rows, passes, flag, pixels, until=self._until).to(self.device)

    def _pooled_answers(self, rows: Tensor, passes: Tensor, flag: bool, pixels: Tensor) -> tuple[Tensor, Tensor]:
        assert self.signals is not None
        return self.signals.answers(rows, passes, flag, pixels, until=self._until)

    @property
    def _until(self) -> float:
        """Where in the sequence of views this trial ends."""
        return self.total_steps * self.division.images / len(self.loaded.pixels)

    def _learnable_parts(self, methods: Sequence[Method]) -> nn.Module | None:
        """The methods' own networks, which train beside the student and are not exported."""
        made = [self._built(method.module, number) for number, method in enumerate(methods) if method.module is not None]
        return nn.ModuleList(made) if len(made) > 1 else made[0] if made else None

    def _built(self, module: Any, number: int) -> nn.Module:
        if hasattr(module, "know_energies") and self.config.teacher is not None:  # quantiles over the training images
            known = (self.config.data, self.config.teacher, self.config.recipe.precision)
            module.know_energies(partial(self.workshop.energies, *known))
        if hasattr(module, "build_parts") and self.config.teacher is not None:
            probe = torch.zeros(2, *self.loaded.pixels.shape[1:], device=self.device)
            teacher = self.workshop.teacher(self.config.data, self.config.teacher, self.config.recipe.precision)
            self.student.eval()
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(mixed_seed(self.config.seed, 3, *[number] * (number > 0)) & 0x7FFFFFFF)
                module.build_parts(forward_features(self.student, probe), teacher.features(probe.byte()))
                if self.device.type == "cpu":  # their inputs are channels last
                    use_safe_layout(module)
                if hasattr(module, "know_data"):  # a memory has a row for each training image
                    module.know_data(self.loaded.index, self.loaded.labels.cpu())
            if hasattr(module, "teacher_loss"):
                self.tuned = self.workshop.stage(self.config, module, teacher)
        return module.to(self.device)

    @cached_property
    def _network(self) -> str:
        return identity(self.config.student.name, self.config.student.options, self.student)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write all that is needed to go on into folder/trial.pt: aside, fsynced, then renamed into place."""
        state = {
            "key": self.config.key,
            "data": self.loaded.fingerprint,
            "network": self._network,
            "step": self.step,
            "seconds": self.seconds,
            "teacher_seconds": self.teacher_seconds,
            "asked": self.asked,
            "losses": self._losses,
            "counted": self._counted,
            "student": self.student.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "extra": self.extra.state_dict() if self.extra is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "weights": self.weights.state(),
            "pace": asdict(self.pace),
        }
        path = Path(folder) / "trial.pt"
        with whole(path) as file:
            torch.save(state, file)
        return path

    def load(self, folder: str | os.PathLike[str], *, epochs: float | None = None) -> None:
        """Go on from what `save` wrote. epochs: the length it was to have, where this trial is the same but longer. Raises
        AutokdError where the file is damaged, or of another configuration, other images or another network."""
        path = Path(folder) / "trial.pt"
        try:
            if not intact_zip(path):
                raise ValueError("its checksums do not agree with its content")
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (MemoryError, torch.OutOfMemoryError):
            raise  # nothing is wrong with the file
        except Exception as error:
            if told := refused(error):
                raise AutokdError(f"the checkpoint cannot be read: {told}", where=str(path)) from error
            what = f"the checkpoint is damaged: {' '.join(str(error).split())[:160]}"
            raise AutokdError(what, where=str(path), fix="delete it: the trial starts over") from error
        config = self.config if epochs is None else replace(self.config, epochs=epochs)
        if not isinstance(state, dict) or state.get("key") != config.key:
            raise AutokdError("the checkpoint belongs to another configuration", where=str(path))
        if state.get("data", self.loaded.fingerprint) != self.loaded.fingerprint:
            raise AutokdError("the checkpoint was trained on other images, labels or class names", where=str(path))
        if state.get("network", self._network) != self._network:
            raise AutokdError("the code of the checkpoint's network has changed", where=str(path))
        self.step, self.seconds, self.teacher_seconds = state["step"], state["seconds"], state["teacher_seconds"]
        self.asked = self._asked_before = list(state.get("asked", [0, 0]))
        self._losses.copy_(state["losses"])
        self._counted = state["counted"]
        pace = Pace(**state["pace"])  # that of the machine it began on: another one would round in another way
        kept_to = self.workshop.order(self.config)
        pace = pace if kept_to is None else replace(pace, channels_last=kept_to)
        if pace != self.pace:
            self.pace = pace
            self.parallel = self.parallel if self.wrap else self._parallel()
        self.pace.prepare(self.student, self.device)
        if self.average is not None and self.config.recipe.ema is not None:  # its weights may lie elsewhere now
            self.average = Average(self.student, self.config.recipe.ema)
        self.student.load_state_dict(state["student"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.extra is not None:
            self.extra.load_state_dict(state["extra"])
        self.optimizer.load_state_dict(state["optimizer"])
        if "weights" in state:
            self.weights.load(state["weights"])


def train_in_parts(
    trial: Trial,
    unfinished: Path,
    parts: int,
    tell: Callable[[Report], object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Train a trial to its end in equal `parts`, from the checkpoint in `unfinished` where a training was cut off.

    on_progress: is told between the parts, too. After each part but the last the checkpoint is written; `forget` takes it away
    once the result is kept.
    """
    if (unfinished / "trial.pt").exists():
        try:
            trial.load(unfinished)
        except AutokdError as fault:  # nothing of it was taken yet
            warnings.warn(f"{fault.where}: {fault.what}; the training begins anew", stacklevel=2)
    trial.on_progress = on_progress
    report: Report | None = None
    for part in range(1, parts + 1):
        images = trial.total_images * part // parts
        if images <= trial.images and part < parts:
            continue
        report = trial.advance(images)
        if part < parts:
            trial.save(unfinished)
        if tell is not None:
            tell(report)
    assert report is not None
    return report


def forget(unfinished: Path) -> None:
    """Delete the checkpoint of `train_in_parts`."""
    if unfinished.exists():
        (unfinished / "trial.pt").unlink(missing_ok=True)
        unfinished.rmdir()


def run(
    config: TrialConfig,
    report: Callable[[Report], bool] | None = None,
    *,
    checkpoints: Sequence[int] = (),
    workshop: Workshop | None = None,
) -> tuple[Trial, Report]:
    """Train a trial to its end, telling `report` at each number of images in `checkpoints`; it returns whether to go on."""
    trial = (workshop or Workshop()).trial(config)
    told = [images for images in sorted(checkpoints) if images < trial.total_images]
    last: Report | None = None
    for images in [*told, trial.total_images]:
        last = trial.advance(images)
        if report is not None and not report(last):
            break
    assert last is not None
    return trial, last


def _also(config: TrialConfig) -> list[Method]:
    """The methods of the further terms. Raises AutokdError where one cannot stand beside the method."""
    made = [build_method(term.name, term.settings) for term in config.method.also]
    names = [config.method.name, *(term.name for term in config.method.also)]
    if made and config.method.name == "ce":
        raise AutokdError("ce has no teacher, so no terms go with it", fix=f"make {made[0].name} the method")
    for method in made:
        if method.alone:
            raise AutokdError(
                f"{method.name} cannot be a term beside {config.method.name}: it decides what the whole batch looks like",
                fix=f"make {method.name} the method, and {config.method.name} the term",
            )
    if len(set(names)) < len(names):
        raise AutokdError(f"a method stands twice among {', '.join(names)}", fix="keep one of them")
    return made


def _losses(config: TrialConfig, method: Method, also: Sequence[Method]) -> tuple[bool, list[tuple[float, Method]]]:
    """Whether the cross-entropy counts, and what else does, with its weight."""
    loss = config.loss
    task = loss.ce_weight > 0 and (loss.ce_on_plain or loss.ce_on_augmented)
    if not method.needs_teacher or not (loss.kd_on_plain or loss.kd_on_augmented):
        return task, []
    weighed = [(loss.kd_weight, method), *zip([term.weight for term in config.method.also], also, strict=True)]
    return task, [(weight, term) for weight, term in weighed if weight > 0]


def _seed(number: int, device: torch.device) -> None:
    """torch.manual_seed for the one device: that function notes a traceback at each call for every GPU not in use yet."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def _optimizer(
    student: nn.Module, extra: nn.Module | None, recipe: RecipeConfig, *, fused: bool
) -> torch.optim.Optimizer:
    parameters = [p for p in student.parameters() if p.requires_grad]
    if extra is not None:
        parameters += [p for p in extra.parameters() if p.requires_grad]
    if recipe.optimizer == "sgd":
        return SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov and recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=fused,
        )
    if recipe.optimizer == "adamw":
        return AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
    raise AutokdError(f"no optimiser {recipe.optimizer!r}", fix="sgd or adamw")


def _flags(views: Sequence[Part], device: torch.device) -> Tensor:
    return torch.cat([torch.full((len(part.rows),), augmented) for part, augmented, _ in views]).to(device)


def _placement(augmented: Tensor, on_plain: bool, on_augmented: bool) -> Tensor | None:
    """Which rows a loss reads; None for all. Where the batch has no row of the placed kind, it reads all of them."""
    if on_plain and on_augmented:
        return None
    chosen = augmented if on_augmented else ~augmented
    return chosen if bool(chosen.any()) else None


def _rows_of(known: dict[str, Any], names: Sequence[str], chosen: Tensor | None) -> dict[str, Any]:
    if chosen is None:
        return {name: known[name] for name in names}
    return {name: _pick(known[name], chosen) for name in names}


def _pick(value: Any, chosen: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[chosen]
    if hasattr(value, "take"):
        return value.take(chosen)
    return value
