"""The teacher's answers, computed once for each view and read by every trial on the machine.

On the first question about a view the whole view is answered, in batches of fixed rows, so that what a file holds does not
depend on who asked first, in which order, or with how many others. A trial pays for the views it reaches and for no others.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autokd.errors import AutokdError
from autokd.models.features import Features
from autokd.signals import sparse
from autokd.signals.filling import CHUNK, Columns
from autokd.signals.store import Held, Store
from autokd.signals.tally import Tally
from autokd.signals.teacher import Teacher

__all__ = ["CachedSignals", "MANY_CLASSES", "TOP"]

MANY_CLASSES = 256  # above this number of classes the answers are kept sparsely
TOP = 64  # so many of them
_FORMAT = 2  # raise it when the same key would give other bytes
_OPEN = 4  # views mapped at a time: plain and augmented, on both sides of the end of a pass
_BRIEF = 1 / 32  # of a view: who reads less of it asks, and does not have all of it computed
_CHECKED = 4  # rows of the first found file that the teacher is asked again
_PIXELS = (
    16 * 32 * 32
)  # of a channel, in one forward pass on a CPU: measured, larger ones leave its cache and are slower


class CachedSignals:
    """LiveSignals' interface, answered from files.

    data: the data set's fingerprint. rows: its number of images. keys: what a plain and what an augmented view depend on
    besides the data (`Views.key`). render(rows int64 [B], view, augmented) gives uint8 pixels [B, C, H, W].
    top: keep so many of the largest logits (0: all; None: all up to MANY_CLASSES classes, else TOP).
    pooled: keep the vectors that the classifier reads beside them, in files of their own.
    Where nothing can be written it asks the teacher instead, after one warning. `tally` counts for whoever asks now.
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
        pooled: bool = False,
    ) -> None:
        self.store, self.teacher, self.rows, self.render = store, teacher, rows, render
        self._parts = {"teacher": teacher.fingerprint, "data": data}
        if teacher.precision != "auto":
            self._parts["precision"] = teacher.precision
        self._keys, self._top, self.pooled = keys, top, pooled
        self._views: dict[tuple[int, bool], _View] = {}
        self._failed = False
        self._trusted: set[bool] = set()
        self.tally = Tally()

    @property
    def wants_pixels(self) -> bool:
        """Whether the pixels of a question are read: only where the cache has failed."""
        return self._failed

    def logits(
        self,
        rows: Tensor,
        view: int | Tensor,
        augmented: bool,
        pixels: Tensor | None = None,
        *,
        until: float | None = None,
    ) -> Tensor:
        """The teacher's logits on these views, float32 [B, C], as float16 keeps them.

        rows: int64 [B]. view: one number, or one a row. until: where in the sequence of views the asking trial will end
        (2.01: it reads a hundredth of view 2); what it hardly reads is asked live.
        """
        return self._told(rows, view, augmented, pixels, until)[:, : self.classes]

    def answers(
        self,
        rows: Tensor,
        view: int | Tensor,
        augmented: bool,
        pixels: Tensor | None = None,
        *,
        until: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same, and the pooled vectors [B, D]; only where `pooled` was asked for."""
        assert self.pooled
        logits, pooled = self._told(rows, view, augmented, pixels, until).tensor_split([self.classes], dim=1)
        return logits, pooled

    def _told(self, rows: Tensor, view: int | Tensor, augmented: bool, pixels: Tensor | None, until: float | None) -> Tensor:
        """Logits, and behind them what else is kept: float32 [B, C] or [B, C + D]."""
        if isinstance(view, Tensor):
            numbers = view.unique().tolist() if view.dim() else [int(view)]
            if len(numbers) != 1:
                return self._straddling(rows, view, numbers, augmented, pixels, until)
            view = int(numbers[0])
        brief = until is not None and until - view < _BRIEF
        kept = None if brief else self._view(view, augmented)
        if kept is not None:
            self.tally.read(len(rows), view, augmented)
            return self.unpack(kept.take(rows))
        self.tally.asked(len(rows))
        answers = self.ask(self.render(rows, view, augmented) if pixels is None else pixels)
        return answers if self._failed else self._rounded(answers)

    def features(self, pixels: Tensor) -> Features:
        """Asked live: feature maps are too large to keep."""
        return self.teacher.features(pixels)

    def key(self, view: int, augmented: bool) -> dict[str, Any]:
        """All that the answers to one view depend on; the name of their file is its hash."""
        return {
            "format": _FORMAT,
            "kind": "logits and pooled" if self.pooled else "logits",
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
    def columns(self) -> Columns:
        """What a file keeps of each row."""
        kept = sparse.columns(self.classes, self.top)
        return {**kept, "pooled": ("float16", self._widths[1])} if self.pooled else kept

    @property
    def classes(self) -> int:
        return self._widths[0]

    @cached_property
    def _widths(self) -> tuple[int, int]:
        """Numbers of classes and of pooled channels (0 where they are not kept)."""
        pixels = self.render(torch.zeros(1, dtype=torch.int64), 0, False)
        if not self.pooled:
            return self.teacher.logits(pixels).shape[1], 0
        logits, pooled = self.teacher.answers(pixels)
        return logits.shape[1], pooled.shape[1]

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
        self,
        rows: Tensor,
        view: Tensor,
        numbers: list[int],
        augmented: bool,
        pixels: Tensor | None,
        until: float | None,
    ) -> Tensor:
        answers = torch.empty(len(rows), sum(self._widths), device=self.teacher.device)
        for number in numbers:
            inside = view == number
            part = pixels[inside.to(pixels.device)] if pixels is not None else None
            chosen = rows[inside.to(rows.device)]
            answers[inside.to(answers.device)] = self._told(chosen, number, augmented, part, until)
        return answers

    def _rounded(self, answers: Tensor) -> Tensor:
        """Live answers as the file would have kept them."""
        kept = {name: torch.from_numpy(values) for name, values in self.pack(answers).items()}
        return self.unpack(kept).to(answers.device)

    def pack(self, answers: Tensor) -> dict[str, np.ndarray]:
        """Answers [B, C] or [B, C + D] as the columns of a file."""
        kept = sparse.pack(answers[:, : self.classes], self.top)
        return {**kept, "pooled": sparse.half(answers[:, self.classes :].cpu()).numpy()} if self.pooled else kept

    def unpack(self, kept: Mapping[str, Tensor]) -> Tensor:
        """What `pack` was given, as far as it was kept: float32."""
        logits = sparse.unpack(kept, self.classes)
        return torch.cat([logits, kept["pooled"].float()], dim=1) if self.pooled else logits

    def _view(self, number: int, augmented: bool) -> _View | None:
        found = self._views.pop((number, augmented), None)
        if found is None:
            if self._failed:
                return None
            try:
                held = self._held(number, augmented)
            except OSError as error:
                self._fail(error)
                return None
            except ImportError as error:
                fix = "pip install pyarrow, or set signals to live"
                raise AutokdError(
                    "the teacher's answers are kept in Arrow files, and pyarrow is missing", fix=fix
                ) from error
            found = _View(held, self.teacher.device)
            while len(self._views) >= _OPEN:
                self._views.pop(next(iter(self._views)))
        self._views[number, augmented] = found
        return found

    def _held(self, number: int, augmented: bool) -> Held:
        key, columns = self.key(number, augmented), self.columns
        held = self.store.open(key, self.rows, columns)
        if held is not None and augmented not in self._trusted:
            if not self._agrees(held, number, augmented):
                warnings.warn(
                    f"{held.path}: the teacher does not answer so (its code has changed?); it is computed again",
                    RuntimeWarning,
                    stacklevel=5,
                )
                held.path.unlink(missing_ok=True)
                held = None
            else:
                self._trusted.add(augmented)
        if held is None:
            compute = partial(self._computed, view=number, augmented=augmented)
            held = self.store.fill(key, self.rows, columns, compute)
        else:
            self.teacher.rest()  # whoever finds one view kept finds most of them
        return held

    def _agrees(self, held: Held, view: int, augmented: bool) -> bool:
        """A few rows of a file that was found, against the teacher of this process: a key cannot know of all that code reads."""
        rows = torch.linspace(0, self.rows - 1, _CHECKED).long()
        found = {name: torch.from_numpy(values[rows.numpy()]) for name, values in held.columns.items()}
        now, pooled = self._answer(rows, view, augmented).cpu().tensor_split([self.classes], dim=1)
        if "classes" in found:
            now = now.gather(1, found["classes"].long())
        pairs = [(found["logits"], now), *([(found["pooled"], pooled)] if self.pooled else [])]
        return all(torch.allclose(kept.float(), one, rtol=0.02, atol=0.05, equal_nan=True) for kept, one in pairs)

    def _fail(self, error: OSError) -> None:
        self._failed = True
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        warnings.warn(
            f"the teacher's answers are not kept in {self.store.folder} ({reason}): the teacher is asked at every batch",
            RuntimeWarning,
            stacklevel=4,
        )

    def _computed(self, first: int, last: int, view: int, augmented: bool) -> Mapping[str, np.ndarray]:
        self.tally.computed(view, augmented)
        return self.pack(self._answer(torch.arange(first, last), view, augmented))

    def _answer(self, rows: Tensor, view: int, augmented: bool) -> Tensor:
        """As `_told`, in forward passes whose size depends on the image's alone."""
        pixels = self.render(rows, view, augmented)
        if self.teacher.device.type != "cpu":
            return self.ask(pixels)
        size = max(8, _PIXELS // (pixels.shape[-1] * pixels.shape[-2]))
        return torch.cat([self.ask(part) for part in pixels.split(size)])

    def ask(self, pixels: Tensor) -> Tensor:
        """The teacher, on pixels: float32 [B, C], or [B, C + D] where the pooled vectors are kept."""
        return torch.cat(self.teacher.answers(pixels), dim=1) if self.pooled else self.teacher.logits(pixels)


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
