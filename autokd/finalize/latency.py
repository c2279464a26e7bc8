"""How long one image takes, from a file on the disk, with the conditions it was measured under."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.cost.latency import repeat
from autokd.finalize.student import open_student

if TYPE_CHECKING:
    import numpy as np

__all__ = ["latency"]


def latency(path: Path, image: np.ndarray, *, threads: int = 1, seconds: float = 3.0) -> dict[str, Any]:
    """Milliseconds of a batch of one: {median_ms, p90_ms, median_interval, p90_interval, batch, repetitions, busy, threads, …}.

    image: uint8 [1, C, H, W]. Timed like a student of a search (autokd.cost.latency.repeat) for `seconds` at most; intervals
    are 95 %. The grey levels are in memory and the logits are read back; decoding a file is not part of it.
    """
    student = open_student(path, threads=threads, own_code=True)
    with _torch_threads(threads, student.runtime):
        told = repeat(lambda: student.logits(image), cap=seconds)
    found: dict[str, Any] = {}
    for name in ("median", "p90"):
        one = told.of(name)
        found |= {f"{name}_ms": one.value, f"{name}_interval": [one.low, one.high]}
    return {
        **found,
        "batch": 1,
        "repetitions": told.repetitions,
        "busy": told.busy,
        "threads": threads,
        "runtime": student.runtime,
        "device": "cpu",
    }


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
