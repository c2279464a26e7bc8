"""How close a training with warm signals comes to its floor: the student alone on resident tensors with random targets.

    python -m benchmarks.epoch [--full]      one core; about a minute, or ten

The floor is a loop of forward, cross-entropy, backward and SGD over normalised float32 images that lie ready in memory: no
views, no teacher, no checks. Ours is the training step of a trial (CCD, JDA views, 64 + 64) with the teacher's answers in the
cache. Steps of the two take turns; a step is a batch of 128 on both sides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._setting import BATCH, Pair, alone, cifar100, one_core, scratch, timed_steps, trial_config
from benchmarks.rows import Form, Row

__all__ = ["measure"]

STUDENTS = ("wrn_16_2", "resnet8x4", "resnet20")
TARGET = 1.10
VIEWS = 45_000  # of an epoch of CIFAR-100 without its validation split
AHEAD = 8  # steps a round, as many as are rendered at a time


def measure(form: Form) -> list[Row]:
    return compare(form.pick(("resnet8",), STUDENTS, STUDENTS), rounds=form.pick(1, 2, 10))


def compare(students: Sequence[str], *, rounds: int, teacher: str = "resnet8") -> list[Row]:
    """The teacher's size does not matter here: its answers are in the cache before the clock starts."""
    where = one_core()
    with scratch() as folder:
        return [_compare(Pair(teacher, student), Path(folder), rounds, where) for student in students]


def _compare(pair: Pair, folder: Path, rounds: int, where: str) -> Row:
    from autokd.train.workshop import Workshop

    config = trial_config(pair, cifar100(folder, max(0.01, AHEAD * (rounds + 1) / 700)), folder)
    bench = Workshop(threads=1, cache_dir=folder / "signals", signals="cached")
    _fill(bench.trial(config), AHEAD * (rounds + 1))
    trial, floor = bench.trial(config), _floor(pair.student)
    assert AHEAD % trial.ahead.block == 0  # a round holds as much rendering as its steps need
    timed_steps(trial, AHEAD)
    floor(), floor()
    alone_, ours = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(AHEAD):
            floor()
        alone_.append((time.perf_counter() - start) / AHEAD)
        ours.append(timed_steps(trial, AHEAD) / AHEAD)
    ratios = [one / other for one, other in zip(ours, alone_, strict=True)]
    steps = VIEWS / BATCH
    note = f" (rounds {min(ratios):.2f} to {max(ratios):.2f}; {steps * statistics.median(ours):.0f} s"
    note += f" / {steps * statistics.median(alone_):.0f} s for {VIEWS:,} views)"
    what = f"seconds an epoch with warm signals / the student alone, {pair.student}, {where}"
    return Row.at_most(what, statistics.median(ours) / statistics.median(alone_), TARGET, note)


def _fill(trial: object, steps: int) -> None:
    """Ask the teacher what the next `steps` steps will ask, without training."""
    import torch

    with torch.no_grad():
        for step in range(steps):
            trial.loss(step)  # type: ignore[attr-defined]


def _floor(student: str) -> Callable[[], None]:
    import torch
    from torch import nn

    from autokd.models.build import build
    from autokd.train.pace import Pace

    model = Pace().prepare(build(student, classes=100, seed=0), torch.device("cpu")).train()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, BATCH, 3, 32, 32, generator=generator)
    resident = [one.contiguous(memory_format=torch.channels_last) for one in images]
    targets = torch.randint(0, 100, (4, BATCH), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    turn = 0

    def step() -> None:
        nonlocal turn
        loss = nn.functional.cross_entropy(model(resident[turn % 4]), targets[turn % 4])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        turn += 1

    return step


if __name__ == "__main__":
    alone(measure, __doc__)
