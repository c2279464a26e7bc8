"""Crashes of a process (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL): record them, read them, and find the layer.

A watched process writes its Python stack to a file when it crashes (faulthandler). No torch is imported here, since the search
reads these files, too. `find_crashing_layer` runs `python -m autokd.train.crash`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["CRASH_FIX", "Crash", "crash_in", "crash_of_exit", "find_crashing_layer", "watched"]

CRASH_FIX = "try another version of torch or another image size, or remove this network from the space"
_NAMES = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating-point exception": "SIGFPE",
    "Floating point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}
_MEANINGS = {name: words.lower() for words, name in reversed(_NAMES.items())}
_FATAL = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)
_FRAME = re.compile(r'^ *File "(.+?)", line (\d+),? in (\S+)', re.MULTILINE)
_SECONDS = 300.0  # time limit of the search for the layer


@dataclass(frozen=True)
class Crash:
    """signal: its name. place: where the process was, in a few words; empty if unknown."""

    signal: str
    place: str = ""

    def __str__(self) -> str:
        meaning = _MEANINGS.get(self.signal)
        told = f"{self.signal} ({meaning})" if meaning else self.signal
        return f"{told} {self.place}" if self.place else told


def crash_in(text: str) -> Crash | None:
    """The last crash that faulthandler wrote to `text`; None if there is none."""
    found = list(_FATAL.finditer(text))
    if not found:
        return None
    words = found[-1].group(1).strip()
    return Crash(_NAMES.get(words, words), _place(text[found[-1].end() :]))


def _place(stack: str) -> str:
    """The backward pass, or the innermost line outside of libraries."""
    frames = _FRAME.findall(stack.partition("\n\nExtension modules")[0])
    if any(function == "_engine_run_backward" for _, _, function in frames):
        return "in the backward pass"
    library = sysconfig.get_path("stdlib")
    for file, line, function in frames:
        if not file.startswith((library, "<")) and "site-packages" not in file:
            return f"in {function} ({Path(file).name}:{line})"
    return ""


def crash_of_exit(code: int, said: str = "") -> Crash | None:
    """The crash of a child process, from its exit code and its stderr; None if no signal ended it."""
    if code >= 0:
        return None
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    told = crash_in(said)
    return Crash(name, told.place if told is not None and told.signal == name else "")


@contextmanager
def watched(path: Path | None = None) -> Iterator[None]:
    """Append the stack to the file at `path` (None: stderr) if this process crashes inside."""
    file: IO[str] | None = None
    before = faulthandler.is_enabled()
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError:  # not writable: a crash is reported without its place
            yield
            return
    faulthandler.enable(file=file or sys.stderr)
    try:
        yield
    finally:
        faulthandler.enable() if before else faulthandler.disable()
        if file is not None and path is not None:
            file.close()


def find_crashing_layer(
    network: Mapping[str, Any], shape: tuple[int, ...], *, channels_last: bool, bf16: bool, threads: int
) -> Crash | None:
    """Train a network one step on random images in a process of its own. Returns the crash with its layer, or None.

    network: name, classes and options of autokd.models.build.build. shape: [B, C, H, W] of the images.
    """
    job = {"network": dict(network), "shape": list(shape), "channels_last": channels_last, "bf16": bf16, "threads": threads}
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    try:
        made = subprocess.run([sys.executable, "-m", "autokd.train.crash"], input=json.dumps(job, default=repr),
                              capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=_SECONDS,
                              check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = crash_of_exit(made.returncode, made.stderr)
    if told is None:
        return None
    steps = made.stdout.strip().splitlines()
    return Crash(told.signal, f"in the {steps[-1]}" if steps else told.place)


def _train_a_step(job: dict[str, Any], say: Any) -> None:
    """Report every layer before its forward and its backward pass, in this order as it is, without autokd.train.layout."""
    import torch
    from torch import nn

    from autokd.data.images import size_of
    from autokd.models.build import build
    from autokd.models.features import logits_of

    torch.set_num_threads(job["threads"])
    order = torch.channels_last if job["channels_last"] else torch.contiguous_format
    network = {**job["network"], "channels": job["shape"][1], "size": size_of(*job["shape"][2:])}
    model: nn.Module = build(**network, seed=0).to(memory_format=order).train()  # type: ignore[call-overload]
    for name, layer in model.named_modules():
        if name and not any(True for _ in layer.children()):
            _tell_of(layer, f"{name} ({' '.join(str(layer).split())[:120]})", say)
    torch.manual_seed(0)
    images = torch.randn(*job["shape"]).contiguous(memory_format=order)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=job["bf16"]):
        logits = logits_of(model(images))
    nn.functional.cross_entropy(logits.float(), torch.zeros(len(images), dtype=torch.long)).backward()


def _tell_of(layer: Any, words: str, say: Any) -> None:
    """A tensor's hook runs when its gradient is known: for an output before the layer's own backward pass, for an input after it.
    An input that is another layer's output has that layer's hook."""
    from torch import Tensor

    def tell(tensor: Any, text: str) -> None:
        if isinstance(tensor, Tensor) and tensor.requires_grad and not hasattr(tensor, "told"):
            tensor.register_hook(lambda _: say(text))
            tensor.told = True  # type: ignore[attr-defined]

    def before(_: Any, inputs: Any) -> None:
        say(f"forward pass of {words}")
        for one in inputs:
            tell(one, f"backward pass of what {words} reads")

    def after(_: Any, inputs: Any, output: Any) -> None:
        tell(output, f"backward pass of {words}")

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)


def _main() -> None:
    faulthandler.enable()
    answers = os.dup(1)
    os.dup2(2, 1)  # output of the network itself goes to stderr

    def say(text: str) -> None:
        os.write(answers, f"{text}\n".encode())

    _train_a_step(json.load(sys.stdin), say)


if __name__ == "__main__":
    _main()
