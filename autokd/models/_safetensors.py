"""The safetensors file format: a length, a JSON header, raw numbers.

Trials run where only torch is installed, so the few lines that read and write the format are here; a test holds them
against the library. Source: https://github.com/huggingface/safetensors (format section of its README).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autokd.files import whole

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_WORDS = {dtype: word for word, dtype in _TYPES.items()}
_LONGEST_HEADER = 100_000_000  # bytes, as the format demands


class Damaged(ValueError):
    """The file is not what its beginning promises."""


def looks_like(start: bytes) -> bool:
    """Whether a file whose first nine bytes or more are `start` may be in this format."""
    return len(start) >= 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER


def read(data: bytes | bytearray) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a whole file in memory. Raises Damaged."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        metadata = header.pop("__metadata__", {})
        body = memoryview(bytearray(data[8 + length :]))  # writable, so that the tensors own ordinary memory
        tensors = {name: _tensor(body, entry) for name, entry in header.items()}
    except Damaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise Damaged(f"its header cannot be read ({error})") from error
    return tensors, metadata


def _tensor(body: memoryview, entry: dict[str, Any]) -> Tensor:
    dtype, shape, (start, end) = _TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
    numbers = 1
    for side in shape:
        numbers *= side
    if not 0 <= start <= end <= len(body) or end - start != numbers * dtype.itemsize:
        raise Damaged("it ends too early, or a tensor's place does not fit its shape")
    if numbers == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body[start:end], dtype=torch.uint8).clone().view(dtype).reshape(shape)


def layout(tensors: dict[str, Tensor], metadata: dict[str, str]) -> tuple[bytes, list[str], int]:
    """What stands before the numbers of a file, the names of the tensors in their order, and the bytes of the numbers."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    # widest numbers first, so that every tensor starts where its type may start
    order = sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n))
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": _WORDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order, at


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write aside, flush to the disk, rename: a reader finds the old file or the new one, never half of one."""
    head, order, _ = layout(tensors, metadata)
    flat = (tensors[name].detach().to("cpu").contiguous().reshape(-1) for name in order)
    with whole(path) as file:
        file.write(head)
        file.writelines(one.view(torch.uint8).numpy().tobytes() if one.numel() else b"" for one in flat)
