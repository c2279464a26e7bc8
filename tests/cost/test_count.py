"""Costs of networks outside the zoo against what their publishers say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autokd.cost.count import Cost, count, count_module
from autokd.errors import AutokdError


@pytest.mark.parametrize(
    ("name", "params", "giga_macs"),  # torchvision's own model pages, ImageNet weights
    [("resnet18", 11_689_512, 1.814), ("mobilenet_v2", 3_504_872, 0.301), ("vit_b_16", 86_567_656, 17.564)],
)
def test_torchvision_networks_cost_what_torchvision_says(name, params, giga_macs):
    pytest.importorskip("torchvision")
    cost = count(f"torchvision:{name}", classes=1000, size=224)
    assert cost.params == params
    assert cost.macs / 1e9 == pytest.approx(giga_macs, abs=0.0006)


def test_a_linear_layer_and_a_grouped_convolution_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=True), nn.Flatten(), nn.Linear(8 * 25, 3))
    assert count_module(model, channels=4, size=5) == Cost(8 * 2 * 9 + 8 + 200 * 3 + 3, 25 * 8 * 2 * 9 + 600)


def test_images_need_not_be_square():
    cost = count("resnet8", classes=100, size=(32, 16))
    assert cost.macs == (12_507_392 - 6400) // 2 + 6400


def test_counting_leaves_mode_weights_and_statistics_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_module(model, channels=3, size=8)
    assert model.training and not model[1].training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_own_code_that_reads_values_is_counted_on_the_cpu(tmp_path):
    source = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(12, classes)
    def forward(self, x):
        scale = x.abs().max().item() + 1
        return self.fc(x.flatten(1) / scale)
def net(classes):
    return Net(classes)
def wrong(classes):
    return Net(classes + 1)
def broken(classes):
    return nn.Linear(5, classes)
"""
    (tmp_path / "own.py").write_text(source)
    assert count(f"{tmp_path}/own.py:net", classes=3, size=2) == Cost(39, 36)
    with pytest.raises(AutokdError, match=r"answers one image with \[1, 4\], not with \[1, 3\]"):
        count(f"{tmp_path}/own.py:wrong", classes=3, size=2)
    with pytest.raises(AutokdError, match="cannot read an image of 3x2x2"):
        count(f"{tmp_path}/own.py:broken", classes=3, size=2)
