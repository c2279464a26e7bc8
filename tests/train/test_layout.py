"""Convolutions that channels last breaks: which they are, and that they are trained in the other order, as they would be."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from autokd.models.build import build
from autokd.train.layout import compilable, unsafe, use_safe_layout
from autokd.train.pace import Pace

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("layer", "broken"),
    [
        (nn.Conv2d(8, 16, 1, 2), True),
        (nn.Conv2d(15, 16, 1, (1, 2)), True),
        (nn.Conv2d(16, 32, 1, 2), False),
        (nn.Conv2d(8, 16, 1), False),
        (nn.Conv2d(8, 16, 3, 2, 1), False),
        (nn.Conv2d(8, 16, 1, 2, padding=1), False),
        (nn.Conv2d(8, 16, 1, 2, groups=4), False),
        (nn.Linear(8, 16), False),
    ],
)
def test_it_is_a_dense_1x1_convolution_with_a_stride_on_few_channels(layer, broken):
    assert unsafe(layer) is broken


def test_such_a_layer_reads_channels_first_and_the_others_as_they_were(monkeypatch):
    seen = {}
    network = build("resnet8x0.5", classes=4, size=64, seed=0).to(memory_format=torch.channels_last).eval()
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    before = network(images)
    use_safe_layout(use_safe_layout(network))
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, out, name=name: seen.update({name: inputs[0].stride(1)}))
    torch.testing.assert_close(network(images), before)
    # a channel beside the next one, or a whole plane of 64x64 places apart; the second is too small to break
    assert seen["layer2.0.downsample.0"] == 64 * 64 and seen["layer3.0.downsample.0"] == seen["layer1.0.conv1"] == 1
    assert network.layer2[0].downsample[0].weight.stride() == (8, 1, 1, 1)
    assert all(len(layer._forward_pre_hooks) <= 1 for layer in network.modules())


def test_a_network_that_holds_one_is_not_compiled(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, mode=None: "compiled")
    narrow, wide = (build(name, classes=4, size=32, seed=0) for name in ("resnet8x0.5", "resnet8"))
    assert not compilable(narrow, CPU) and compilable(wide, CPU) and compilable(narrow, torch.device("cuda"))
    assert Pace(compiled=True).run(narrow) is narrow and Pace(compiled=True).run(wide) == "compiled"


def test_the_shape_that_ended_processes_is_trained():
    """A step of resnet8x0.5 on 64x64 channels last: with AVX-512 and torch 2.15 it was SIGSEGV. In a process of its own, so that
    a crash is one failed test."""
    code = """
import torch
from torch import nn
from autokd.models.build import build
from autokd.train.pace import Pace
torch.set_num_threads(1)
for half in (False, True):
    model = Pace().prepare(build("resnet8x0.5", classes=4, size=64, seed=0), torch.device("cpu")).train()
    images = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        logits = model(images)
    nn.functional.cross_entropy(logits.float(), torch.zeros(4, dtype=torch.long)).backward()
    assert model.layer2[0].downsample[0].weight.grad.abs().sum() > 0
print("alive")
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stdout.strip()) == (0, "alive"), made.stderr[-2000:]
