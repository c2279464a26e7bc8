"""Latency of an exported file for one image, and of a student under the conditions of its budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.cost.latency import Timing, repeat
from autokd.errors import AutokdError
from autokd.finalize.student import open_student

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from autokd.config.limits import Budget
    from autokd.config.trial import TrialConfig
    from autokd.search.timed import Asked

__all__ = ["latency", "under_budgets"]


def latency(path: Path, image: np.ndarray, *, threads: int = 1, seconds: float = 3.0) -> dict[str, Any]:
    """Milliseconds of a batch of one: {median_ms, p90_ms, median_interval, p90_interval, batch, repetitions, busy, doubt, …}.

    image: uint8 [1, C, H, W]. Timed like a student of a search (autokd.cost.latency.repeat) for `seconds` at most; intervals
    are 95 %. The grey levels are in memory and the logits are read back; decoding a file is not part of it.
    """
    student = open_student(path, threads=threads, own_code=True)
    with _torch_threads(threads, student.runtime):
        told = repeat(lambda: student.logits(image), cap=seconds, threads=threads)
    found: dict[str, Any] = {}
    for name in ("median", "p90"):
        one = told.of(name)
        found |= {f"{name}_ms": one.value, f"{name}_interval": [one.low, one.high]}
    return {
        **found,
        "batch": 1,
        "repetitions": told.repetitions,
        "busy": bool(told.doubt),
        "doubt": told.doubt,
        "threads": threads,
        "runtime": student.runtime,
        "device": "cpu",
    }


def under_budgets(
    folder: Path,
    names: Sequence[str],
    config: TrialConfig,
    image: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """For each budget with a latency limit: {conditions, ms, low, high, limit_ms, kept, doubt, again}.

    A trustworthy measurement of the search is used; otherwise the student is measured again (`again`). names: the budgets to look
    at. image: classes, channels and size of the images.
    """
    from autokd.search.timed import Asked

    found = {}
    for budget in _timed(folder):
        if budget.name not in names:
            continue
        student = Asked(config.student.name, config.student.name, config.student.options, **image, deployment=budget.deployment)
        try:
            timing, again = _timing(folder, student, say)
            one, limit = timing.of(budget.statistic), _limit(folder, budget, config, image, say)
        except AutokdError as fault:  # this machine cannot run the budget's deployment
            say(f"latency not measured for {budget.name}: {fault.what}")
            continue
        found[budget.name] = {
            "conditions": budget.conditions, "ms": one.value, "low": one.low, "high": one.high, "limit_ms": limit,
            "kept": None if timing.doubt or limit is None else one.value <= limit, "doubt": timing.doubt, "again": again,
        }  # fmt: skip
        if again:
            told = f"not trustworthy: {timing.doubt}" if timing.doubt else _against(one.value, limit)
            say(f"latency measured again for {budget.name}: {one} ({told})")
    return found


def _timed(folder: Path) -> list[Budget]:
    """The run's budgets with a latency limit, as of its last session."""
    from autokd.config.limits import Budget, Deployment
    from autokd.select.best import limits_of_run
    from autokd.track.ledger import FILE, all_events

    told = [one for one in limits_of_run(folder, all_events(folder / FILE)) if one.get("deployment")]
    return [
        Budget(
            one["name"],
            latency_ms=one.get("latency_ms"),
            of_teacher=one.get("of_teacher") or {},
            statistic=one.get("statistic", "median"),
            deployment=Deployment(**one["deployment"]),
        )
        for one in told
    ]


def _limit(
    folder: Path, budget: Budget, config: TrialConfig, image: dict[str, Any], say: Callable[[str], None]
) -> float | None:
    """In ms; None if it is a share of a teacher's latency that is not trustworthy."""
    from autokd.search.timed import Asked

    limits = [budget.latency_ms] if budget.latency_ms is not None else []
    share = budget.of_teacher.get("latency_ms")
    if share is not None and config.teacher is not None:
        teacher = config.teacher
        asked = Asked(teacher.name, teacher.model, teacher.options, **image, deployment=budget.deployment)
        timing, _ = _timing(folder, asked, say)
        if timing.doubt:
            return None
        limits.append(share * timing.of(budget.statistic).value)
    return min(limits, default=None)


def _timing(folder: Path, asked: Asked, say: Callable[[str], None]) -> tuple[Timing, bool]:
    """The run's own measurement if it is trustworthy, else a new one; and whether it is new."""
    from autokd.search.timed import of_ledger, time_all
    from autokd.track.ledger import FILE, all_events

    past = of_ledger(all_events(folder / FILE))
    known = past.timings.get(asked.key) if past is not None else None
    if known is not None and not known.doubt:
        return known, False
    return time_all([asked], tell=say, again=True).timings[asked.key], True


def _against(ms: float, limit: float | None) -> str:
    if limit is None:
        return "its limit is not known"
    return f"{'above' if ms > limit else 'within'} its limit of {limit:.3g} ms"


class _torch_threads:
    """Torch's number of threads for a while; nothing where torch does not compute."""

    def __init__(self, threads: int, runtime: str) -> None:
        self.threads, self.applies = threads, runtime.startswith("torch")

    def __enter__(self) -> None:
        if self.applies:
            import torch

            self.before = torch.get_num_threads()
            torch.set_num_threads(self.threads)

    def __exit__(self, *_: object) -> None:
        if self.applies:
            import torch

            torch.set_num_threads(self.before)
