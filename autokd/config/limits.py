"""What a student may cost at inference: the names of the costs, and a budget's limits on them.

Only the standard library is imported here: what reads a run folder knows budgets as plain dicts (`Budget.to_dict`), rows of
the result table and events of the ledger, and asks here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["COSTS", "Budget", "Deployment", "cost_of_row", "limits_in", "unusual"]

# params: learnable numbers. macs: multiply-accumulates of one image. file_size: bytes of the exported safetensors file.
# memory: bytes of one inference. latency_ms: of one batch, under the budget's conditions.
COSTS = ("params", "macs", "file_size", "memory", "latency_ms")


@dataclass(frozen=True)
class Deployment:
    """The conditions that a latency is measured under. threads: of the CPU, also where the network runs on a GPU."""

    batch: int = 1
    device: str = "cpu"  # cpu | cuda
    threads: int = 1
    runtime: str = "torch"  # torch | compiled
    dtype: str = "float32"  # float32 | float16 | bfloat16

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"batch {self.batch}, {self.device}, {threads}, {self.runtime}, {self.dtype}"


@dataclass(frozen=True)
class Budget:
    """Limits on the student's inference; None: no limit. In `of_teacher`, shares of what the teacher of a pair has.

    A limit on `latency_ms` is on the `statistic` (median or p90) of the time of one batch as `deployment` says.
    """

    name: str
    params: float | None = None
    macs: float | None = None
    file_size: float | None = None
    memory: float | None = None
    latency_ms: float | None = None
    of_teacher: dict[str, float] = field(default_factory=dict)
    statistic: str = "median"
    deployment: Deployment = Deployment()
    where: str = field(default="", compare=False)  # file:line

    def limits(self, teacher: Mapping[str, float] | None = None) -> dict[str, float]:
        """The limits in numbers by the name of the cost (`COSTS`), only those that are set.

        teacher: what the pair's teacher costs; without one a share limits nothing (train with cross-entropy alone under a
        share by naming the largest teacher here).
        """
        found = {name: limit for name in COSTS if (limit := getattr(self, name)) is not None}
        if teacher is not None:
            found |= {name: share * teacher[name] for name, share in self.of_teacher.items()}
        return found

    def admits(self, cost: Mapping[str, float], teacher: Mapping[str, float] | None = None) -> bool:
        """Whether a student of this cost may run under the budget; at the limit it may."""
        return all(cost[name] <= limit for name, limit in self.limits(teacher).items())

    @property
    def timed(self) -> bool:
        """Whether a latency has to be measured for it."""
        return self.latency_ms is not None or "latency_ms" in self.of_teacher

    @property
    def conditions(self) -> str:
        """'median, batch 1, cpu, 1 thread, torch, float32': what a latency is told with."""
        return f"{self.statistic}, {self.deployment}"

    def to_dict(self) -> dict[str, Any]:
        """Every limit by its name, as the ledger and everything that reads it has budgets."""
        told: dict[str, Any] = {"name": self.name, **{name: getattr(self, name) for name in COSTS}}
        told["of_teacher"] = dict(self.of_teacher)
        if self.timed:
            told |= {"statistic": self.statistic, "deployment": asdict(self.deployment), "conditions": self.conditions}
        return told

    def __str__(self) -> str:
        told = [f"{name} {limit:.10g}" for name, limit in self.limits().items()]
        told += [f"{name} {share:.4g} of the teacher's" for name, share in self.of_teacher.items()]
        return f"{self.name}: {', '.join(told) or 'no limit'}" + (f" ({self.conditions})" if self.timed else "")


def limits_in(budget: Mapping[str, Any]) -> dict[str, float]:
    """The limits in numbers of a budget as the ledger has it; shares of a teacher are not among them."""
    return {name: float(limit) for name in COSTS if isinstance(limit := budget.get(name), (int, float))}


def unusual(budget: Mapping[str, Any]) -> str:
    """'p90, 4 threads': those conditions of a budget's latency that are not what is taken where nothing is said."""
    one = Deployment(**(budget.get("deployment") or {}))
    words = {
        "statistic": budget.get("statistic", "median"),
        "batch": f"batch {one.batch}",
        "device": one.device,
        "threads": f"{one.threads} threads",
        "runtime": one.runtime,
        "dtype": one.dtype,
    }
    usual = {"statistic": "median", **asdict(Deployment())}
    given = {"statistic": words["statistic"], **asdict(one)}
    return ", ".join(word for name, word in words.items() if given[name] != usual[name])


def cost_of_row(row: Mapping[str, Any], name: str, budget: Mapping[str, Any] | None = None) -> float | None:
    """What a row's student costs; a latency under the conditions of the budget, where the row has several. None: not known."""
    value = row.get(name)
    conditions = (budget or {}).get("conditions")
    if name == "latency_ms" and conditions and row.get("latencies"):
        told = row["latencies"]
        value = (json.loads(told) if isinstance(told, str) else told).get(conditions)
    return float(value) if isinstance(value, (int, float)) else None
