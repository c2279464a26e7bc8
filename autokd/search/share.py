"""How many trials share a machine, where the space leaves that open: measured once for a space and machine, and kept.

On a CPU, as many one-thread trainings as there are cores run side by side, then half as many with two threads each: what
trains more steps a second is taken. On a GPU, a training of each method at the largest settings tells the memory that one trial
needs. Whoever calls it brings the processes (`Probe` runs in them): this file knows no Ray.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError
from autokd.files import cache_root, write_text
from autokd.machine import cpus

if TYPE_CHECKING:
    from autokd.config.trial import TeacherConfig, TrialConfig
    from autokd.search.feasible import Feasible
    from autokd.train.trial import Trial

__all__ = ["LONG", "Probe", "best_threads", "gpu_share", "images_of", "probes", "rate", "recall", "remember",
           "share_of"]  # fmt: skip

LONG = 2_000_000  # images of a search that is worth the some 15 s of measuring its threads
MOST = 8  # trials on one GPU: more leave each too little of its arithmetic
_CLEARLY = 1.07  # two threads have to train so many times as many steps
_CONTEXT = 600 * 2**20  # bytes a process takes of a GPU before its first tensor
_SAFE = 0.9  # of a GPU's memory is given out


class Probe:
    """One trial in a process of its own, trained to be measured. bench: arguments of the workshop."""

    def __init__(self, bench: dict[str, Any], config: dict[str, Any]) -> None:
        from autokd.config.trial import TrialConfig
        from autokd.train.workshop import Workshop

        self.bench = Workshop(**{**bench, "signals": "live", "cache_dir": None})
        self.trial = self.bench.trial(TrialConfig.from_dict(config))

    def ready(self) -> bool:
        """After the first step, which is slower than the others."""
        self.trial.advance(self.trial.batch)
        return True

    def rate(self, seconds: float) -> float:
        """Training steps a second, over about so many seconds."""
        each, _ = rate(self.trial, seconds)
        return 1 / each

    def memory(self) -> tuple[int, int]:
        """Bytes of the GPU that a few steps and a scoring took at the most, and all it has."""
        import torch

        total = torch.cuda.get_device_properties(self.trial.device).total_memory
        try:
            self.trial.advance(3 * self.trial.batch)
        except torch.OutOfMemoryError:
            return total, total
        return torch.cuda.max_memory_reserved(self.trial.device), total


def rate(trial: Trial, seconds: float, least: int = 2) -> tuple[float, int]:
    """Seconds of a training step, over about so many seconds and at least `least` steps, after one that is not counted; and the
    number of steps."""
    import torch

    trial.student.train()
    start, steps = 0.0, -1
    while steps < least or time.perf_counter() - start < seconds:
        trial.loss(steps + 1).backward()
        trial.optimizer.step()
        trial.optimizer.zero_grad(set_to_none=True)
        steps += 1
        if steps == 0:
            if trial.device.type == "cuda":
                torch.cuda.synchronize(trial.device)
            start = time.perf_counter()
    if trial.device.type == "cuda":
        torch.cuda.synchronize(trial.device)
    return (time.perf_counter() - start) / steps, steps


class _Largest:
    """Draws what takes most: the largest number, or what stands first."""

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        if "float32" in options:  # of the precisions
            return "float32"
        numbers = [one for one in options if isinstance(one, int | float) and not isinstance(one, bool)]
        return max(numbers) if len(numbers) == len(options) else options[0]

    def uniform(self, path: str, low: float, high: float) -> float:
        return high

    def log(self, path: str, low: float, high: float) -> float:
        return high

    def integer(self, path: str, low: int, high: int, log: bool = False) -> int:
        return high


class _LargestOf(_Largest):
    def __init__(self, method: str) -> None:
        self.method = method

    def choose(self, path: str, options: Sequence[Any]) -> Any:
        return self.method if path == "method" else super().choose(path, options)


def probes(space: Any, feasible: Feasible, teachers: Mapping[str, TeacherConfig]) -> list[TrialConfig]:
    """For each method the trial that takes most: the costliest of the pairs it can have, everything else at its largest."""
    from autokd.config.tree import needs_teacher

    pairs = sorted({pair for group in feasible.pairs.values() for pair in group}, key=lambda pair: feasible.costs[pair[1]].macs)
    made = []
    for method in space.methods:
        fit = [pair for pair in pairs if (pair[0] is not None) == needs_teacher(method)]
        if fit:
            config = space.sample(_LargestOf(method), fit[-1:], 0)
            made.append(replace(config, teacher=teachers[config.teacher.name]) if config.teacher else config)
    return made


def images_of(space: Any) -> float:
    """Views the whole search trains on, were no trial stopped; infinite where only time limits it, 0 where nothing is known."""
    from autokd.data.training import describe

    data, trials = space.data, space.search.trials
    images = describe(data.name, root=data.root, options=data.options).train_images
    if images is None:
        return 0.0
    return float("inf") if trials is None else trials * space.search.epochs * images * data.fraction


def best_threads(rates: Mapping[int, float]) -> tuple[int, str]:
    """Threads of a trial, and the sentence for a person. rates: threads each -> steps a second of all cores together."""
    best = min(rates)
    for threads in sorted(rates):
        if rates[threads] > _CLEARLY * rates[best]:
            best = threads
    told = ", ".join(f"{rates[threads]:.3g} with {threads}" for threads in sorted(rates))
    word = "thread" if best == 1 else "threads"
    return best, f"a trial gets {best} {word}: measured, all cores together train {told} (steps a second)"


def gpu_share(peak: int, total: int, *, cores: float, gpus: float) -> tuple[float, str]:
    """The share of a GPU that one trial gets, and the sentence. peak: bytes that the largest trial takes; cores: in all."""
    fits = max(1, int(_SAFE * total / (peak + _CONTEXT)))
    cored = max(1, int(cores / max(1.0, gpus)))  # each trial has a core of its own
    count = min(MOST, fits, cored)
    who = "a trial has a GPU to itself" if count == 1 else f"{count} trials share a GPU"
    needs = f"the largest was measured to take {(peak + _CONTEXT) / 1e9:.2g} GB of {total / 1e9:.3g}"
    return 1 / count, f"{who}: {needs}, and there are {cored} cores a GPU"


def share_of(resources: Any, there: float) -> tuple[float, float, int]:
    """CPUs of one worker, GPUs of one trial, and the trial's workers, from a `resources` section and the GPUs there are.

    Left open, a trial gets a quarter of a GPU, or one for each worker; more than one GPU means a worker on each. Raises
    AutokdError where workers would share a GPU, which the library that joins them refuses.
    """
    workers, gpus = int(resources.workers), resources.gpus
    if gpus is None:
        gpus = 0.0 if not there else 0.25 if workers == 1 else float(workers)
    if gpus > 1 and gpus == int(gpus) and workers == 1:
        workers = int(gpus)
    if (gpus > 1 and gpus % 1 != 0) or (workers > 1 and gpus not in (0, workers)):
        raise AutokdError(
            f"a trial of {workers} worker{'s' * (workers > 1)} cannot use {gpus:g} GPUs: each worker needs one of its own",
            fix=f"resources.gpus: {max(1, workers)}, or leave resources.gpus out",
        )
    return float(resources.cpus or 1.0), float(gpus), workers


def recall(name: str, configs: Sequence[TrialConfig]) -> dict[str, Any] | None:
    """What was measured before of these trials on this machine."""
    try:
        return json.loads(_note(name, configs).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remember(name: str, configs: Sequence[TrialConfig], facts: dict[str, Any]) -> None:
    """Keep what was measured; where nothing can be written it is measured again."""
    try:
        write_text(_note(name, configs), json.dumps(facts))
    except OSError:
        pass


def _note(name: str, configs: Sequence[TrialConfig]) -> Path:
    machine = [platform.node(), platform.processor() or platform.machine(), cpus(), metadata.version("torch")]
    told = json.dumps([name, machine, sorted(config.key for config in configs)])
    return cache_root() / "signals" / "pace" / f"share-{blake2b(told.encode(), digest_size=8).hexdigest()}.json"
