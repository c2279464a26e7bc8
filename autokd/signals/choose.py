"""Whether the teacher's answers are worth keeping on this machine: both ways are timed, and the choice is told in a sentence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from autokd.signals import sparse
from autokd.signals.cache import CachedSignals
from autokd.signals.filling import row_bytes

__all__ = ["Choice", "choose", "told_of_sparse"]

_BATCH = 64
_WORTH = 2.0  # asking must cost at least so many times what reading does
_ROOM = 4  # views that must fit into max_gb: plain and augmented, on both sides of the end of a pass


@dataclass(frozen=True)
class Choice:
    """`cached`, and why: a sentence for a person. ask_us, read_us: microseconds for a batch of 64 (0 where not timed)."""

    cached: bool
    sentence: str
    ask_us: float = 0.0
    read_us: float = 0.0


def choose(signals: CachedSignals) -> Choice:
    """Time the teacher on a batch of rendered views, and the reading of as many kept answers."""
    store, name = signals.store, signals.teacher.name
    if find_spec("pyarrow") is None:
        return Choice(False, f"signals of {name}: live, as pyarrow is not installed")
    if not _writable(store.folder):
        return Choice(False, f"signals of {name}: live, as {store.folder} cannot be written to")
    size = signals.rows * row_bytes(signals.columns)
    if size * _ROOM > store.max_bytes:
        told = f"a view takes {size / 1e9:.3g} GB and max_gb is {store.max_bytes / 1e9:.3g}"
        return Choice(False, f"signals of {name}: live, as {told}")
    rows = torch.arange(signals.rows)[:_BATCH].repeat(_BATCH)[:_BATCH]
    pixels = signals.render(rows, 0, False)
    kept = {
        key: torch.from_numpy(values)
        for key, values in signals.pack(signals.ask(pixels)).items()
    }
    ask = _fastest(lambda: signals.ask(pixels), signals.teacher.device, 2)
    read = _fastest(lambda: signals.unpack({k: v[rows % _BATCH] for k, v in kept.items()}), None, 20)
    cached = ask >= _WORTH * read
    told = (
        f"reading {_BATCH} answers takes {read * 1e3:.3g} ms, asking for them {ask * 1e3:.3g} ms ({ask / read:,.0f} x)"
    )
    return Choice(cached, f"signals of {name}: {'cached' if cached else 'live'}, as {told}", ask * 1e6, read * 1e6)


def told_of_sparse(signals: CachedSignals) -> str:
    """What keeping a few of many classes costs, measured on a batch of views: a sentence, or "" where all are kept."""
    if not signals.top:
        return ""
    rows = torch.arange(min(signals.rows, _BATCH))
    errors = sparse.pack(signals.teacher.logits(signals.render(rows, 0, True)), signals.top)["kl"].mean(0)
    told = ", ".join(f"{error:.2g} nats at temperature {t:g}" for t, error in zip(sparse.KL_TEMPERATURES, errors))
    kept = f"the {signals.top} largest of {signals.classes} answers are kept and the rest as one mass"
    return f"signals of {signals.teacher.name}: {kept}, at a KL of {told}"


def _fastest(call: Callable[[], Tensor], device: torch.device | None, times: int) -> float:
    """Seconds of the fastest of a few calls: what disturbs a measurement only ever makes it longer."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
