"""The optimisers do what torch's do, step for step, and bring no compiler with them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from autokd.train.optimiser import SGD, AdamW

PAIRS = [
    (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}),
    (AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
]


def trained(kind, settings, steps, optimizer=None, model=None):
    if model is None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = optimizer or kind(model.parameters(), **settings)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        model(torch.randn(16, 4, generator=generator)).square().mean().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize(("ours", "theirs", "settings"), PAIRS)
def test_weights_after_some_steps_are_those_of_torch_bit_for_bit(ours, theirs, settings):
    (one, _), (other, _) = trained(ours, settings, 5), trained(theirs, settings, 5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("ours", "theirs", "settings"), PAIRS)
def test_a_state_goes_over_to_torch_s_and_back(ours, theirs, settings):
    model, optimizer = trained(ours, settings, 3)
    goes_on = theirs(model.parameters(), **settings)
    goes_on.load_state_dict(optimizer.state_dict())
    trained(theirs, settings, 2, goes_on, model)
    back = ours(model.parameters(), **settings)
    back.load_state_dict(goes_on.state_dict())
    trained(ours, settings, 2, back, model)

    plain, own = trained(theirs, settings, 3)
    trained(theirs, settings, 2, own, plain)
    trained(theirs, settings, 2, own, plain)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_no_gradient_flows_through_a_step():
    model, optimizer = trained(SGD, {"lr": 0.1}, 1)
    assert all(p.grad is not None and p.grad_fn is None and p.requires_grad for p in model.parameters())
    assert isinstance(optimizer, torch.optim.SGD)


def test_steps_and_a_learning_rate_group_do_not_import_the_compiler():
    code = """
import sys
import torch
from autokd.train.optimiser import SGD, AdamW
for kind in (SGD, AdamW):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
