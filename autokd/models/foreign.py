"""Networks that are not the zoo's: torchvision's, timm's, and a person's own code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from autokd.errors import AutokdError, did_you_mean
from autokd.machine import expanded
from autokd.models.published import Published, fitting, library, unknown
from autokd.models.zoo import Resolved, is_file

_LEDGER = "ledger.jsonl"  # what makes a folder a run
_AUXILIARY = ("googlenet", "inception_v3")  # of torchvision, with auxiliary classifiers
_WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": True}  # the second is torchvision's default; unsaid, it warns


def make(
    found: Resolved,
    *,
    classes: int,
    channels: int,
    size: int | tuple[int, int],
    options: dict[str, Any],
    weights: str | None,
) -> nn.Module:
    """Build a library's network or call a person's own code; whatever goes wrong there becomes one AutokdError."""
    if found.kind == "torchvision":
        return _torchvision(found, classes, channels, options, weights)
    if found.kind == "timm":
        return _timm(found, classes, channels, size, options, weights)
    if weights:
        raise AutokdError(
            f"{found.name}: named weights {weights!r} exist for torchvision: and timm: networks only",
            fix="give a checkpoint file, or load them in your own code",
        )
    return _own(found, classes, channels, size, options)


def as_json(options: dict[str, Any] | None) -> str:
    return json.dumps(options or {}, sort_keys=True, default=str)


def _torchvision(
    found: Resolved, classes: int, channels: int, options: dict[str, Any], weights: str | None
) -> nn.Module:
    models = library("torchvision.models", found)
    known = models.list_models()
    if found.attribute.lower() not in known:
        raise unknown(found, "torchvision", known)
    quiet = _WITHOUT_AUXILIARY if found.attribute.lower() in _AUXILIARY else {}
    settings = {"num_classes": classes, **quiet, **options}
    if weights:
        told = fitting(found.name, weights, classes=classes, channels=channels)
        return _fetched(found, weights, told, models.get_model, found.attribute, weights=told.weights, **settings)
    model = _call(found, models.get_model, found.attribute, weights=None, **settings)
    return _with_channels(found, model, channels)


def _with_channels(found: Resolved, model: nn.Module, channels: int) -> nn.Module:
    """torchvision's networks read three channels: put a first convolution in place that reads `channels`."""
    if channels == 3:
        return model
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != 3 or module.groups != 1:
                break
            first = nn.Conv2d(
                channels,
                module.out_channels,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                module.padding,  # type: ignore[arg-type]
                module.dilation,  # type: ignore[arg-type]
                bias=module.bias is not None,
                padding_mode=module.padding_mode,
            )
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, first)
            return model
    raise AutokdError(
        f"{found.name} reads 3 channels, the data has {channels}",
        fix="choose a timm: network or write your own function",
    )


def _timm(
    found: Resolved,
    classes: int,
    channels: int,
    size: int | tuple[int, int],
    options: dict[str, Any],
    weights: str | None,
) -> nn.Module:
    timm = library("timm", found)
    network = found.attribute.partition(".")[0]
    if not timm.is_model(network):
        raise unknown(found, "timm", timm.list_models())
    told = fitting(found.name, weights, classes=classes, channels=channels) if weights else None
    wanted = told.weights if told is not None else found.attribute
    try:
        facts = timm.get_pretrained_cfg(wanted, allow_unregistered=True)
    except RuntimeError as error:  # a tag that it does not have
        raise _failed(found, error) from error
    settings: dict[str, Any] = {"num_classes": classes, "in_chans": channels, **options}
    if facts is not None and facts.fixed_input_size:
        settings["img_size"] = size
    if weights and told is not None:
        return _fetched(found, weights, told, timm.create_model, wanted, pretrained=True, **settings)
    return _call(found, timm.create_model, wanted, pretrained=False, **settings)


