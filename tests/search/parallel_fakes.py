"""What each process of a data-parallel training does in the tests."""

from __future__ import annotations

import os

import torch
from torch import nn

from autokd.config.trial import (
    DataConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TrialConfig,
)
from autokd.train.workshop import Workshop


def plain(classes, channels=1, **_):
    """A network without batch normalisation: every row stands for itself."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 8, 3, stride=2), nn.GELU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes),
    )  # fmt: skip


class Partly(nn.Module):
    """Answers twice in training, and leaves one layer out of both."""

    def __init__(self, classes, channels):
        super().__init__()
        self.body, self.aux, self.never = plain(classes, channels), nn.Linear(32, classes), nn.Linear(4, 4)

    def forward(self, x):
        pooled = self.body[:-1](x)
        return (self.body[-1](pooled), self.aux(pooled)) if self.training else self.body[-1](pooled)


def config_of(student, checkpoint, batch):
    return TrialConfig(
        data=DataConfig("digits", validation=0.2),
        student=StudentConfig(student),
        teacher=TeacherConfig("teacher", "parallel_fakes:plain", checkpoint=str(checkpoint)),
        policy=PolicyConfig("jda_cifar100", {"strength": 0.25}),
        ratio=0.5,
        method=MethodConfig("kd", {"temperature": 4.0}),
        recipe=RecipeConfig(batch=batch, lr=0.05, ema=0.9, clip=1.0),
        epochs=1,
        seed=5,
    )


def train(rank, world, port, config, folder, images):
    """Train, and leave the weights, the averaged ones and the report in `folder`."""
    wrap = None
    if world > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
        wrap = nn.parallel.DistributedDataParallel
    torch.set_num_threads(1)
    trial = Workshop(signals="live").trial(config, rank=rank, world=world, wrap=wrap)
    report = trial.advance(images)
    told = {"student": trial.student.state_dict(), "average": trial.average.state_dict(), "report": report.to_dict()}
    torch.save(told, folder / f"{world}-{rank}.pt")
    if world > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        os._exit(0)  # gloo's threads outlive the group; one that meets Python's own end aborts the process
