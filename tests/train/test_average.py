"""The moving average against one worked out in float64, and against PyTorch's own."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from autokd.train.average import Average


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def changed(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in (*model.parameters(), *model.buffers()):
            if one.is_floating_point():
                one.copy_(torch.randn(one.shape, generator=generator))
            else:
                one += 1


def test_it_is_the_average_worked_out_by_hand():
    model = student()
    average = Average(model, 0.95)
    expected = None
    for number in range(30):
        changed(model, number)
        now = model[3].weight.detach().double().numpy().copy()
        decay = min(0.95, (1 + number) / (10 + number))
        expected = now if expected is None else decay * expected + (1 - decay) * now
        average.update()
    np.testing.assert_allclose(average.module[3].weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert int(average.module[1].num_batches_tracked) == int(model[1].num_batches_tracked) == 30
    assert not np.allclose(average.module[1].running_mean.numpy(), model[1].running_mean.numpy())


def test_it_agrees_with_the_one_of_pytorch_and_has_the_same_state():
    model = student()
    ours = Average(model, 0.9)
    theirs = AveragedModel(
        model,
        avg_fn=lambda mean, value, n: mean + (1 - min(0.9, (1 + int(n)) / (10 + int(n)))) * (value - mean),
        use_buffers=True,
    )
    for number in range(20):
        changed(model, number)
        ours.update()
        theirs.update_parameters(model)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-5)


def test_a_loaded_average_goes_on_as_if_nothing_had_happened():
    model = student()
    whole = Average(model, 0.9)
    for number in range(5):
        changed(model, number)
        whole.update()
    twin = deepcopy(model)
    again = Average(twin, 0.9)
    again.load_state_dict(whole.state_dict())
    for one, average in ((model, whole), (twin, again)):
        changed(one, 99)
        average.update()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_student_itself_is_left_alone(layout):
    model = student().to(memory_format=layout)
    before = deepcopy(model.state_dict())
    average = Average(model, 0.9)
    average.update()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert average.module[0].weight.data_ptr() != model[0].weight.data_ptr()
