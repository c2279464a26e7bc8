"""What autokd is measured against: distillation and search the way they are usually done.

    python -m benchmarks.baseline [--full]      the speed of the usual way alone

The training side works as research code for distillation does: a data set that hands out PIL images one at a time, transforms
one image after another in the worker processes of a DataLoader, a teacher in float32 asked about every batch, averages of
loss and accuracy read back after every step. The search side works as the documentation of Ray Tune suggests: a function
trainable that reports every epoch, OptunaSearch, ASHAScheduler, everything else as it comes. Settings are those of the side
it is compared with: batch, optimiser, schedule, policy, splits.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToTensor

from autokd.augment.build import build_policy
from autokd.config.trial import TrialConfig
from autokd.data.training import open_training
from autokd.models.build import build
from autokd.models.checkpoint import load_weights
from benchmarks._setting import PAIRS, SMALL, alone, cifar100, one_core, scratch, spread, trial_config
from benchmarks.augment import PIL_OPS, signed
from benchmarks.rows import Form, Row

__all__ = ["Usual", "measure", "tune"]


class TwoViews(Dataset):
    """Item n: a plain view of image n, an augmented one, and its label."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, config: TrialConfig, card: Any) -> None:
        self.pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))  # [N, H, W, C]
        self.labels = labels
        self.policy = build_policy(config.policy.name, config.policy.settings, config.policy.steps)
        moves = [RandomCrop(pixels.shape[-1], padding=card.padding)] if card.padding else []
        moves += [RandomHorizontalFlip()] if card.flip else []
        self.standard = Compose([*moves, ToTensor(), Normalize(card.mean, card.std)])

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, int]:
        array = self.pixels[number]
        grey = array.shape[-1] == 1
        image = Image.fromarray(array[:, :, 0] if grey else array)
        changed = image.convert("RGB") if grey else image
        for step in self.policy.steps:
            if random.random() < step.probability:
                changed = PIL_OPS[step.op](changed, signed(step))
        changed = changed.convert(image.mode) if grey else changed
        return self.standard(image), self.standard(changed), int(self.labels[number])


