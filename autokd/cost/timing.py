"""Times networks in a process of its own: `python -m autokd.cost.timing`, a JSON job on stdin, an answer a line on stdout.

The job: {"deployment": {…}, "cap": seconds, "networks": [{"key", "model", "options", "classes", "channels", "size"}, …]}.
An answer: {"key", "timing"} or {"key", "fault": [what, where, fix]}. {"key", "begun"} comes before each measurement and names the
network if the process crashes. Each network is timed in two passes, the second after the first pass of all others, unless the
first took longer than the cap. The environment sets how many threads the libraries start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from autokd.config.limits import Deployment
from autokd.cost.latency import Pass, Timing, timing_of, timing_pass
from autokd.errors import AutokdError

__all__ = ["time_network"]

_TURNS = 2


def time_network(model: str, deployment: Deployment, *, cap: float = 4.0, **image: Any) -> Timing:
    """Build the network with random weights, fuse it (autokd.models.fuse) and time its inference in one pass.

    image: classes, channels, size and options. Sets the number of threads of this process. Raises AutokdError if this machine
    cannot run the deployment.
    """
    return timing_of([_pass_of(_ready(model, deployment, **image), model, deployment, cap)])


def _ready(
    model: str,
    deployment: Deployment,
    *,
    classes: int,
    channels: int,
    size: int | tuple[int, int],
    options: dict[str, Any] | None = None,
) -> Callable[[], None]:
    """A function that runs one inference."""
    import torch

    from autokd.models.build import build, sides
    from autokd.models.fuse import fused

    if deployment.device == "cuda" and not torch.cuda.is_available():
        raise AutokdError("there is no GPU here to time students on", fix="measure on a machine with one, or device: cpu")
    torch.set_num_threads(deployment.threads)
    device, dtype = torch.device(deployment.device), getattr(torch, deployment.dtype)
    network: Any = build(model, classes=classes, channels=channels, size=size, options=options, seed=0)
    network = fused(network.eval()).to(device, dtype)
    if deployment.runtime == "compiled":
        network = torch.compile(network)
    images = torch.randn(deployment.batch, channels, *sides(size), generator=torch.Generator().manual_seed(0)).to(device, dtype)

    def infer() -> None:
        with torch.inference_mode():
            network(images)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return infer


def _pass_of(infer: Callable[[], None], model: str, deployment: Deployment, cap: float, like: Pass | None = None) -> Pass:
    settings: dict[str, Any] = {"cap": cap, "like": like, "threads": deployment.threads}
    try:
        return timing_pass(infer, **settings) if deployment.device == "cpu" else timing_pass(infer, **settings, processor=None)
    except Exception as fault:
        said = " ".join(str(fault).split())[:300]
        raise AutokdError(
            f"{model} does not run with {deployment}: {type(fault).__name__}: {said}",
            fix="runtime: torch and dtype: float32 run everywhere",
        ) from fault


def _serve(job: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    deployment = Deployment(**job["deployment"])
    passes: dict[str, list[Pass]] = {}
    compiled: dict[str, Callable[[], None]] = {}  # kept between passes, since compiling takes long; others are built again
    left = list(job["networks"])
    for turn in range(_TURNS):
        for network in list(left):
            key, model = network["key"], network["model"]
            image = {name: network[name] for name in ("options", "classes", "channels", "size")}
            image["size"] = image["size"] if isinstance(image["size"], int) else tuple(image["size"])
            say({"key": key, "begun": turn})
            try:
                infer = compiled.pop(key, None) or _ready(model, deployment, **image)
                some = passes.setdefault(key, [])
                some.append(_pass_of(infer, model, deployment, job["cap"] / _TURNS, some[0] if some else None))
            except AutokdError as fault:
                left.remove(network)
                say({"key": key, "fault": [fault.what, fault.where, fault.fix]})
                continue
            if turn + 1 == _TURNS or some[-1].seconds > job["cap"]:
                left.remove(network)
                say({"key": key, "timing": timing_of(some).to_dict()})
            elif deployment.runtime == "compiled":
                compiled[key] = infer


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what networks and libraries print is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    _serve(json.load(sys.stdin), say)


if __name__ == "__main__":
    _main()
