"""The teacher's answers, computed once for each view and read by every trial on the machine.

On the first question about a view the whole view is answered, in batches of fixed rows, so that what a file holds does not
depend on who asked first, in which order, or with how many others. A trial pays for the views it reaches and for no others.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autokd.models.features import Features
from autokd.signals import sparse
from autokd.signals.filling import CHUNK
from autokd.signals.store import Held, Store
from autokd.signals.teacher import Teacher

__all__ = ["CachedSignals", "MANY_CLASSES", "TOP"]

MANY_CLASSES = 256  # above this number of classes the answers are kept sparsely
TOP = 64  # so many of them
_FORMAT = 1  # raise it when the same key would give other bytes
_OPEN = 4  # views mapped at a time: plain and augmented, on both sides of the end of a pass
_PIXELS = 256 * 32 * 32  # of a channel, in one forward pass on a CPU: more gains nothing and takes memory


class CachedSignals:
    """LiveSignals' interface, answered from files.

    data: the data set's fingerprint. rows: its number of images. keys: what a plain and what an augmented view depend on
    besides the data (`Views.key`). render(rows int64 [B], view, augmented) gives uint8 pixels [B, C, H, W].
    top: keep so many of the largest logits (0: all; None: all up to MANY_CLASSES classes, else TOP).
    model: what else the answers depend on that the weights do not tell (the network's name and options).
    Where nothing can be written it asks the teacher instead, after one warning.
    """

    def __init__(
        self,
        store: Store,
        teacher: Teacher,
        *,
        data: str,
        rows: int,
        keys: tuple[str, str],
        render: Callable[[Tensor, int, bool], Tensor],
        top: int | None = None,
        model: str = "",
    ) -> None:
        self.store, self.teacher, self.rows, self.render = store, teacher, rows, render
        self._parts = {"teacher": teacher.fingerprint, "model": model, "data": data}
        self._keys, self._top = keys, top
        self._classes: int | None = None
        self._views: dict[tuple[int, bool], _View] = {}
        self._failed = False

    @property
    def wants_pixels(self) -> bool:
        """Whether the pixels of a question are read: only where the cache has failed."""
        return self._failed

    def logits(self, rows: Tensor, view: int | Tensor, augmented: bool, pixels: Tensor | None = None) -> Tensor:
        """The teacher's logits on these views, float32 [B, C], as float16 keeps them. rows: int64 [B]; view: one, or one a row."""
        if isinstance(view, Tensor):
            numbers = view.unique().tolist() if view.dim() else [int(view)]
            if len(numbers) != 1:
                return self._straddling(rows, view, numbers, augmented, pixels)
            view = int(numbers[0])
        kept = self._view(view, augmented)
        if kept is None:
            return self.teacher.logits(self.render(rows, view, augmented) if pixels is None else pixels)
        return sparse.unpack(kept.take(rows), self.classes)

    def features(self, pixels: Tensor) -> Features:
        """Asked live: feature maps are too large to keep."""
        return self.teacher.features(pixels)

    def key(self, view: int, augmented: bool) -> dict[str, Any]:
        """All that the answers to one view depend on; the name of their file is its hash."""
        return {
            "format": _FORMAT,
            "kind": "logits",
            "dtype": "float16",
            **self._parts,
            "mean": list(self.teacher.mean),
            "std": list(self.teacher.std),
            "rows": self.rows,
            "chunk": CHUNK,
            "policy": self._keys[augmented],
            "augmented": bool(augmented),
            "view": int(view),
            "classes": self.classes,
            "top": self.top,
        }

    @property
    def classes(self) -> int:
        if self._classes is None:
            self._classes = self._answer(torch.zeros(1, dtype=torch.int64), 0, False).shape[1]
        return self._classes

    @property
    def top(self) -> int:
        """How many of the largest logits are kept; 0: all of them."""
        top = self._top if self._top is not None else TOP if self.classes > MANY_CLASSES else 0
        return top if top < self.classes - 1 else 0

    def warm(self, view: int, augmented: bool) -> bool:
        """Whether the answers to this view lie on the disk."""
        return self.store.path(self.key(view, augmented)).exists()

    def kl_errors(self) -> dict[float, float]:
        """Mean KL (nats) between the teacher's answers and what is kept of them, by temperature, over the mapped views."""
        found = [view.held.columns["kl"] for view in self._views.values() if "kl" in view.held.columns]
        if not found:
            return {}
        mean = np.concatenate(found).mean(0, dtype=np.float64)
        return dict(zip(sparse.KL_TEMPERATURES, mean.tolist(), strict=True))

    def _straddling(
        self, rows: Tensor, view: Tensor, numbers: list[int], augmented: bool, pixels: Tensor | None
    ) -> Tensor:
        answers = torch.empty(len(rows), self.classes, device=self.teacher.device)
        for number in numbers:
            inside = view == number
            part = pixels[inside.to(pixels.device)] if pixels is not None else None
            answers[inside.to(answers.device)] = self.logits(rows[inside.to(rows.device)], number, augmented, part)
        return answers

    def _view(self, number: int, augmented: bool) -> _View | None:
        found = self._views.pop((number, augmented), None)
        if found is None:
            if self._failed:
                return None
            columns = sparse.columns(self.classes, self.top)
            try:
                held = self.store.fill(
                    self.key(number, augmented),
                    self.rows,
                    columns,
                    lambda first, last: self._computed(first, last, number, augmented),
                )
            except OSError as error:
                self._fail(error)
                return None
            found = _View(held, self.teacher.device)
            while len(self._views) >= _OPEN:
                self._views.pop(next(iter(self._views)))
        self._views[number, augmented] = found
        return found

    def _fail(self, error: OSError) -> None:
        self._failed = True
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        warnings.warn(
            f"the teacher's answers are not kept in {self.store.folder} ({reason}): the teacher is asked at every batch",
            RuntimeWarning,
            stacklevel=4,
        )

    def _computed(self, first: int, last: int, view: int, augmented: bool) -> Mapping[str, np.ndarray]:
        return sparse.pack(self._answer(torch.arange(first, last), view, augmented), self.top)

    def _answer(self, rows: Tensor, view: int, augmented: bool) -> Tensor:
        """float32 [B, C], in forward passes whose size depends on the image's alone."""
        pixels = self.render(rows, view, augmented)
        if self.teacher.device.type != "cpu":
            return self.teacher.logits(pixels)
        size = max(8, _PIXELS // (pixels.shape[-1] * pixels.shape[-2]))
        return torch.cat([self.teacher.logits(part) for part in pixels.split(size)])


class _View:
    """A file's columns as tensors over the same pages (on a GPU: copied there, once a view)."""

    def __init__(self, held: Held, device: torch.device) -> None:
        self.held = held
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable")  # nobody writes
            columns = {name: torch.from_numpy(values) for name, values in held.columns.items() if name != "kl"}
        self.columns = {name: column.to(device) for name, column in columns.items()}

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: column[rows.to(column.device)] for name, column in self.columns.items()}
