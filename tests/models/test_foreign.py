"""Networks that are not the zoo's: libraries and a person's own code."""

from __future__ import annotations

import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from autokd.cost.count import count
from autokd.errors import AutokdError
from autokd.models.build import build
from autokd.models.features import forward_features, logits_of
from autokd.models.zoo import anchor

OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels, width):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2 * width, classes)
    def forward(self, x):
        return self.fc(self.pool(self.down(self.stem(x))).flatten(1))

def both(classes, channels, width=4): return Net(classes, channels, width)
def only_classes(*, classes): return Net(classes, 3, 4)
def neither(): return Net(10, 3, 4)
def anything(**settings): return Net(settings["classes"], settings["channels"], settings.get("width", 2))
def not_a_net(classes): return [classes]
def falls_over(classes): raise KeyError("no such thing")
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "nets.py").write_text(OWN)
    return f"{tmp_path}/nets.py"


def test_own_code_gets_what_it_accepts_and_every_option(own):
    assert build(f"{own}:both", classes=7, channels=1, options={"width": 6}).fc.weight.shape == (7, 12)
    assert build(f"{own}:only_classes", classes=7).fc.weight.shape == (7, 8)
    assert build(f"{own}:neither", classes=10).fc.weight.shape == (10, 8)
    assert build(f"{own}:anything", classes=7, channels=2).stem[0].weight.shape == (2, 2, 3, 3)


def test_own_code_is_the_same_class_each_time_and_seeded(own):
    one, two = (build(f"{own}:both", classes=7, seed=3) for _ in range(2))
    assert type(one) is type(two)
    assert torch.equal(one.fc.weight, two.fc.weight)


def test_a_module_in_the_current_folder_is_found(own, tmp_path, monkeypatch):
    (tmp_path / "nets_of_this_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert build("nets_of_this_test:both", classes=3).fc.out_features == 3
    assert build("nets.py:both", classes=3).fc.out_features == 3


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{own}:bothh", "did you mean 'both'"),
        ("{own}:not_a_net", "returned a list, not a torch.nn.Module"),
        ("{own}:falls_over", "KeyError: 'no such thing'"),
        ("missing/file.py:f", "there is no file missing/file.py"),
        ("no_such_module_at_all:f", "there is no module 'no_such_module_at_all'"),
        ("json:dumps", "json:dumps"),
    ],
)
def test_faults_of_own_code_are_told_by_name(own, name, told):
    with pytest.raises(AutokdError) as caught:
        build(name.format(own=own), classes=3)
    assert told in str(caught.value)


def test_an_option_the_code_does_not_take_is_told_with_the_call(own):
    with pytest.raises(AutokdError, match="unexpected keyword argument 'depth'(.|\n)*classes=3, channels=3, depth=8"):
        build(f"{own}:both", classes=3, options={"depth": 8})


LAZY = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, reads=True):
        super().__init__()
        self.c, self.f, self.reads = nn.LazyConv2d(8, 3, padding=1), nn.LazyLinear(classes), reads
        self.other = nn.Identity() if reads else nn.LazyLinear(3)
    def forward(self, x):
        return self.f(self.c(x).flatten(1))
