"""What it costs that a fresh training (confirm, finalize, study) has views of its own, about which no teacher was asked before.

    python -m benchmarks.own_views [--full]      about five minutes on one core

Four trainings of each seed: on the search's views, whose answers are kept; on views of their own, once as the first that reads
them (the answers are computed and kept), once as a later one, and once with the teacher asked at every batch. Compared is the CPU
time of the steps, on one thread, so that other work on the machine counts little.
"""

from __future__ import annotations

import time
from pathlib import Path

from autokd.config.trial import TrialConfig
from benchmarks._setting import PAIRS, SMALL, Pair, alone, cifar100, one_core, scratch, spread, trial_config
from benchmarks.rows import Form, Row

__all__ = ["measure"]


def measure(form: Form) -> list[Row]:
    one_core()
    seeds, fraction = form.pick(1, 3, 5), form.pick(0.003, 0.01, 0.05)
    pairs = form.pick((SMALL,), (SMALL, PAIRS[0]), (SMALL, *PAIRS))
    return [row for pair in pairs for row in compare(pair, fraction=fraction, seeds=seeds)]


def compare(pair: Pair, *, fraction: float, seeds: int) -> list[Row]:
    ratios: dict[str, list[float]] = {"the first that reads them": [], "a later one": [], "the teacher asked at every batch": []}
    with scratch() as name:
        folder = Path(name)
        config = trial_config(pair, cifar100(folder, fraction), folder, epochs=4)  # two passes over both kinds of views
        _seconds(config, folder)  # the search: its answers are kept from now on
        for seed in range(1, seeds + 1):
            shared = _seconds(config.with_(seed=seed), folder)
            own = config.fresh(seed)
            for what, signals in zip(ratios, ("cached", "cached", "live"), strict=True):
                ratios[what].append(_seconds(own, folder, signals) / shared)
    told = f"{pair}, {fraction:.1%} of CIFAR-100, CPU time / that on the search's views"
    return [Row(f"training on own views, {what}, {told}", spread(values)) for what, values in ratios.items()]


def _seconds(config: TrialConfig, folder: Path, signals: str = "cached") -> float:
    """CPU seconds of one training."""
    from autokd.train.workshop import Workshop

    trial = Workshop(threads=1, cache_dir=folder / "signals", signals=signals).trial(config)
    trial.student.train()
    start = time.process_time()
    for _ in range(trial.total_steps):
        trial._train_step()
    return time.process_time() - start


if __name__ == "__main__":
    alone(measure, __doc__)
