"""Weights on disk: published checkpoints are read strictly, our own are written as safetensors.

A file is data here, never code: pickles are read with `weights_only`, and nothing of a checkpoint is left out or made
up in silence.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import pickle
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autokd.errors import AutokdError
from autokd.files import intact_zip
from autokd.machine import expanded
from autokd.models import _safetensors
from autokd.models._wrappings import alias, some, unwrap
from autokd.models.features import inner
from autokd.models.zoo import resolve

_ACCURACIES = ("best_acc", "best_prec1", "best_top1", "accuracy", "acc", "val_top1", "top1")
_ENDINGS = (".pth", ".pt", ".th", ".ckpt", ".bin", ".safetensors", ".tar")
_SHOWN = 6


@dataclass(frozen=True)
class Loaded:
    """What `load_weights` read, and everything it did to fit the file to the network.

    `recorded_accuracy` is a share (0.7432), as the file says it, not as anybody measured it here: measure again before
    believing it.
    """

    path: str
    sha256: str
    recorded_accuracy: float | None
    wrapper: str | None  # key under which the weights lay
    passed_over: tuple[str, ...]  # keys of other weights: the raw ones beside averaged ones
    prefixes: tuple[str, ...]  # stripped
    renamed: tuple[tuple[str, str], ...]  # (in the file, in the network)
    filled: tuple[str, ...]  # counters of batch norm that old files lack
    left_out: tuple[str, ...]  # what is no part of the network: helper heads, counters, a loss
    metadata: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def told(self) -> str:
        """What was done to fit the file to the network, in words; empty where nothing was."""
        words = []
        if self.passed_over:
            words.append(f"taken from {self.wrapper}, not from {', '.join(self.passed_over)}")
        elif self.wrapper is not None:
            words.append(f"taken from {self.wrapper}")
        if self.prefixes:
            words.append(f"prefix {''.join(self.prefixes)} taken off")
        if self.renamed:
            words.append("renamed " + ", ".join(f"{found} to {wanted}" for found, wanted in self.renamed))
        if self.left_out:
            words.append(f"left out {some(self.left_out)}")
        return "; ".join([*words, *self.warnings])


def load_weights(model: nn.Module, path: str | Path) -> Loaded:
    """Fill `model` with the weights in a file: .pth, .pt, .th, .ckpt (a state dict, bare or wrapped) or .safetensors.

    Unwraps `model`, `state_dict`, `net` or `model_state_dict`, or averaged weights beside them; strips the prefix that a
    wrapper (DataParallel, torch.compile, Lightning, AveragedModel, an EMA) puts before every name; leaves counters of
    profilers and averages out; takes `classifier.0.*` and `classifier.*` for each other; fills missing `num_batches_tracked`.
    Then every name and shape must agree, and real numbers must be real numbers: quantised weights are refused. Raises
    AutokdError, and leaves the network as it was, for whatever does not fit.
    """
    path = expanded(path)
    data = _bytes(path)
    digest = sha256(data).hexdigest()
    content, metadata = _open(path, data)
    model = inner(model)
    own = model.state_dict()
    found = unwrap(str(path), content, own)
    weights, renamed = alias(found.weights, own)
    filled = tuple(key for key in own if key.endswith("num_batches_tracked") and key not in weights)
    weights |= {key: own[key] for key in filled}
    _refuse_quantised(path, weights, own, found.strangers)
    _compare(path, model, weights, own)
    _check_values(path, weights, own)
    _check_variant(path, model, metadata)
    warnings = _warnings(model, renamed, metadata)
    on_meta = any(value.is_meta for value in own.values())
    model.load_state_dict(weights, strict=True, assign=on_meta)
    accuracy = _accuracy(content if found.wrapper else {}, metadata)
    return Loaded(
        str(path),
        digest,
        accuracy,
        found.wrapper,
        found.passed_over,
        found.prefixes,
        renamed,
        filled,
        found.left_out,
        metadata,
        warnings,
    )


def save_weights(
    model: nn.Module, path: str | Path, *, accuracy: float | None = None, metadata: dict[str, str] | None = None
) -> str:
    """Write the weights of `model` as safetensors, with what it was built from; returns the file's sha256.

    accuracy: a share (0.7432), told again by `load_weights`. metadata: further words to keep. The file appears whole or
    not at all.
    """
    path = expanded(path)
    model, words = inner(model), _words(model, accuracy, metadata)
    try:
        _safetensors.write(path, model.state_dict(), words)
    except OSError as error:
        raise AutokdError(
            f"cannot write weights: {error.strerror or error}", where=str(path), fix="choose another place"
        ) from error
    return sha256(path.read_bytes()).hexdigest()


def saved_bytes(model: nn.Module, *, metadata: dict[str, str] | None = None) -> int:
    """How many bytes the file of `save_weights` has. Nothing is written; the network may lie on the meta device."""
    head, _, numbers = _safetensors.layout(inner(model).state_dict(), _words(model, None, metadata))
    return len(head) + numbers


def _words(model: nn.Module, accuracy: float | None, metadata: dict[str, str] | None) -> dict[str, str]:
    words = {"format": "pt", **(metadata or {})}
    blueprint = getattr(inner(model), "autokd_blueprint", None)
    if blueprint is not None:
        told = asdict(blueprint)
        words["autokd"] = json.dumps({key: value for key, value in told.items() if key != "fused" or value}, sort_keys=True)
    if accuracy is not None:
        words["accuracy"] = repr(float(accuracy))
    return words


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in _ENDINGS)
        raise AutokdError(
            "this is a folder, not a checkpoint",
            where=str(path),
            fix=f"name a file in it: {', '.join(inside[:_SHOWN])}"
            if inside
            else "name the file that holds the weights",
        )
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise AutokdError("there is no such checkpoint", where=str(path), fix=f"looked for {path.absolute()}") from None
    except OSError as error:
        raise AutokdError(f"the checkpoint cannot be read: {error.strerror or error}", where=str(path)) from error


def _open(path: Path, data: bytes) -> tuple[Any, dict[str, str]]:
    where = str(path)
    if not data:
        raise AutokdError("the checkpoint is empty", where=where, fix="copy or download it again")
    if _safetensors.looks_like(data):
        try:
            return _safetensors.read(data)
        except _safetensors.Damaged as error:
            raise AutokdError(
                f"this safetensors file is damaged: {error}", where=where, fix="copy or download it again"
            ) from error
    if path.suffix == ".safetensors":
        raise AutokdError(
            "this is no safetensors file, whatever its name says", where=where, fix="copy or download it again"
        )
    if _is_torchscript(data):
        raise AutokdError(
            "this is a TorchScript program, which brings its own code; only weights are read",
            where=where,
            fix="save torch.jit.load(file).state_dict() to a file of its own",
        )
    if not intact_zip(io.BytesIO(data)):
        raise AutokdError(
            "this checkpoint is damaged: its checksums do not agree with its content",
            where=where,
            fix="copy or download it again; one written without checksums: torch.save(torch.load(file, weights_only=True), file)",
        )
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError as error:
        if culprit := _culprit(str(error)):
            raise AutokdError(
                f"the checkpoint holds more than weights ({culprit}); to load it would run code out of it",
                where=where,
                fix="where its code is at hand: torch.save(model.state_dict(), file), or safetensors.torch.save_file",
            ) from error
        raise AutokdError("this is not a checkpoint", where=where, fix=_formats()) from error
    except Exception as error:  # of damaged bytes zipfile, pickle and torch raise whatever they happen to meet
        said = " ".join(str(error).split())[:160]
        raise AutokdError(
            f"this is not a checkpoint, or a damaged one ({said})", where=where, fix=_formats()
        ) from error


def _formats() -> str:
    return "a file of torch.save(model.state_dict(), ...) or a .safetensors file is read; if it is one, copy it again"


def _harmless() -> list[Any]:
    """Plain values that training scripts save beside the weights: NumPy numbers (the best accuracy) and parsed
    arguments.
    """
    found: list[Any] = [argparse.Namespace, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32))]
    found += [type(np.dtype(np.int64)), type(np.dtype(np.int32))]
    with suppress(ImportError, AttributeError):
        from numpy._core.multiarray import scalar

        found += [scalar, (scalar, "numpy.core.multiarray.scalar")]
    return found


def _culprit(said: str) -> str:
    for mark in ("Unsupported global: GLOBAL ", "Unsupported class ", "Trying to load unsupported GLOBAL "):
        if mark in said:
            return said.split(mark, 1)[1].split()[0].rstrip(".,")
    return ""


def _is_torchscript(data: bytes) -> bool:
    if data[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # not only BadZipFile: a damaged archive may claim a version or a place that zipfile trips over
        return False


def _compare(path: Path, model: nn.Module, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    shapes = [key for key in own if key in weights and weights[key].shape != own[key].shape]
    if missing or unexpected or shapes:
        lines = []
        if missing:
            lines.append(f"missing {some(missing)}")
        if unexpected:
            lines.append(f"unexpected {some(unexpected)}")
        if shapes:
            lines.append(
                "of another shape " + some([f"{k} {_sides(weights[k])}, not {_sides(own[k])}" for k in shapes])
            )
        fix = "check the model's name and options against the code that trained the checkpoint"
        if (
            shapes
            and not missing
            and not unexpected
            and {weights[k].shape[1:] for k in shapes} == {own[k].shape[1:] for k in shapes}
        ):
            if len({tuple(weights[k].shape[:1]) for k in shapes}) == 1 and len(shapes) <= 2:
                fix = f"only the classifier differs: the checkpoint knows {weights[shapes[0]].shape[0]} classes"
        raise AutokdError(f"the weights do not fit {_called(model)}: {'; '.join(lines)}", where=str(path), fix=fix)


_QUANTISED = ("_packed_params", ".qweight", ".qzeros", ".SCB", ".zero_point")  # torch, GPTQ and AWQ, bitsandbytes


def _refuse_quantised(path: Path, weights: dict[str, Tensor], own: dict[str, Tensor], strangers: tuple[str, ...]) -> None:
    """Integers would be read as real numbers: int8 weights without their scale, as zeros and ones."""
    whole = [
        f"{key} ({str(value.dtype).removeprefix('torch.')})"
        for key, value in weights.items()
        if value.is_quantized or (key in own and own[key].is_floating_point() and not value.is_floating_point())
    ]
    signs = [key for key in (*strangers, *weights) if key not in own and any(mark in key for mark in _QUANTISED)]
    if whole or signs:
        raise AutokdError(
            f"the checkpoint holds quantised weights, or integers where the network has real numbers: {some(whole or signs)}",
            where=str(path),
            fix="give the checkpoint from before it was quantised, or one of real numbers (each tensor times its scale)",
        )
    if strangers:
        raise AutokdError(
            f"values among the weights are no tensors: {some(strangers)}", where=str(path), fix="save model.state_dict() alone"
        )


def _check_values(path: Path, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    numbers = {key: value for key, value in weights.items() if value.is_floating_point()}
    broken = [key for key, value in numbers.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise AutokdError(
            f"the checkpoint holds numbers that are not finite: {some(broken)}",
            where=str(path),
            fix="its training diverged; take an earlier one",
        )
    matrices = [value for value in numbers.values() if value.dim() > 1 and value.numel()]
    if matrices and not any(bool(value.any()) for value in matrices):
        raise AutokdError(
            "every weight of the checkpoint is zero", where=str(path), fix="take another one: nothing was trained in this one"
        )
    counts = [
        key
        for key, value in weights.items()
        if not own[key].is_floating_point() and (value.is_complex() or bool((value != value.to(own[key].dtype)).any()))
    ]
    if counts:
        raise AutokdError(
            f"the network has integers where the checkpoint holds other numbers: {some(counts)}",
            where=str(path),
            fix="check the model's name and options against the code that trained the checkpoint",
        )


def _sides(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _called(model: nn.Module) -> str:
    return getattr(getattr(model, "autokd_blueprint", None), "model", type(model).__name__)


def _check_variant(path: Path, model: nn.Module, metadata: dict[str, str]) -> None:
    """Refuse a file of another zoo network whose names and shapes happen to be the same (the two MobileNetV2 stems)."""
    try:
        written = json.loads(metadata.get("autokd", "{}")).get("model")
    except (ValueError, AttributeError):
        return
    own = _called(model)
    if not written or written == own:
        return
    try:
        names = resolve(written), resolve(own)
    except AutokdError:
        return
    if all(found.kind == "zoo" for found in names) and names[0].name != names[1].name:
        raise AutokdError(
            f"the file holds {written}, not {own}, though their weights have the same shapes",
            where=str(path),
            fix=f"name the model {written}",
        )


def _warnings(model: nn.Module, renamed: tuple[tuple[str, str], ...], metadata: dict[str, str]) -> tuple[str, ...]:
    if _called(model).startswith("mobilenetv2_half") and "autokd" not in metadata and renamed:
        return (
            "published MobileNetV2 files with a classifier.weight come from a stem of stride 1 or of stride 2 and do "
            f"not say which: compare the accuracy of {_called(model)} with that of the other form",
        )
    return ()


def _accuracy(content: Any, metadata: dict[str, str]) -> float | None:
    words = {**(content if isinstance(content, dict) else {}), **metadata}
    for key in _ACCURACIES:
        value = words.get(key)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        with suppress(TypeError, ValueError):
            number = float(value)  # type: ignore[arg-type]
            if math.isfinite(number) and 0 <= number <= 100:
                return number / 100 if number > 1 else number
    return None
