"""A small teacher, small images, and the kept signals between them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autokd.augment.build import build_policy
from autokd.augment.views import Views
from autokd.signals.cache import CachedSignals
from autokd.signals.store import Store
from autokd.signals.teacher import Teacher

ROWS = 700  # more than one chunk, the last one not full


class Bench:
    """What a training has at hand: views, a teacher that counts how many images it was shown, and signals in a folder."""

    def __init__(self, classes: int = 5) -> None:
        generator = torch.Generator().manual_seed(3)
        pixels = torch.randint(0, 256, (ROWS, 3, 8, 8), dtype=torch.uint8, generator=generator)
        policy = build_policy("jda_cifar10", {}, ())
        self.views = Views(pixels, torch.arange(ROWS) + 1000, policy, padding=1, flip=True, seed=5)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))
        with torch.no_grad():
            network[1].weight.copy_(torch.randn(classes, 192, generator=generator))
        self.teacher = Teacher(network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        self.asked: list[int] = []
        network.register_forward_hook(lambda _module, inputs, _out: self.asked.append(len(inputs[0])))

    def render(self, rows, view, augmented):
        return self.views.render(rows, view, augmented).pixels

    def signals(self, folder, *, max_gb=1.0, **changes):
        facts = {
            "data": "da7a",
            "rows": ROWS,
            "keys": (self.views.key(False), self.views.key(True)),
            "render": self.render,
        } | changes
        return CachedSignals(Store(folder, max_gb=max_gb), facts.pop("teacher", self.teacher), **facts)

    def live(self, rows, view, augmented):
        return self.teacher.logits(self.render(rows, view, augmented))


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def bench_of():
    return Bench
