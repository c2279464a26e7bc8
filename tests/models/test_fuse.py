"""Networks that are deployed in another form than they are trained in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from autokd.cost.count import count
from autokd.errors import AutokdError
from autokd.finalize.export import export_students
from autokd.finalize.facts import Facts, from_text, to_text
from autokd.finalize.student import open_student
from autokd.models.build import build
from autokd.models.fuse import fused
from autokd.search.feasible import _counted

OWN = """
import torch
from torch import nn

def folded(conv, norm, size=1):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    kernel = nn.functional.pad(conv.weight, [size - 1] * 4) * scale[:, None, None, None]
    return kernel, norm.bias - norm.running_mean * scale

class Rep(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.wide, self.wide_norm = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.thin, self.thin_norm = nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.one = None

    def forward(self, x):
        return self.one(x) if self.one is not None else self.wide_norm(self.wide(x)) + self.thin_norm(self.thin(x))

    def METHOD(self):
        (kernel, bias), (more, extra) = folded(self.wide, self.wide_norm), folded(self.thin, self.thin_norm, 2)
        self.one = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        self.one.weight.data, self.one.bias.data = kernel + more, bias + extra + WRONG
        del self.wide, self.wide_norm, self.thin, self.thin_norm

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.rep, self.fuse, self.fc = Rep(channels, 4), nn.ReLU(), nn.Linear(4, classes)  # a layer may be called fuse

    def forward(self, x):
        return self.fc(self.fuse(self.rep(x)).mean((2, 3)))

    def reparameterize(self, how):  # needs an argument: not what is meant
        raise RuntimeError
"""


def own(folder, method="switch_to_deploy", wrong="0"):
    (folder / "own.py").write_text(OWN.replace("METHOD", method).replace("WRONG", wrong))
    return f"{folder}/own.py:Net"


def seen(model):
    """With statistics as after a training."""
    generator = torch.Generator().manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.5, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
    return model


@pytest.mark.parametrize("method", ["fuse", "reparameterize", "switch_to_deploy"])
def test_a_network_of_ones_own_is_counted_as_it_is_deployed_and_stays_what_is_trained(tmp_path, method):
    name = own(tmp_path, method)
    told = count(name, classes=5, channels=3, size=(6, 8))
    # one 3x3 convolution with a bias on 48 places, and the classifier; the branches would be 3x3 and 1x1, and two norms
    assert (told.params, told.macs) == (4 * 27 + 4 + 4 * 5 + 5, 48 * 4 * 27 + 4 * 5)
    assert _counted(name, {}, classes=5, channels=3, size=(6, 8)).file_size < 4 * told.params + 1000
    model = seen(build(name, classes=5, channels=3, size=8, seed=0))
    images = torch.randn(4, 3, 8, 8)
    made = fused(model, images)
    assert made.autokd_blueprint.fused and not model.autokd_blueprint.fused and model.training
    torch.testing.assert_close(made(images), model.eval()(images))
    assert "rep.wide.weight" in model.state_dict() and "rep.one.weight" in made.state_dict()


def test_a_form_that_answers_otherwise_or_cannot_be_made_is_a_fault_that_names_the_method(tmp_path):
    model = seen(build(own(tmp_path, wrong="0.3"), classes=5, channels=3, size=8, seed=0))
    with pytest.raises(AutokdError, match=r"own\.py:Net gives other answers when it is re-parameterised: by 0\.\d+ of") as fault:
        fused(model, torch.randn(4, 3, 8, 8))
    assert "switch_to_deploy of its blocks" in fault.value.fix
    (tmp_path / "b").mkdir()
    with pytest.raises(AutokdError, match="cannot be re-parameterised: NameError"):
        fused(build(own(tmp_path / "b", wrong="nothing"), classes=5, channels=3, size=8, seed=0))


def test_a_network_whose_logits_are_no_numbers_is_told_by_that_and_not_as_one_that_answers_otherwise(tmp_path):
    model = seen(build(own(tmp_path), classes=5, channels=3, size=8, seed=0))
    model.fc.bias.data.fill_(torch.inf)
    with pytest.raises(AutokdError, match=r"the logits of .*own\.py:Net are not finite"):
        fused(model, torch.randn(4, 3, 8, 8))


def test_a_network_without_such_blocks_is_itself():
    model = build("resnet8", classes=5, size=8, seed=0)
    assert fused(model) is model


def test_an_exported_student_loads_again_in_the_form_it_is_deployed_in(tmp_path):
    name = own(tmp_path)
    model = seen(build(name, classes=2, channels=3, size=8, seed=0)).eval()
    facts = Facts(name, {}, ("a", "b"), 3, 8, 8, (0.5,) * 3, (0.25,) * 3, fused=True)
    assert from_text(to_text(facts), "here") == facts and '"form": 2' in to_text(facts)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    told = export_students(fused(model), facts, tmp_path / "out", ("safetensors",), pixels, pixels, print)
    assert told["safetensors"]["largest_difference"] < 1e-5
    student = open_student(tmp_path / "out" / "student.safetensors", own_code=True)
    with torch.no_grad():
        trained = model((torch.from_numpy(pixels).float() / 255 - 0.5) / 0.25).numpy()
    np.testing.assert_allclose(student.logits(pixels), trained, atol=1e-5)


def test_mobileone_costs_what_its_paper_says_it_runs_with():
    """ "MobileOne", arXiv:2206.04040, table 9: S0 has 2.1 M parameters and 275 M multiply-accumulates at 224."""
    told = count("timm:mobileone_s0", classes=1000, channels=3, size=224)
    assert round(told.params / 1e6, 1) == 2.1 and round(told.macs / 1e6) == 275


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobileone_s0", "repvgg_a0", "fastvit_t8", "repvit_m0_9", "repghostnet_050", "levit_128s"])
def test_timms_networks_answer_alike_in_both_forms_and_load_again(name, tmp_path):
    size = 224 if name == "levit_128s" else 64
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, size, size), dtype=np.uint8)
    images = (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.25
    model = build(f"timm:{name}", classes=7, size=size, seed=0).train()
    with torch.no_grad():
        for _ in range(30):
            model(images)
        wanted = model.eval()(images).numpy()
    made = fused(model, images)
    told = count(f"timm:{name}", classes=7, size=size)
    assert told.params == sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in model.parameters())
    facts = Facts(f"timm:{name}", {}, tuple("abcdefg"), 3, size, size, (0.5,) * 3, (0.25,) * 3, fused=True)
    forms = ("safetensors", "pt2") if name == "mobileone_s0" else ("safetensors",)
    written = export_students(made, facts, tmp_path, forms, pixels, pixels, print)
    assert all("file" in one for one in written.values())
    found = open_student(tmp_path / "student.safetensors").logits(pixels)
    assert np.abs(found - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())
