"""A step of training in a second: what a network does in training mode alone."""

from __future__ import annotations

import pytest
import torch

from autokd.errors import AutokdError
from autokd.train.check import check_training

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.c, self.f = nn.Conv2d(channels, 8, 3, padding=1), nn.Linear(8, classes)

    def feats(self, x):
        return torch.relu(self.c(x)).mean((2, 3))

    def forward(self, x):
        return self.f(self.feats(x))

class Several(Net):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.aux = nn.Linear(8, classes)

    def forward(self, x):
        z = self.feats(x)
        return (self.f(z), self.aux(z)) if self.training else self.f(z)

class Unused(Net):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.never = nn.Linear(4, 4)

class Half(Net):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.half()

class Viewing(Net):
    def feats(self, x):
        return self.c(x).view(x.shape[0], -1)[:, :8]

class Frozen(Net):
    def __init__(self, classes, channels):
        super().__init__(classes, channels)
        self.requires_grad_(False)

class Endless(Net):
    def forward(self, x):
        return super().forward(x) / 0

class Pairs(Net):
    def forward(self, x):
        return {"boxes": self.f(self.feats(x))} if self.training else self.f(self.feats(x))

class Chances(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)
"""


@pytest.fixture
def tried(tmp_path):
    (tmp_path / "own.py").write_text(OWN)

    def call(name):
        return check_training(f"{tmp_path}/own.py:{name}", classes=4, channels=3, size=(8, 6), label=name)

    return call


def test_a_network_that_trains_is_no_news_and_nothing_of_it_stays(tried):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    assert tried("Net") == ()
    assert check_training("resnet8x0.5", classes=4, channels=3, size=(64, 16)) == ()
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_what_a_person_should_know_of_one_that_trains_is_told(tried):
    answers, left = tried("Several")
    assert answers == "Several returns several outputs in training mode; only its logits are trained"
    # a linear layer of 8 x 4 and 4, and one of 4 x 4 and 4
    assert left == "Several: 36 parameters get no gradient (aux.weight, aux.bias); they are still counted and exported"
    assert tried("Unused")[0].startswith("Unused: 20 parameters get no gradient (never.weight, never.bias)")
    assert "seems to return probabilities" in tried("Chances")[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Half", "Half cannot be trained: RuntimeError: "),
        ("Viewing", "Viewing cannot be trained with channels last: RuntimeError: view size is not compatible"),
        ("Frozen", "none of its parameters requires a gradient"),
        ("Endless", "Endless: the loss on random images is not finite"),
        ("Pairs", "Pairs in training mode answers with a dict, not with logits"),
    ],
)
def test_one_that_cannot_be_trained_is_a_fault_by_name(tried, name, words):
    with pytest.raises(AutokdError) as fault:
        tried(name)
    assert words in fault.value.what and fault.value.fix
