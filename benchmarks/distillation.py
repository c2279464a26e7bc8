"""Images a second of a distillation, autokd's against the usual way (benchmarks.baseline): warm signals, and the first pass.

    python -m benchmarks.distillation [--full]      one core; a minute or two, or about half an hour

CCD on JDA views, 64 images a step, each plain and augmented. Both sides do the same steps on one core: forward and backward
of the student, SGD, views, and the teacher's answers, which the usual way asks for at every step and autokd on the first pass
(cold) only. A measurement of ours is one pass over as many images as the usual way's steps read, so that the cold pass pays
for all of the file it fills. The sides take turns, and the ratio is the median over rounds of neighbouring measurements.
Weights are as initialised: a speed does not depend on them.

Warm and cold have the pace that autokd measures and chooses here for a training of full length (240 epochs of 45,000 images),
compiled before the clock starts where that is part of it; what was chosen, and what the measuring took, is told. A training of
fewer than some hundred steps measures nothing: its row, without a target, has the pace of no measurement.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._setting import (
    BATCH,
    PAIRS,
    SMALL,
    Pair,
    alone,
    at_pace,
    cifar100,
    one_core,
    scratch,
    spread,
    timed_steps,
    trial_config,
)
from benchmarks.rows import Form, Row

if TYPE_CHECKING:
    from autokd.config.trial import TrialConfig
    from autokd.train.pace import Pace

__all__ = ["measure"]

WARM = {"wrn_16_2": 2.8, "resnet8x4": 4.5}
COLD = 1.2
TRAINING = 45_000  # images of CIFAR-100 that are not held out
EPOCHS = 240


def measure(form: Form) -> list[Row]:
    pairs = form.pick((SMALL,), PAIRS, PAIRS)
    return compare(pairs, rounds=form.pick(1, 3, 7), steps=form.pick(1, 3, 12), paced=form is not Form.SHORTEST)


def compare(pairs: Sequence[Pair], *, rounds: int, steps: int, paced: bool = True) -> list[Row]:
    """paced: whether the pace of a full training is measured first, which may take minutes."""
    where = one_core()
    rows: list[Row] = []
    with scratch() as folder:
        for pair in pairs:
            rows += _compare(pair, Path(folder), rounds, steps, where, paced)
    return rows


def _compare(pair: Pair, folder: Path, rounds: int, steps: int, where: str, paced: bool) -> list[Row]:
    from autokd.train.workshop import Workshop
    from benchmarks.baseline import Usual

    config = trial_config(pair, cifar100(folder, steps * BATCH / 2 / TRAINING), folder, epochs=2)  # views: one pass of images
    usual = Usual(config)
    pace, told = _full_pace(config, folder) if paced else _usual_pace()
    print(f"   {told}", flush=True)
    elsewhere = Workshop(threads=1, signals="live")
    timed_steps(at_pace(elsewhere.trial(config), pace), 1)  # what is compiled is compiled now
    baseline, cold, warm, short = [], [], [], []
    for turn in range(rounds):
        baseline.append(usual.rate(steps, warmup=2))
        bench = Workshop(threads=1, cache_dir=folder / f"signals-{pair.student}-{turn}", signals="cached")
        for kind, how in ((cold, pace), (warm, pace), (short, None)):
            trial = bench.trial(config.with_(seed=turn))  # data and teacher are loaded now, and stay
            if how is not None:
                at_pace(trial, how)
            kind.append(trial.total_images / timed_steps(trial, trial.total_steps))
        told = f"cold {cold[-1]:.0f}, warm {warm[-1]:.0f}, warm without a measured pace {short[-1]:.0f}"
        print(f"   {pair}, round {turn + 1}: usual {baseline[-1]:.0f}, {told}", flush=True)
    ratios = {
        "warm": (warm, WARM.get(pair.student, 1.0)),
        "cold": (cold, COLD),
        "warm, a training too short to measure its pace": (short, None),
    }
    rows = []
    for kind, (ours, target) in ratios.items():
        by_round = [one / other for one, other in zip(ours, baseline, strict=True)]
        note = f" (per round {min(by_round):.2f} to {max(by_round):.2f}; {statistics.median(ours):.0f} images/s"
        note += f" / {spread(baseline)})"
        what = f"images/s of distillation, {kind} / usual way, {pair}, CCD, batch 64 + 64, {where}"
        middle = statistics.median(by_round)
        rows.append(Row(what, f"{middle:.2f}{note}") if target is None else Row.at_least(what, middle, target, note))
    return rows


def _usual_pace() -> tuple[Pace, str]:
    import torch

    from autokd.train.pace import default_pace

    return default_pace(torch.device("cpu")), "the pace of a full training was not measured"


def _full_pace(config: TrialConfig, folder: Path) -> tuple[Pace, str]:
    """How a training of full length would be done here, and a sentence on that."""
    from autokd.train.workshop import Workshop

    bench = Workshop(threads=1, cache_dir=folder / "paces", signals="live")
    start = time.perf_counter()
    pace = bench.pace(config, EPOCHS * TRAINING // BATCH)
    return pace, f"as a full training: {'; '.join(bench.decisions)}; to measure it took {time.perf_counter() - start:.0f} s"


if __name__ == "__main__":
    alone(measure, __doc__)
