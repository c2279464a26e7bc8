"""Trials one after another in this process: for tests, and for measuring the search without an engine around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from autokd.search.brain import STOP, Brain
from autokd.search.work import Job, bench_of, forget_benches, full_disk, order_of, prepare_teacher

__all__ = ["InlineEngine"]


class InlineEngine:
    """bench: arguments of the workshop, as `bench_of` takes them."""

    def __init__(self, bench: dict[str, Any] | None = None) -> None:
        self.bench = bench or {}
        self.cancelled = False
        self.gpus = 0.0

    def open(self, resources: Any) -> float:
        """Nothing to start; what an earlier search of this process loaded is loaded anew. Returns the GPUs of one trial."""
        forget_benches()
        return 0.0

    def settle(self, space: Any, probes: Callable[[], Sequence[Any]], phase: Callable[[str], None]) -> list[str]:
        """One trial at a time has the machine to itself."""
        return []

    def teachers(
        self,
        data: dict[str, Any],
        teachers: dict[str, dict[str, Any]],
        folder: str,
        on_progress: Callable[[str, dict[str, Any]], None] = lambda name, progress: None,
    ) -> dict[str, dict[str, Any]]:
        """Train or load every teacher, and measure it; by name. on_progress: hears a teacher's name and how far it is."""
        return {
            name: prepare_teacher(self.bench, data, teacher, folder, partial(on_progress, name))
            for name, teacher in teachers.items()
        }

    def run(self, brain: Brain, run: str | os.PathLike[str], tick: Callable[[], None] = lambda: None) -> None:
        """Until the brain proposes nothing more."""
        while not self.cancelled:
            proposal = brain.propose()
            if proposal is None:
                return
            job = Job(order_of(proposal, run, self.bench), bench_of(self.bench))
            while not self.cancelled and not brain.over:
                told = job.step()
                tick()
                if "full" in told:
                    raise full_disk(told, run)
                if "memory" in told:
                    brain.out_of_memory(proposal.trial, told["failed"], told["memory"])
                    break
                if "failed" in told:
                    brain.fail(proposal.trial, told["failed"], machine=told["machine"])
                    break
                if brain.report(proposal.trial, told) == STOP:
                    break
            job.close()
            brain.release(proposal.trial)

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        pass