class Average:
    """A running mean, read back from the device at every step."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float, count: int) -> None:
        self.total, self.count = self.total + value * count, self.count + count

    @property
    def value(self) -> float:
        return self.total / max(1, self.count)


class Usual:
    """One training. `step(batch)` is one step on what the loader gives. On one core, one worker is the fastest number."""

    def __init__(self, config: TrialConfig, *, workers: int = 1) -> None:
        assert config.teacher is not None
        torch.manual_seed(config.seed)
        random.seed(config.seed)
        data = config.data
        made = open_training(
            data.name,
            root=data.root,
            options=data.options,
            validation=data.validation,
            split_seed=data.split_seed,
            fraction=data.fraction,
        )
        self.config, self.card, self.workers = config, made.card, workers
        self.images = config.recipe.batch // 2  # every image gives two views
        self.data = TwoViews(made.train.pixels, made.train.labels, config, made.card)
        self.held = torch.from_numpy(made.validation.pixels), torch.from_numpy(made.validation.labels)
        shape = {"classes": self.card.classes, "channels": self.card.channels, "size": self.card.height}
        self.student = build(config.student.name, options=config.student.options, **shape)
        self.teacher = build(config.teacher.model, options=config.teacher.options, **shape).eval()
        load_weights(self.teacher, config.teacher.checkpoint or "")
        recipe = config.recipe
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        steps = max(1, round(config.epochs * len(self.data) / config.recipe.batch))
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        self.temperature = float(config.method.settings.get("temperature", 4.0))

    def loader(self, images: int | None = None) -> DataLoader:
        """One pass in a random order, or `images` images of it with repeats."""
        order = RandomSampler(self.data, replacement=True, num_samples=images) if images else RandomSampler(self.data)
        return DataLoader(self.data, self.images, sampler=order, num_workers=self.workers, drop_last=True)

    def step(self, batch: tuple[Tensor, Tensor, Tensor], loss: Average, right: Average) -> None:
        plain, changed, labels = batch
        images, targets = torch.cat([plain, changed]), torch.cat([labels, labels])
        logits = self.student(images)
        with torch.no_grad():
            taught = self.teacher(images)
            weight = 1 + torch.cosine_similarity(taught[len(plain) :], taught[: len(plain)], dim=1)
            weight = torch.cat([torch.ones_like(weight), weight])
        heat = self.temperature
        apart = nn.functional.kl_div(
            nn.functional.log_softmax(logits / heat, dim=1), nn.functional.softmax(taught / heat, dim=1), reduction="none"
        )
        kd = heat**2 * (weight * apart.sum(dim=1)).mean()
        weights = self.config.loss
        total = weights.ce_weight * nn.functional.cross_entropy(logits, targets) + weights.kd_weight * kd
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self.schedule.step()
        loss.add(total.item(), len(images))
        right.add((logits.argmax(dim=1) == targets).float().mean().item(), len(images))

    def epoch(self) -> float:
        """One epoch in views: half a pass, as every image gives two. Returns the mean loss."""
        self.student.train()
        loss, right = Average(), Average()
        for batch in self.loader(len(self.data) // 2):
            self.step(batch, loss, right)
        return loss.value

    @torch.no_grad()
    def validate(self) -> float:
        """Top-1 on the validation split, a batch at a time."""
        self.student.eval()
        mean, std = (torch.tensor(told).view(1, -1, 1, 1) for told in (self.card.mean, self.card.std))
        right = 0
        for pixels, labels in zip(self.held[0].split(64), self.held[1].split(64)):
            right += int((self.student((pixels / 255 - mean) / std).argmax(dim=1) == labels).sum())
        return right / len(self.held[1])

    def rate(self, steps: int, *, warmup: int = 4) -> float:
        """Views a second over `steps` steps, with the loader at its steady pace. Its workers end with the measurement."""
        self.student.train()
        loss, right = Average(), Average()
        ahead = 2 * self.workers  # batches that workers hold ready: as many at the end as at the beginning
        batches = iter(self.loader((warmup + steps + ahead) * self.images))
        for _ in range(warmup):
            self.step(next(batches), loss, right)
        start = time.perf_counter()
        for _ in range(steps):
            self.step(next(batches), loss, right)
        seconds = time.perf_counter() - start
        del batches
        return steps * 2 * self.images / seconds


def train(config: TrialConfig, *, workers: int = 1) -> Iterator[tuple[int, float]]:
    """(epoch, validation top-1) after each epoch."""
    usual = Usual(config, workers=workers)
    for epoch in range(1, math.ceil(config.epochs) + 1):
        usual.epoch()
        yield epoch, usual.validate()


def tune(
    trainable: Callable[[dict[str, Any]], None],
    space: dict[str, Any],
    folder: Path,
    *,
    trials: int,
    epochs: int,
    seed: int = 0,
    grace: int = 1,
    eta: float = 3,
    cpus: float = 1,
    callbacks: list[Any] | None = None,
) -> Any:
    """A search as Ray Tune's guide has it. The trainable reports {"top1": …} every epoch. Returns the ResultGrid.

    Ray is started where it does not run. What it prints is cut down, what it does is not.
    """
    import ray
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    if not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, log_to_driver=False)
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, {"cpu": cpus}),
        param_space=space,
        tune_config=ray_tune.TuneConfig(
            metric="top1",
            mode="max",
            num_samples=trials,
            search_alg=OptunaSearch(seed=seed),
            scheduler=ASHAScheduler(max_t=epochs, grace_period=grace, reduction_factor=eta),
        ),
        run_config=ray_tune.RunConfig(storage_path=str(folder), name="usual", verbose=0, callbacks=callbacks or []),
    )
    return tuner.fit()


def measure(form: Form) -> list[Row]:
    with scratch() as folder:
        where = one_core()
        rows = []
        for pair in form.pick((SMALL,), PAIRS[:1], PAIRS):
            usual = Usual(trial_config(pair, cifar100(Path(folder), 0.02), Path(folder)))
            rates = [usual.rate(form.pick(1, 2, 6), warmup=form.pick(1, 1, 4)) for _ in range(form.pick(1, 1, 5))]
            rows.append(Row(f"images/s of the usual way, {pair}, CCD, {where}", spread(rates)))
        return rows


if __name__ == "__main__":
    alone(measure, __doc__)
