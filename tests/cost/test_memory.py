from __future__ import annotations

import pytest
import torch
from torch import nn

from autokd.cost.memory import memory

IMAGE = 1 * 8 * 8 * 4  # bytes


def net(*layers) -> nn.Module:
    """Convolution to 4 x 8 x 8 without a bias (144 bytes of weights), what stands between, and 10 outputs (10 280 bytes)."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), *layers, nn.Flatten(), nn.Linear(256, 10))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_memory_worked_by_hand(device):
    with torch.device(device):
        plain, in_place = net(nn.ReLU()), net(nn.ReLU(inplace=True))
    weights, map_ = 3 * 3 * 4 * 4 + (256 * 10 + 10) * 4, 4 * 8 * 8 * 4
    # the image, the convolution's result and the ReLU's are alive at once; flattening is a view
    assert memory(plain, channels=1, size=8) == weights + IMAGE + 2 * map_
    # in place there is one map, and most is alive when the ten outputs are made
    assert memory(in_place, channels=1, size=8) == weights + IMAGE + map_ + 10 * 4


def test_a_branch_that_is_kept_for_later_counts_until_it_is_used():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shift", torch.zeros(5))

        def forward(self, x):
            kept = x + 1
            for _ in range(3):
                x = x * 2  # the earlier product is let go
            return kept + x

    # 20 bytes of buffer; the image, what is kept, the last product, and the sum or the next product
    assert memory(Residual(), channels=1, size=8) == 20 + 4 * IMAGE


def test_half_the_width_is_half_the_memory_and_the_mode_is_left_as_it_was():
    model = net(nn.Dropout()).train()
    full = memory(model, channels=1, size=8)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert memory(model.half(), channels=1, size=8) * 2 == full


def test_weights_that_two_layers_share_count_once():
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    # in and out of the layer at once, and the image that the caller holds
    assert memory(nn.Sequential(layer, layer), channels=1, size=8) == 36 + 3 * IMAGE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_allocator_sees_about_as_much():
    from autokd.models.build import build

    model = build("wrn_16_2", classes=10, channels=3, size=32, seed=0).cuda()
    expected = memory(model, channels=3, size=32)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        torch.cuda.reset_peak_memory_stats()
        model.eval()(torch.zeros(1, 3, 32, 32, device="cuda"))
    assert 0.9 * expected < torch.cuda.max_memory_allocated() < 2 * expected
