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
from collections.abc import Iterable
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
from autokd.models.features import inner
from autokd.models.zoo import resolve

_WRAPPERS = ("model", "state_dict", "net", "model_state_dict")
_ACCURACIES = ("best_acc", "best_prec1", "best_top1", "accuracy", "acc", "val_top1", "top1")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_BACKBONE = "backbone."
_HELPERS = ("auxiliary_classifier.", "proj_head.")  # heads that HSAKD and SSKD train beside their backbone
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
    prefixes: tuple[str, ...]  # stripped
    renamed: tuple[tuple[str, str], ...]  # (in the file, in the network)
    filled: tuple[str, ...]  # counters of batch norm that old files lack
    left_out: tuple[str, ...]  # weights of helper heads
    metadata: dict[str, str]
    warnings: tuple[str, ...]


def load_weights(model: nn.Module, path: str | Path) -> Loaded:
    """Fill `model` with the weights in a file: .pth, .pt, .th (a state dict, bare or wrapped) or .safetensors.

    Unwraps `model`, `state_dict`, `net` or `model_state_dict`; strips `module.`, `_orig_mod.` and `backbone.`; takes
    `classifier.0.*` and `classifier.*` for each other; fills missing `num_batches_tracked`. Then every name and shape
    must agree. Raises AutokdError, and leaves the network as it was, for whatever does not fit.
    """
    path = expanded(path)
    data = _bytes(path)
    digest = sha256(data).hexdigest()
    content, metadata = _open(path, data)
    weights, wrapper = _unwrap(path, content)
    model = inner(model)
    own = model.state_dict()
    weights, prefixes, left_out = _strip(weights, own)
    weights, renamed = _alias(weights, own)
    filled = tuple(key for key in own if key.endswith("num_batches_tracked") and key not in weights)
    weights |= {key: own[key] for key in filled}
    _compare(path, model, weights, own)
    _check_variant(path, model, metadata)
    warnings = _warnings(model, renamed, metadata)
    on_meta = any(value.is_meta for value in own.values())
    model.load_state_dict(weights, strict=True, assign=on_meta)
    accuracy = _accuracy(content if wrapper else {}, metadata)
    return Loaded(str(path), digest, accuracy, wrapper, prefixes, renamed, filled, left_out, metadata, warnings)


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
        words["autokd"] = json.dumps(asdict(blueprint), sort_keys=True)
    if accuracy is not None:
        words["accuracy"] = repr(float(accuracy))
    return words


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in (".pth", ".pt", ".th", ".safetensors", ".tar"))
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
        if "weights only load failed" in str(error).lower() or "unsupported" in str(error).lower():
            raise AutokdError(
                f"the checkpoint holds more than weights{_culprit(str(error))}; to load it would run code out of it",
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
            return f" ({said.split(mark, 1)[1].split()[0].rstrip('.,')})"
    return ""


def _is_torchscript(data: bytes) -> bool:
    if data[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # not only BadZipFile: a damaged archive may claim a version or a place that zipfile trips over
        return False


def _unwrap(path: Path, content: Any) -> tuple[dict[str, Tensor], str | None]:
    if _is_state(content):
        return dict(content), None
    if isinstance(content, dict):
        for key in _WRAPPERS:
            if _is_state(content.get(key)):
                return dict(content[key]), key
        keys = ", ".join(map(str, list(content)[:12]))
        raise AutokdError(
            f"no weights under {', '.join(_WRAPPERS)}; the file holds: {keys or 'nothing'}",
            where=str(path),
            fix="save the state dict alone, or under one of those names",
        )
    kind = f"a {type(content).__name__}"
    raise AutokdError(f"the file holds {kind}, not a state dict", where=str(path), fix="save model.state_dict()")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _strip(
    weights: dict[str, Tensor], own: dict[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    stripped: list[str] = []
    left_out: list[str] = []
    again = True
    while again:
        again = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in weights) and not any(key.startswith(prefix) for key in own):
                weights = {key[len(prefix) :]: value for key, value in weights.items()}
                stripped.append(prefix)
                again = True
        inside = {key for key in weights if key.startswith(_BACKBONE)}
        if inside and not any(key.startswith(_BACKBONE) for key in own):
            helpers = {key for key in weights if key.startswith(_HELPERS)}
            left_out += sorted(helpers)
            kept = {key: value for key, value in weights.items() if key not in helpers}
            weights = {key.removeprefix(_BACKBONE): value for key, value in kept.items()}
            stripped.append(_BACKBONE)
            again = True
    return weights, tuple(stripped), tuple(left_out)


def _alias(weights: dict[str, Tensor], own: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[tuple[str, str], ...]]:
    renamed = []
    for short, long in (("classifier.weight", "classifier.0.weight"), ("classifier.bias", "classifier.0.bias")):
        for found, wanted in ((short, long), (long, short)):
            if wanted in own and wanted not in weights and found in weights and found not in own:
                weights = {wanted if key == found else key: value for key, value in weights.items()}
                renamed.append((found, wanted))
    return weights, tuple(renamed)


def _compare(path: Path, model: nn.Module, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    shapes = [key for key in own if key in weights and weights[key].shape != own[key].shape]
    if missing or unexpected or shapes:
        lines = []
        if missing:
            lines.append(f"missing {_some(missing)}")
        if unexpected:
            lines.append(f"unexpected {_some(unexpected)}")
        if shapes:
            lines.append(
                "of another shape " + _some([f"{k} {_sides(weights[k])}, not {_sides(own[k])}" for k in shapes])
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
    broken = [
        key for key, value in weights.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if broken:
        raise AutokdError(
            f"the checkpoint holds numbers that are not finite: {_some(broken)}",
            where=str(path),
            fix="its training diverged; take an earlier one",
        )


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"({len(keys)}): {', '.join(keys[:_SHOWN])}{more}"


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
