"""Times networks in a process of its own: `python -m autokd.cost.timing`, a JSON job on stdin, an answer a line on stdout.

The job: {"deployment": {…}, "cap": seconds, "networks": [{"key", "model", "options", "classes", "channels", "size"}, …]}.
An answer: {"key", "timing"} or {"key", "fault": [what, where, fix]}. Its environment sets how many threads the libraries start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from autokd.config.limits import Deployment
from autokd.cost.latency import Timing, repeat
from autokd.errors import AutokdError

__all__ = ["time_network"]


def time_network(
    model: str,
    deployment: Deployment,
    *,
    classes: int,
    channels: int,
    size: int | tuple[int, int],
    options: dict[str, Any] | None = None,
    cap: float = 4.0,
) -> Timing:
    """Build the network with first weights (their values take no part in the time) and time its inference.

    Threads are those of this process from now on. Raises AutokdError where the deployment cannot be had here.
    """
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
        network(images)
        if device.type == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        try:
            return repeat(infer, cap=cap) if device.type == "cpu" else repeat(infer, cap=cap, processor=None)
        except Exception as fault:
            said = " ".join(str(fault).split())[:300]
            raise AutokdError(
                f"{model} does not run with {deployment}: {type(fault).__name__}: {said}",
                fix="runtime: torch and dtype: float32 run everywhere",
            ) from fault


def _serve(job: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    deployment = Deployment(**job["deployment"])
    for network in job["networks"]:
        asked = {name: network[name] for name in ("model", "options", "classes", "channels", "size")}
        asked["size"] = asked["size"] if isinstance(asked["size"], int) else tuple(asked["size"])
        try:
            timing = time_network(deployment=deployment, cap=job["cap"], **asked)
        except AutokdError as fault:
            say({"key": network["key"], "fault": [fault.what, fault.where, fault.fix]})
        else:
            say({"key": network["key"], "timing": timing.to_dict()})


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what networks and libraries print is no answer

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    _serve(json.load(sys.stdin), say)


if __name__ == "__main__":
    _main()
