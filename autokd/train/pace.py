"""How a student is trained fastest on this machine: measured once a machine, student and batch, and kept.

What is chosen changes rounding only, never what is computed: the memory format of images and weights, bfloat16 where the
processor has it and the precision is left open, the fused optimiser, `torch.compile` (on a GPU also with CUDA graphs, which
spare a small student the launching of its kernels) for trainings that are long enough to earn its compilation, and the batch of
scoring.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autokd.files import locked, write_text
from autokd.models.precision import arithmetic
from autokd.train.optimiser import SGD

__all__ = ["Pace", "default_pace", "find_pace", "machine_key", "measure_pace"]

_QUICK = 0.1  # of a training's steps may go into measuring, since all trials of a student share what was found,
_WORTH = 0.02  # or as small a part of a longer one's into measuring more often, and scoring too
_BETTER = 0.93  # a candidate has to take at most this share of the time of the one before it
_COMPILE_SECONDS = 90.0  # what a first compilation may take; a training has to save as much
_EVALUATION = (128, 256, 512, 1024)


@dataclass(frozen=True)
class Pace:
    """channels_last: memory format. bf16: autocast of the student's forward pass. fused: the optimiser's own kernel for all
    weights. compiled, graphs: torch.compile, and that with CUDA graphs. evaluation: images a pass in scoring."""

    channels_last: bool = True
    bf16: bool = False
    compiled: bool = False
    evaluation: int = 512
    fused: bool = False
    graphs: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def __str__(self) -> str:
        words = ["channels last" if self.channels_last else "channels first", "bfloat16" if self.bf16 else "float32"]
        words += ["fused optimiser"] * self.fused
        words += ["compiled with CUDA graphs" if self.graphs else "compiled"] * self.compiled
        return ", ".join([*words, f"scored by {self.evaluation} images"])

    def run(self, model: nn.Module) -> nn.Module:
        """The network as its training steps call it: compiled where that was chosen."""
        if not self.compiled:
            return model
        return torch.compile(model, mode="reduce-overhead" if self.graphs else None)  # type: ignore[return-value]

    def begin_step(self) -> None:
        """Tell CUDA graphs that what the last step's replay returned may be written over."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()


def find_pace(
    build: Callable[[], nn.Module],
    name: str,
    *,
    label: str = "",
    shape: tuple[int, int, int, int],
    steps: int,
    device: torch.device,
    folder: Path | None,
    precision: str = "auto",
) -> tuple[Pace, str]:
    """The pace of a student, and a sentence on what was measured, empty where nothing was.

    build: makes the network, on the CPU. name: tells it from others (architecture and options); `label` is it for a person.
    shape: [B, C, H, W] of a training batch. steps: of the training; a short one is not worth the measuring. folder: where
    paces are kept; None measures nothing. precision: of the recipe; only auto leaves bfloat16 to be measured.
    """
    if folder is None or not _worth(_QUICK, steps, device):
        return default_pace(device, precision), ""
    name = name if precision == "auto" else f"{name} {precision}"
    path = folder / f"{machine_key(name, shape, device)}.json"
    if (known := _read(path, steps, device)) is not None:
        return known, ""
    with ExitStack() as alone:
        with suppress(OSError):  # where nothing can be written, every process measures for itself
            alone.enter_context(locked(path.with_suffix(".lock")))
        if (known := _read(path, steps, device)) is not None:  # another process has measured it meanwhile
            return known, ""
        with arithmetic(precision, device):
            pace, facts = measure_pace(build, shape=shape, steps=steps, device=device, precision=precision)
        try:
            write_text(path, json.dumps({"name": name, **facts}, indent=1))
        except OSError:
            pass  # measured again next time
    return pace, f"{label or name}: {pace} ({facts['why']})"


def _worth(share: float, steps: int, device: torch.device) -> bool:
    return 3 * (1 + len(_candidates(device))) <= share * steps


def _read(path: Path, steps: int, device: torch.device) -> Pace | None:
    """What was found before; None where a training of so many steps is worth looking further than was looked then."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["steps"] < steps:
            scored = "seconds_an_image_scored" in facts or not _worth(_WORTH, steps, device)
            if not scored or ("compiled" not in facts and _compilable(steps, facts["seconds"])):
                return None
        return _chosen(facts, steps)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _chosen(facts: dict[str, Any], steps: int) -> Pace:
    """Compiled where that earns back, over so many steps, what it costs every process that trains."""
    compiled = facts.get("compiled")
    if compiled is not None and steps * (facts["seconds"] - facts["seconds_compiled"]) > _COMPILE_SECONDS:
        return Pace(**compiled)
    return Pace(**facts["pace"])


def _compilable(steps: int, seconds: float) -> bool:
    return steps * seconds > 10 * _COMPILE_SECONDS  # a tenth faster pays it back


def machine_key(name: str, shape: tuple[int, ...], device: torch.device) -> str:
    """Sixteen hexadecimal digits for this student on this processor, with this torch and as many threads."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    told = [name, list(shape), device.type, kind, torch.__version__, torch.get_num_threads()]
    return blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()


