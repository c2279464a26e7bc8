"""How long one image takes, from a file on the disk, with the conditions it was measured under."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.finalize.student import open_student

if TYPE_CHECKING:
    import numpy as np

__all__ = ["latency"]


def latency(
    path: Path, image: np.ndarray, *, threads: int = 1, warm_up: int = 10, runs: int = 100, seconds: float = 3.0
) -> dict[str, Any]:
    """Milliseconds of a batch of one: {median_ms, p90_ms, batch, runs, warm_up, threads, runtime, device}.

    image: uint8 [1, C, H, W]. Ends after `runs`, or after `seconds` with at least ten. The grey levels are in memory and the
    logits are read back; decoding a file is not part of it.
    """
    import numpy as np

    student = open_student(path, threads=threads, own_code=True)
    with _torch_threads(threads, student.runtime):
        for _ in range(warm_up):
            student.logits(image)
        took: list[float] = []
        end = time.perf_counter() + seconds
        while len(took) < 10 or (len(took) < runs and time.perf_counter() < end):
            start = time.perf_counter()
            student.logits(image)
            took.append(1000 * (time.perf_counter() - start))
    return {
        "median_ms": float(np.median(took)),
        "p90_ms": float(np.percentile(took, 90)),
        "batch": 1,
        "runs": len(took),
        "warm_up": warm_up,
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
