from __future__ import annotations

import pytest
import torch

from autokd.cost.count import examine
from autokd.cost.file_size import file_size
from autokd.models.build import build
from autokd.models.checkpoint import save_weights


@pytest.mark.parametrize("name", ["resnet8", "shufflenetv2", "wrn_16_2"])
def test_the_size_is_that_of_the_file_to_the_byte(name, tmp_path):
    model = build(name, classes=10, channels=1, size=8, seed=0)
    save_weights(model, tmp_path / "student.safetensors")
    size = (tmp_path / "student.safetensors").stat().st_size
    assert file_size(model) == size
    assert examine(name, file_size, classes=10, channels=1, size=8) == size  # on the meta device, where nothing lies


def test_a_file_worked_by_hand(tmp_path):
    """8 bytes of length, a header of a multiple of 8 bytes, 10 x 256 + 10 numbers of 4 bytes."""
    size = file_size(torch.nn.Linear(256, 10))
    assert 4 * 2570 + 8 < size < 4 * 2570 + 8 + 256 and (size - 4 * 2570) % 8 == 0
    assert file_size(torch.nn.Linear(256, 10).half()) < size - 2 * 2570 + 8
