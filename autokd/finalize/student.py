"""Read an exported student back: .safetensors, .pt2, .onnx. Only what the file's own format needs is imported."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError, refused
from autokd.finalize.facts import FILE, KEY, Facts, from_text
from autokd.machine import expanded

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ENDINGS", "Student", "open_student"]

ENDINGS = (".safetensors", ".pt2", ".onnx")


@dataclass(frozen=True)
class Student:
    """An exported student in memory. runtime: what computes it, in words."""

    path: Path
    facts: Facts
    runtime: str
    run: Callable[[np.ndarray], np.ndarray]

    def logits(self, pixels: np.ndarray, *, batch: int = 256) -> np.ndarray:
        """pixels: uint8 [N, C, H, W] of the student's own size, else AutokdError. Returns float32 [N, classes]."""
        import numpy as np

        facts = self.facts
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (facts.channels, facts.height, facts.width):
            wanted = f"uint8 [N, {facts.channels}, {facts.height}, {facts.width}]"
            raise AutokdError(f"it reads {wanted}, not {pixels.dtype} {list(pixels.shape)}", where=str(self.path))
        parts = [self.run(np.ascontiguousarray(pixels[at : at + batch])) for at in range(0, len(pixels), batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(facts.classes)), dtype=np.float32)


def open_student(path: str | Path, *, threads: int | None = None, own_code: bool = False) -> Student:
    """The student in a file that `autokd finalize` wrote. threads: of ONNX Runtime; torch keeps its own number.

    own_code: whether a .safetensors may name a module of one's own, whose code is then run; the graphs bring no such names.
    Raises AutokdError where the file is missing, damaged, or does not say what its student reads.
    """
    path = expanded(path)
    if path.is_dir():
        inside = sorted(one.name for one in path.iterdir() if one.suffix in ENDINGS)
        fix = f"name a file in it: {', '.join(inside)}" if inside else "students lie in RUN/final/BUDGET/"
        raise AutokdError("this is a folder, not a student", where=str(path), fix=fix)
    if not path.exists():
        raise AutokdError("there is no such file", where=str(path), fix="students lie in RUN/final/BUDGET/")
    readers = {
        ".safetensors": lambda path: _safetensors(path, own_code),
        ".pt2": _pt2,
        ".onnx": lambda path: _onnx(path, threads),
    }
    if path.suffix not in readers:
        raise AutokdError(
            f"no student ends in {path.suffix or 'nothing'!r}", where=str(path), fix=f"one of: {' '.join(ENDINGS)}"
        )
    try:
        path.open("rb").close()
    except OSError as fault:  # a library would make damage of it
        raise AutokdError(f"the file cannot be read: {refused(fault) or fault}", where=str(path)) from None
    return readers[path.suffix](path)


def _safetensors(path: Path, own_code: bool) -> Student:
    import torch

    from autokd.data.images import size_of
    from autokd.finalize.graph import Deployed
    from autokd.models._safetensors import Damaged, read
    from autokd.models.build import build
    from autokd.models.checkpoint import load_weights
    from autokd.models.fuse import fused
    from autokd.models.zoo import resolve

    try:
        _, metadata = read(path.read_bytes())
    except (Damaged, IndexError) as fault:
        raise AutokdError(f"this is no whole safetensors file: {fault}", where=str(path), fix="copy it again") from None
    facts = from_text(metadata[KEY], str(path)) if KEY in metadata else _beside(path)
    if resolve(facts.student).kind == "own" and not own_code:
        raise AutokdError(
            f"its network is code of somebody's own, {facts.student}, which loading it would run",
            where=str(path),
            fix="--own-code where you trust the file and the code; the .onnx and .pt2 files beside it need no code",
        )
    network = build(
        facts.student,
        classes=len(facts.classes),
        channels=facts.channels,
        size=size_of(facts.height, facts.width),
        options=facts.options,
    )
    if facts.fused:
        network = fused(network)
    load_weights(network, path)
    return Student(path, facts, f"torch {torch.__version__.partition('+')[0]}", _torch(Deployed(network, facts).eval()))


def _beside(path: Path) -> Facts:
    """Of a file written before the facts travelled in it: from metrics.json and config.json in its folder."""
    try:
        told = json.loads((path.parent / "metrics.json").read_text(encoding="utf-8"))
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        channels, height, width = told["input"]
        return Facts(
            student=told["student"], options=config["student"].get("options") or {}, classes=tuple(told["classes"]),
            channels=channels, height=height, width=width, mean=tuple(told["mean"]), std=tuple(told["std"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        raise _strange(path, "and no metrics.json with config.json lies beside it") from None


def _pt2(path: Path) -> Student:
    import torch

    extra = {FILE: ""}
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # it logs a traceback of what it raises
    try:
        loaded = torch.export.load(path, extra_files=extra)
    except Exception as fault:  # a damaged archive ends in a RuntimeError, a BadZipFile, a KeyError ...
        raise AutokdError(
            f"this .pt2 cannot be read: {_first_line(fault)}", where=str(path), fix="copy it again"
        ) from None
    if not extra[FILE]:
        raise _strange(path)
    facts = from_text(extra[FILE], str(path))
    return Student(
        path, facts, f"torch {torch.__version__.partition('+')[0]}, exported program", _torch(loaded.module())
    )


def _onnx(path: Path, threads: int | None) -> Student:
    try:
        import onnxruntime
    except ImportError:
        raise AutokdError("reading it needs onnxruntime", where=str(path), fix="pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what it would say is of the machine, not of the file
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # its exceptions have no common class below Exception
        raise AutokdError(
            f"this ONNX file cannot be read: {_first_line(fault)}", where=str(path), fix="copy it again"
        ) from None
    told = session.get_modelmeta().custom_metadata_map
    if KEY not in told:
        raise _strange(path)
    (name,) = (one.name for one in session.get_inputs())

    def run(pixels: np.ndarray) -> np.ndarray:
        return session.run(None, {name: pixels})[0]

    return Student(path, from_text(told[KEY], str(path)), f"onnxruntime {onnxruntime.__version__}, CPU", run)


def _torch(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels)).numpy()

    return run


def _strange(path: Path, more: str = "") -> AutokdError:
    what = "the file does not say which classes it knows and what images it reads"
    return AutokdError(
        f"{what}{', ' if more else ''}{more}", where=str(path), fix="use a file that autokd finalize wrote"
    )


def _first_line(fault: Exception) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]