"""


def test_lazy_layers_know_their_shapes_once_it_is_built(tmp_path):
    (tmp_path / "lazy.py").write_text(LAZY)
    name = f"{tmp_path}/lazy.py:Net"
    one, two = (build(name, classes=5, channels=2, size=(4, 6), seed=3) for _ in range(2))
    # 8 filters of 2x3x3 with a bias; 5 classes of 8 maps of 4x6, with a bias
    assert sum(p.numel() for p in one.parameters()) == 8 * 19 + 5 * (8 * 24 + 1)
    assert one.training and torch.equal(one.f.weight, two.f.weight)
    assert count(name, classes=5, channels=2, size=(4, 6)).params == 8 * 19 + 5 * 193
    with pytest.raises(AutokdError, match=r"other\.weight of .*lazy\.py:Net is lazy and not used"):
        build(name, classes=5, channels=2, size=4, seed=3, options={"reads": False})


def test_torchvisions_auxiliary_classifiers_are_left_out_unless_they_are_asked_for():
    """GoogLeNet: 6.6 M parameters with 1000 classes (torchvision's page), and 13.0 M with both auxiliary classifiers."""
    assert count("torchvision:googlenet", classes=1000, size=224).params == 6_624_904
    assert count("torchvision:googlenet", classes=1000, size=224, options={"aux_logits": True}).params == 13_004_888
    model = build("torchvision:inception_v3", classes=3, size=96, seed=0).train()
    assert logits_of(model(torch.zeros(2, 3, 96, 96))).shape == (2, 3)


def test_the_logits_are_the_first_of_several_answers():
    main, other = torch.zeros(2, 3), torch.ones(2, 3)
    Named = namedtuple("Named", "logits aux")
    for answer in (main, (main, other), [main], Named(main, other), {"aux": other, "logits": main}, SimpleNamespace(logits=main)):
        assert logits_of(answer) is main
    for answer in ({"boxes": main}, torch.zeros(3), (), None):
        with pytest.raises(AutokdError, match="not with logits"):
            logits_of(answer)


def test_a_file_with_an_error_in_it_is_told(tmp_path):
    (tmp_path / "bad.py").write_text("def f(:\n")
    with pytest.raises(AutokdError, match="SyntaxError"):
        build(f"{tmp_path}/bad.py:f", classes=3)


def test_torchvision_networks_take_classes_and_channels():
    pytest.importorskip("torchvision")
    model = build("torchvision:resnet18", classes=5, channels=1, seed=0).eval()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    with pytest.raises(AutokdError, match="did you mean 'resnet18'"):
        build("torchvision:resnet18b", classes=5)
    with pytest.raises(AutokdError, match="has no published weights 'IMAGENET9'(.|\n)*IMAGENET1K_V1"):
        build("torchvision:resnet18", classes=5, weights="IMAGENET9")
    with pytest.raises(AutokdError, match="know 1000 classes, the data has 5"):
        build("torchvision:resnet18", classes=5, weights="IMAGENET1K_V1")
    with pytest.raises(AutokdError, match="read 3 channels, the data has 1"):
        build("torchvision:resnet18", classes=1000, channels=1, weights="IMAGENET1K_V1")


def test_timm_networks_take_classes_channels_and_a_fixed_size():
    pytest.importorskip("timm")
    model = build("timm:vit_tiny_patch16_224", classes=5, channels=1, size=32, seed=0).eval()
    features = forward_features(model, torch.zeros(2, 1, 32, 32))
    assert features.logits.shape == (2, 5) and features.pooled.shape == (2, 192)
    with pytest.raises(AutokdError, match="timm has no network"):
        build("timm:resnet18x", classes=5)


def test_features_of_a_foreign_network_are_the_outermost_maps(own):
    model = build(f"{own}:both", classes=7, seed=0).eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features = forward_features(model, images)
    stem = model.stem(images)
    down = model.down(stem)
    torch.testing.assert_close(features.stages, (stem, down))
    torch.testing.assert_close(features.pooled, down.mean((2, 3)))
    torch.testing.assert_close(features.logits, model(images))
    assert not any(module._forward_hooks for module in model.modules())


def test_features_of_torchvisions_resnet_are_its_stages():
    pytest.importorskip("torchvision")
    with torch.device("meta"):
        features = forward_features(build("torchvision:resnet18", classes=5), torch.zeros(2, 3, 64, 64))
    assert [tuple(stage.shape[1:]) for stage in features.stages] == [
        (64, 32, 32),
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]
    assert features.pooled.shape == (2, 512)


@pytest.fixture
def one_process(tmp_path):
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["resnet8x0.5", "both"])
def test_reading_features_of_a_distributed_network_still_synchronises_gradients(own, one_process, name):
    model = build(name if name != "both" else f"{own}:both", classes=3, seed=0)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    sent = []

    def listen(state, bucket):
        sent.append(bucket.buffer().numel())
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    wrapped.register_comm_hook(None, listen)
    features = forward_features(wrapped, torch.randn(2, 3, 8, 8))
    features.logits.sum().backward()
    assert len(features.stages) >= 2
    assert sum(sent) == sum(p.numel() for p in model.parameters())


def test_a_file_is_found_from_another_folder_once_its_path_is_anchored(own, tmp_path, monkeypatch):
    name = anchor("nets.py:both", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert build(name, classes=3).fc.out_features == 3
    assert anchor("../nets.py:both") == name
    assert [anchor(n) for n in ("resnet8", "timm:x", "package.module:f")] == ["resnet8", "timm:x", "package.module:f"]


def test_a_network_without_one_tensor_of_logits_is_refused():
    class Two(torch.nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(AutokdError, match="Two answers with a tuple"):
        forward_features(Two(), torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("where", ["", "final/tiny"])
@pytest.mark.parametrize("kind", ["file", "module", "package"])
def test_code_in_a_run_folder_is_never_run(tmp_path, monkeypatch, kind, where):
    """A run folder may be copied from anybody; named by file, or as a module where one stands in it."""
    run = tmp_path / "made-20260101-ab12"
    (run / where / "evil_package").mkdir(parents=True)
    (run / "ledger.jsonl").touch()
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n" + OWN
    name = {"file": "evil_file.py", "module": "evil_module.py", "package": "evil_package/__init__.py"}[kind]
    (run / where / name).write_text(code)
    monkeypatch.chdir(run / where)
    monkeypatch.setattr("sys.path", [str(run / where), *sys.path])
    with pytest.raises(AutokdError, match="lies in a run folder"):
        build({"file": "evil_file.py:both", "module": "evil_module:both", "package": "evil_package:both"}[kind], classes=3)
    assert not (tmp_path / "ran").exists()
    (run / "ledger.jsonl").unlink()  # else a folder like any other
    build({"file": "evil_file.py:both", "module": "evil_module:both", "package": "evil_package:both"}[kind], classes=3)
    assert (tmp_path / "ran").exists()
    for made in ("evil_module", "evil_package"):
        sys.modules.pop(made, None)
