"""A trial on several workers at once: Ray Train starts them and torch averages their gradients.

Each worker trains on its rows of every batch (autokd.train.trial), so that a step is that of one worker with the whole batch.
Batch normalisation is synchronised on GPUs; torch cannot do that on CPUs, where each worker normalises its own rows and the
first one's running statistics are kept. The first worker writes the checkpoints.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

__all__ = ["Verdicts", "parallel_student"]


class Verdicts:
    """Whether a trial goes on from a checkpoint: told by the search, waited for by the trial's workers. A Ray actor, since
    a trial of several workers has to end by itself: killed from outside, Ray Train leaves its workers' places taken."""

    def __init__(self) -> None:
        self.told: dict[str, asyncio.Future[bool]] = {}

    async def tell(self, checkpoint: str, go_on: bool) -> None:
        asked = self._of(checkpoint)
        if asked.done():  # a trial that started anew
            del self.told[checkpoint]
            asked = self._of(checkpoint)
        asked.set_result(go_on)

    async def wait(self, checkpoint: str) -> bool:
        return await self._of(checkpoint)

    def _of(self, checkpoint: str) -> asyncio.Future[bool]:
        return self.told.setdefault(checkpoint, asyncio.get_running_loop().create_future())


def parallel_student(config: dict[str, Any]) -> None:
    """A function for Ray Tune: train the order's trial to its end, and pass on what it tells at each mark.

    config: `order` (JSON, of autokd.search.work.order_of), `workers`, `cpus` and `gpus` of each, `verdicts` to be asked.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    order = json.loads(config["order"])
    folder = Path(order["run"]) / "ray" / "train"
    callbacks: list[Any] = [TuneReportCallback()]
    TorchTrainer(
        _train,
        train_loop_config={
            "order": config["order"],
            "verdicts": config["verdicts"],
            "threads": max(1, int(config["cpus"])),
        },
        torch_config=TorchConfig(backend="nccl" if config["gpus"] else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config["workers"],
            use_gpu=config["gpus"] > 0,
            resources_per_worker={"CPU": config["cpus"], **({"GPU": config["gpus"]} if config["gpus"] else {})},
        ),
        run_config=RunConfig(name=order["trial"], storage_path=str(folder), callbacks=callbacks),
    ).fit()


def _train(config: dict[str, Any]) -> None:
    """What each worker does."""
    import ray
    import ray.train
    from ray.train.torch import get_device

    from autokd.search.work import Job, bench_of

    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    order = json.loads(config["order"])
    bench = bench_of({"device": str(get_device()), **order["bench"], "threads": config["threads"]})
    job = Job(order, bench, rank=rank, world=world, wrap=_wrapped)
    job.watch_signals()
    try:
        while job.next < len(job.marks):
            told = job.step()
            if told.get("machine"):  # of this worker alone: the others wait for it, so all have to start anew
                raise RuntimeError(told["failed"])
            ray.train.report({"told": json.dumps(told)})
            if "failed" in told or not ray.get(config["verdicts"].wait.remote(told["checkpoint"])):
                return
    finally:
        job.close()


def _wrapped(model: Any, *, find_unused_parameters: bool) -> Any:
    import torch
    from ray.train.torch import prepare_model

    if next(model.parameters()).is_cuda:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    unused = {"find_unused_parameters": find_unused_parameters}
    return prepare_model(model, move_to_device=False, parallel_strategy_kwargs=unused)
