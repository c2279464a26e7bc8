"""Runs of bytes copied from anywhere in a buffer: what shifts, crops and shears are made of.

A view of the buffer whose rows overlap (strides 1 and 1) turns a gather of every pixel into one copy of a whole run for each
image row. On a CPU core this is about ten times as fast as a gather with 64-bit indices.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["GREY", "guarded", "put", "runs", "shift"]

GREY = 128  # what enters at the edges, as in AutoAugment


def runs(buffer: Tensor, starts: Tensor, length: int) -> Tensor:
    """`length` neighbours of a contiguous buffer [k] from each start [m] int64: [m, length]. Starts must lie inside."""
    return buffer.as_strided((max(buffer.numel() - length + 1, 0), length), (1, 1), 0).index_select(0, starts)


def guarded(pixels: Tensor, rows: Tensor, guard: int) -> tuple[Tensor, Tensor]:
    """pixels[rows] inside a longer buffer, so that a run may begin up to `guard` bytes outside: (images, buffer [k])."""
    guard = -(-guard // 8) * 8  # images stay aligned to whole words
    shape = (len(rows), *pixels.shape[1:])
    buffer = pixels.new_empty(rows.numel() * pixels[0].numel() + 2 * guard)
    images = buffer[guard : buffer.numel() - guard].view(shape)
    torch.index_select(pixels, 0, rows, out=images)
    return images, buffer


def shift(rows: Tensor, by: Tensor, *, fill: int = GREY) -> Tensor:
    """Shift every row of an image by as much; what enters is `fill`.

    rows: [n, K, L] uint8. by: [n] int64 on the CPU, positive towards higher positions. Returns [n, K, L].
    """
    n, count, length = rows.shape
    by = by.clamp(-length, length)
    margin = int(by.abs().max()) if n else 0
    if margin == 0:
        return rows
    wide = length + 2 * margin
    buffer = rows.new_full((n, count, wide), fill)
    buffer[:, :, margin : margin + length].copy_(rows)
    starts = torch.arange(n * count).view(n, count) * wide + (margin - by)[:, None]
    return runs(buffer, starts.view(-1).to(rows.device), length).view(n, count, length)


def put(images: Tensor, rows: Tensor, values: Tensor) -> None:
    """images[rows] = values, in place; both contiguous uint8, rows int64 without repeats.

    On a CPU by way of NumPy, which copies whole images; elsewhere in words of eight bytes where the size allows.
    """
    if images.device.type == "cpu":
        images.numpy()[rows.numpy()] = values.numpy()
        return
    target, source = images.view(images.shape[0], -1), values.view(values.shape[0], -1)
    if target.shape[1] % 8 == 0 and target.storage_offset() % 8 == 0 and source.storage_offset() % 8 == 0:
        target, source = target.view(torch.int64), source.view(torch.int64)
    target.index_copy_(0, rows, source)