def _fetched(
    found: Resolved, called: str, told: Published, function: Callable[..., Any], name: str, **settings: Any
) -> Any:
    """Build a network with its published weights, which the library downloads where it does not have them yet."""
    try:
        return _call(found, function, name, **settings)
    except AutokdError as fault:
        if not isinstance(fault.__cause__, OSError):  # of urllib, requests, httpx and huggingface_hub alike
            raise
        said = " ".join(str(fault.__cause__).split())[:200]
        raise AutokdError(
            f"the weights {called} of {found.name} could not be downloaded: {said}",
            where=told.source,
            fix="connect to the network, or download them elsewhere and name the file: checkpoint: FILE in place of weights",
        ) from fault


def _own(
    found: Resolved, classes: int, channels: int, size: int | tuple[int, int], options: dict[str, Any]
) -> nn.Module:
    module = _from_file(found) if is_file(found.place) else _from_path(found)
    function = getattr(module, found.attribute, None)
    if not callable(function):
        offers = [word for word, value in vars(module).items() if callable(value) and not word.startswith("_")]
        raise AutokdError(
            f"{found.place} has no callable {found.attribute!r}{did_you_mean(found.attribute, offers)}",
            where=found.name,
            fix=f"it offers: {', '.join(offers[:12]) or 'none'}",
        )
    given = {"classes": classes, "channels": channels, "size": size}
    settings = {key: value for key, value in given.items() if _accepts(function, key)} | options
    model = _call(found, function, **settings)
    if not isinstance(model, nn.Module):
        raise AutokdError(
            f"{found.name} returned a {type(model).__name__}, not a torch.nn.Module", fix="return the network itself"
        )
    return model


def _accepts(function: Callable[..., Any], word: str) -> bool:
    """Whether a keyword argument may be given. `size` is given only where it is spelled out, the other two to **kwargs
    as well.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    if word in parameters:
        return parameters[word].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return word != "size" and any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _from_file(found: Resolved) -> ModuleType:
    path = expanded(found.place).resolve()
    if not path.is_file():
        raise AutokdError(f"there is no file {found.place}", where=found.name, fix=f"looked for {path}")
    _refuse_of_a_run(found, path)
    # One module per path and state of the file: a class stays the same between builds, an edited file is read anew.
    state = f"{path}|{path.stat().st_mtime_ns}|{path.stat().st_size}"
    name = f"autokd_own_{path.stem}_{blake2b(state.encode(), digest_size=6).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AutokdError(f"{found.place} is not a Python file", where=found.name, fix="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # so that it can import what lies beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(found, error) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _from_path(found: Resolved) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # a console script does not look in the folder it is called from
    try:
        name = found.place.partition(".")[0]
        top = importlib.util.find_spec(name) if name not in sys.modules else None  # found, and not run yet
        for place in [top.origin or "", *(top.submodule_search_locations or ())] if top is not None else ():
            _refuse_of_a_run(found, Path(place))
        return importlib.import_module(found.place)
    except ModuleNotFoundError as error:
        if error.name and (found.place == error.name or found.place.startswith(error.name + ".")):
            raise AutokdError(
                f"there is no module {found.place!r}",
                where=found.name,
                fix="looked for among installed packages and here; a file is written path/to/file.py:callable",
            ) from error
        raise _failed(found, error) from error
    except AutokdError:
        raise
    except Exception as error:
        raise _failed(found, error) from error


def _refuse_of_a_run(found: Resolved, path: Path) -> None:
    """A run folder is a record, which may come from anybody: what lies in one is never run."""
    run = next((folder for folder in path.resolve().parents if (folder / _LEDGER).exists()), None)
    if run is not None:
        raise AutokdError(
            f"the code of {found.name} lies in a run folder ({run}), and nothing in one is run",
            where=str(path),
            fix="where you trust it, copy it to a place of your own and name it there",
        )


def _call(found: Resolved, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Call code of other people; its exception, whatever it is, is told as the fault of that name."""
    try:
        return function(*arguments, **settings)
    except AutokdError:
        raise
    except (KeyboardInterrupt, SystemExit, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _failed(found, error, settings) from error


def _failed(found: Resolved, error: Exception, settings: dict[str, Any] | None = None) -> AutokdError:
    text = " ".join(str(error).split())
    told = f"it was called with {', '.join(f'{k}={v!r}' for k, v in settings.items())}" if settings else ""
    return AutokdError(f"{found.name} cannot be built: {type(error).__name__}: {text[:300]}", fix=told)
