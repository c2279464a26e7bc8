"""Which rows train and which validate: stratified, exact, and the same for ever.

The order of rows comes from the raw 64-bit words of numpy's PCG64 seeded with `seed`, one word a row, row 0 first: rows are
sorted by their word (ties, which do not happen in practice, by row). Raw words are used because numpy promises their stream
never changes, and promises no such thing of `Generator.permutation`.
"""

from __future__ import annotations

import heapq
import json
import os
from fractions import Fraction as Exact
from pathlib import Path
from typing import Any

import numpy as np

from autokd.errors import AutokdError, refused

__all__ = ["cut", "split", "words"]


def split(
    labels: np.ndarray,
    *,
    validation: float,
    seed: int,
    split_file: str | os.PathLike[str] | None = None,
    fraction: float = 1.0,
    own: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on, each int64, ascending.

    labels: int [N], of the whole training part. The validation rows are cut first: round(validation x N) of them, shared
    among the classes by largest remainder. Then `fraction` keeps round(fraction x M) of the M other rows, such that every class
    is within one image of its share and the rows of a smaller fraction are among the rows of a larger one.
    `split_file` (JSON {"train": [...], "validation": [...]}, rows of the training part) names the rows instead;
    `fraction` then applies to its training rows. own: bool [N], the rows that the set itself gives to validation; no share is cut
    then.
    Raises AutokdError where a share is out of range, a side would be empty, or the file does not fit.
    """
    labels = np.asarray(labels)
    if not 0 <= validation < 1:
        raise AutokdError(f"validation is a share of the training part from 0 to below 1, not {validation:g}")
    if not 0 < fraction <= 1:
        raise AutokdError(f"fraction is a share above 0 and at most 1, not {fraction:g}")
    keys = words(len(labels), seed)
    if split_file is not None:
        train, held = _read(Path(split_file), len(labels))
    elif own is not None:
        train, held = np.flatnonzero(~own), np.flatnonzero(own)
    else:
        chosen = cut(labels, keys, validation)
        train, held = np.flatnonzero(~chosen), np.flatnonzero(chosen)
        if validation > 0 and not len(held):
            raise AutokdError(
                f"{validation:g} of {len(labels)} images is no image to validate on",
                fix="ask for a larger validation share",
            )
    if fraction < 1:
        kept = _rounded(fraction, len(train))
        if not kept:
            raise AutokdError(
                f"fraction {fraction:g} keeps none of {len(train)} images", fix="ask for a larger fraction"
            )
        train = np.sort(train[_order(labels[train], keys[train])[:kept]])
    if not len(train):
        raise AutokdError(f"no image is left to train on (validation takes {len(held)} of {len(labels)})")
    return train.astype(np.int64), held.astype(np.int64)


def words(rows: int, seed: int) -> np.ndarray:
    """One 64-bit word a row, uint64 [rows]; the word of a row depends on the seed and its number alone."""
    if seed < 0:
        raise AutokdError(f"a seed is a whole number from 0 up, not {seed}")
    return np.random.PCG64(seed).random_raw(rows) if rows else np.zeros(0, dtype=np.uint64)


def cut(labels: np.ndarray, keys: np.ndarray, share: float) -> np.ndarray:
    """True for a stratified `share` of the rows: in every class those with the smallest keys. bool [N].

    round(share x N) rows in all, halves up; a class gets the floor of its part, and the rows then missing go to the
    classes with the largest remainders (among equals to the lower class).
    """
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    total = _rounded(share, len(labels))
    counts = sizes * total // max(len(labels), 1)
    left = sizes * total - counts * len(labels)  # integers: no rounding decides a tie
    counts[np.argsort(-left, kind="stable")[: total - counts.sum()]] += 1
    order = np.lexsort((keys, group))
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within its class
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[order] = place < np.repeat(counts, sizes)
    return chosen


def _rounded(share: float, rows: int) -> int:
    return int(Exact(repr(float(share))) * rows + Exact(1, 2))  # the decimal that was typed, halves up


def _order(labels: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Rows in an order whose every beginning is stratified: after t rows, each class is within one of t x its share.

    Largest remainder would not nest (a larger total can take a row from a class, the Alabama paradox). Here the k-th row of
    a class with n of N rows may come once t x n / N exceeds k, and has to have come when it reaches k + 1; of the rows that
    may come, the most urgent comes first. That this always works is the chairman assignment theorem.

    Source: R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980).
    """
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rows, starts = len(labels), np.cumsum(sizes) - sizes
    members = np.lexsort((keys, group))
    waiting = [(0, kind) for kind in range(len(sizes))]  # (first time minus one, class)
    ready: list[tuple[int, int]] = []  # (last time, class)
    taken = [0] * len(sizes)
    counts = sizes.tolist()
    order = np.empty(rows, dtype=np.int64)
    for time in range(rows):
        while waiting and waiting[0][0] <= time:
            _, kind = heapq.heappop(waiting)
            heapq.heappush(ready, (-(-(taken[kind] + 1) * rows // counts[kind]), kind))
        _, kind = heapq.heappop(ready)
        order[time] = members[starts[kind] + taken[kind]]
        taken[kind] += 1
        if taken[kind] < counts[kind]:
            heapq.heappush(waiting, (taken[kind] * rows // counts[kind], kind))
    return order


def _read(path: Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AutokdError("there is no such split file", where=str(path)) from None
    except (OSError, ValueError) as fault:
        if told := refused(fault):
            raise AutokdError(f"the split file cannot be read: {told}", where=str(path)) from None
        raise AutokdError(f"not a split file: {fault}", where=str(path), fix=_SHAPE) from None
    if not isinstance(told, dict) or set(told) != {"train", "validation"}:
        raise AutokdError("not a split file", where=str(path), fix=_SHAPE)
    train, held = (_side(path, name, told[name], rows) for name in ("train", "validation"))
    both = np.intersect1d(train, held)
    if len(both):
        raise AutokdError(f"{len(both)} rows are in train and in validation: {_some(both)}", where=str(path))
    return train, held


_SHAPE = 'it holds {"train": [rows], "validation": [rows]}, rows of the training part counted from 0'


def _side(path: Path, name: str, told: Any, rows: int) -> np.ndarray:
    if not isinstance(told, list) or not all(isinstance(row, int) and not isinstance(row, bool) for row in told):
        raise AutokdError(f"{name} is not a list of whole numbers", where=str(path), fix=_SHAPE)
    outside = [row for row in told if not 0 <= row < rows]
    if outside:
        raise AutokdError(
            f"{len(outside)} rows of {name} are not in the training part: {_some(outside)}",
            where=str(path),
            fix=f"the training part has {rows} images: rows 0 to {rows - 1}",
        )
    found, counts = np.unique(np.asarray(told, dtype=np.int64), return_counts=True)
    if len(found) < len(told):
        raise AutokdError(f"rows are in {name} more than once: {_some(found[counts > 1])}", where=str(path))
    return found


def _some(rows: Any) -> str:
    return ", ".join(str(row) for row in list(rows)[:5]) + (", ..." if len(rows) > 5 else "")