def measure_pace(
    build: Callable[[], nn.Module],
    *,
    shape: tuple[int, int, int, int],
    steps: int,
    device: torch.device,
    precision: str = "auto",
) -> tuple[Pace, dict[str, Any]]:
    """Time training steps, and scoring where there are many, on random images; a candidate is taken where it is clearly
    faster than what there is.

    Returns the pace for so many steps, and what was found, in seconds: `pace` without and `compiled` with a compilation, where
    one was looked for and is faster, and `why`, a few words.
    """
    pace, thorough = default_pace(device, precision), _worth(_WORTH, steps, device)
    repeats = 3 if thorough else 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(shape, device=device)
        labels = torch.zeros(shape[0], dtype=torch.long, device=device)
        first = _step_seconds(build(), pace, images, labels, repeats=2)
        facts: dict[str, Any] = {"steps": steps, "seconds_a_step": {str(pace): first}}
        best = first
        for change in _candidates(device, precision):
            candidate = replace(pace, **change)
            took = _step_seconds(build(), candidate, images, labels, repeats=repeats)
            facts["seconds_a_step"][str(candidate)] = took
            if took < _BETTER * best:
                pace, best = candidate, took
        facts["seconds"] = fastest = best
        compiled: Pace | None = None
        looked = _compilable(steps, best)
        for change in _compilations(device) if looked else ():
            candidate = replace(pace, **change)
            try:
                took = _step_seconds(build(), candidate, images, labels, repeats=repeats)
            except Exception as fault:  # no compiler on this machine, or a network it cannot take
                facts["compile"] = f"{type(fault).__name__}: {str(fault).splitlines()[0][:200] if str(fault) else ''}"
                continue
            facts["seconds_a_step"][str(candidate)] = took
            if took < fastest:
                compiled, fastest = candidate, took
        evaluation = pace.evaluation
        if thorough:
            facts["seconds_an_image_scored"] = scored = _scoring(build(), pace, shape, device)
            evaluation = min(scored, key=lambda count: scored[count])
    facts["pace"] = asdict(replace(pace, evaluation=evaluation))
    if looked:
        facts["compiled"] = None if compiled is None else asdict(replace(compiled, evaluation=evaluation))
        facts["seconds_compiled"] = fastest
    chosen = _chosen(facts, steps)
    took = fastest if chosen.compiled else best
    return chosen, {**facts, "why": f"measured: {1000 * took:.1f} ms a step, {1000 * first:.1f} by default"}


def default_pace(device: torch.device, precision: str = "auto") -> Pace:
    gpu = device.type == "cuda"
    return Pace(bf16=precision == "bf16" or (precision == "auto" and gpu), fused=gpu)


def _candidates(device: torch.device, precision: str = "auto") -> list[dict[str, bool]]:
    """Changes that may make the default faster, tried one after the other, each on what has won before it."""
    found = [{"channels_last": False}]
    if device.type == "cpu":
        found += [{"bf16": True}] * (precision == "auto" and _has_bf16()) + [{"fused": True}]
    return found


def _compilations(device: torch.device) -> list[dict[str, bool]]:
    return [{"compiled": True}, *([{"compiled": True, "graphs": True}] if device.type == "cuda" else [])]


def _step_seconds(model: nn.Module, pace: Pace, images: Tensor, labels: Tensor, repeats: int = 3) -> float:
    """The median time of a training step, after one that is not counted."""
    model = model.to(images.device, memory_format=pace.memory_format).train()  # type: ignore[call-overload]
    run = pace.run(model)
    optimizer = SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=pace.fused)
    clock = _clock(images.device)
    images = images.contiguous(memory_format=pace.memory_format)
    times = []
    for _ in range(1 + repeats):
        start = clock()
        pace.begin_step()
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=pace.bf16):
            logits = run(images)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        times.append(clock() - start)
    return statistics.median(times[1:])


@torch.no_grad()
def _scoring(model: nn.Module, pace: Pace, shape: tuple[int, ...], device: torch.device) -> dict[int, float]:
    """Seconds an image of scoring, by the number of images a pass: the better of two runs."""
    model = model.to(device, memory_format=pace.memory_format).eval()  # type: ignore[call-overload]
    found, clock = {}, _clock(device)
    for count in _EVALUATION:
        images = torch.randn((count, *shape[1:]), device=device).contiguous(memory_format=pace.memory_format)
        times = []
        for _ in range(2):
            start = clock()
            model(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(clock() - start)
        found[count] = min(times) / count
    return found


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds; on a processor those of this process over its threads, which a busy machine lengthens less."""
    if device.type == "cuda":
        return time.perf_counter
    return lambda: time.process_time() / torch.get_num_threads()


def _has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    flags = _cpu_facts().get("flags", "")
    return "avx512_bf16" in flags or "amx_bf16" in flags or platform.machine() in ("arm64", "aarch64")


def _processor() -> str:
    return _cpu_facts().get("model name") or platform.processor() or platform.machine()


def _cpu_facts() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines[:60] if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
