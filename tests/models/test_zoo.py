"""The zoo against published facts: sizes, shapes, names, and forward passes written a second time by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, linear, max_pool2d, relu

from autokd.cost.count import count
from autokd.errors import AutokdError
from autokd.models.build import build
from autokd.models.features import forward_features
from autokd.models.zoo import names, resolve, table

PUBLISHED = """
    resnet8 resnet14 resnet20 resnet32 resnet44 resnet56 resnet110 resnet8x4 resnet32x4 ResNet50
    wrn_16_1 wrn_16_2 wrn_40_1 wrn_40_2 vgg8 vgg11 vgg13 vgg16 vgg19 MobileNetV2 ShuffleV1 ShuffleV2
""".split()
SMALL = [
    "resnet8",
    "resnet14",
    "resnet20",
    "resnet8x4",
    "resnet8x0.5",
    "wrn_16_1",
    "wrn_16_2",
    "vgg8",
    "shufflenetv1",
    "shufflenetv2",
]


@pytest.fixture(scope="module")
def facts(shared_data):
    return json.loads((shared_data / "zoo_cifar100.json").read_text())


def test_the_list_of_published_networks_is_complete(facts):
    assert sorted(facts) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_names_and_sizes_are_the_published_ones(name, facts):
    cost = count(name, classes=100)
    assert (cost.params, cost.macs) == (facts[name]["params"], facts[name]["macs"])
    with torch.device("meta"):
        model = build(name, classes=100).eval()
        features = forward_features(model, torch.zeros(2, 3, 32, 32))
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == facts[name]["state_dict"]
    assert [list(map_.shape[1:]) for map_ in (*features.stages, features.pooled)] == facts[name]["features"]
    assert [map_.shape for map_ in features.before_relu] == [map_.shape for map_ in features.stages]
    assert features.logits.shape == (2, 100)


@pytest.mark.parametrize("known", table(), ids=lambda known: known.name)
def test_the_table_shown_without_torch_tells_the_truth(known):
    cost = count(known.name, classes=100)
    assert (cost.params, cost.macs) == (known.params, known.macs)
    assert known.source


def test_listing_and_resolving_models_imports_no_torch():
    code = (
        "import sys; from autokd.models import zoo as z; z.table(); z.resolve('vgg8'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_stem_of_stride_one_costs_four_times_the_convolutions():
    linear_macs = 1280 * 100
    expected = 4 * (6_523_648 - linear_macs) + linear_macs
    assert count("mobilenetv2_half_s1", classes=100).macs == expected


def test_a_narrow_digits_student_counted_by_hand():
    # widths 8, 8, 16, 32; one block a stage; 1x8x8 images, 10 classes
    params = (72 + 16) + (2 * 576 + 32) + (1152 + 2304 + 64 + 128 + 32) + (4608 + 9216 + 128 + 512 + 64) + 330
    macs = 64 * 72 + 64 * 1152 + 16 * (1152 + 2304 + 128) + 4 * (4608 + 9216 + 512) + 320
    cost = count("resnet8x0.5", classes=10, channels=1, size=8)
    assert (cost.params, cost.macs) == (params, macs)


def test_width_one_is_the_plain_network_and_width_two_widens_the_stem_as_well():
    assert count("resnet20x1", classes=100) == count("resnet20", classes=100)
    shape = build("resnet8x2", classes=10).conv1.weight.shape
    assert tuple(shape) == (32, 3, 3, 3)


@pytest.mark.parametrize("name", [*SMALL, "mobilenetv2_half_s1"])
def test_digits_pass_through_forwards_and_backwards(name):
    model = build(name, classes=7, channels=1, size=8, seed=0)
    features = forward_features(model, torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert features.logits.shape == (4, 7) and bool(torch.isfinite(features.logits).all())
    features.logits.logsumexp(1).sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())


@pytest.mark.parametrize(
    "name", ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2_half", "shufflenetv1", "shufflenetv2", "resnet50_cifar"]
)
@pytest.mark.parametrize("size", [28, 64])
def test_other_image_sizes_are_welcome(name, size):
    with torch.device("meta"):
        assert build(name, classes=5, channels=1, size=size)(torch.zeros(2, 1, size, size)).shape == (2, 5)


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2_half", "shufflenetv1", "shufflenetv2"])
def test_forward_is_the_logits_of_forward_features(name):
    model = build(name, classes=5, seed=1).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(images), forward_features(model, images).logits)


# ---- second implementations, straight from the papers' descriptions, in float64


class Weights:
    """A state dict to compute with: convolution, batch norm (evaluation) and linear layer by name."""

    def __init__(self, model):
        self.w = {key: value.double() for key, value in model.state_dict().items()}

    def conv(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.w[f"{name}.weight"]
        return conv2d(x, weight, self.w.get(f"{name}.bias"), stride, weight.shape[-1] // 2, 1, groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        part = [self.w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return batch_norm(x, *part, training=False)

    def out(self, x: Tensor, name: str) -> Tensor:
        return linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.w


def by_hand_resnet(w: Weights, x: Tensor, blocks: int) -> Tensor:
    x = relu(w.norm(w.conv(x, "conv1"), "bn1"))
    for stage in (1, 2, 3):
        for i in range(blocks):
            p, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = relu(w.norm(w.conv(x, f"{p}.conv1", stride), f"{p}.bn1"))
            y = w.norm(w.conv(y, f"{p}.conv2"), f"{p}.bn2")
            if w.has(f"{p}.downsample.0"):
                x = w.norm(w.conv(x, f"{p}.downsample.0", stride), f"{p}.downsample.1")
            x = relu(x + y)
    return w.out(avg_pool2d(x, 8).flatten(1), "fc")


def by_hand_wrn(w: Weights, x: Tensor, blocks: int) -> Tensor:
    x = w.conv(x, "conv1")
    for group in (1, 2, 3):
        for i in range(blocks):
            p, stride = f"block{group}.layer.{i}", 2 if group > 1 and i == 0 else 1
            active = relu(w.norm(x, f"{p}.bn1"))
            y = w.conv(relu(w.norm(w.conv(active, f"{p}.conv1", stride), f"{p}.bn2")), f"{p}.conv2")
            x = y + (w.conv(active, f"{p}.convShortcut", stride) if w.has(f"{p}.convShortcut") else x)
    return w.out(avg_pool2d(relu(w.norm(x, "bn1")), 8).flatten(1), "fc")


def by_hand_vgg(w: Weights, x: Tensor, convolutions: int) -> Tensor:
    for block in range(5):
        for j in range(convolutions):
            x = relu(w.norm(w.conv(x, f"block{block}.{3 * j}"), f"block{block}.{3 * j + 1}"))
        x = max_pool2d(x, 2) if block < 3 else x
    return w.out(x.mean((2, 3)), "classifier")


def by_hand_mobilenet(w: Weights, x: Tensor, stem: int) -> Tensor:
    x = relu(w.norm(w.conv(x, "conv1.0", stem), "conv1.1"))
    for row, (repeats, stride) in enumerate([(1, 1), (2, 1), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)]):
        for i in range(repeats):
            p, s = f"blocks.{row}.{i}.conv", stride if i == 0 else 1
            y = relu(w.norm(w.conv(x, f"{p}.0"), f"{p}.1"))
            y = relu(w.norm(w.conv(y, f"{p}.3", s, groups=y.shape[1]), f"{p}.4"))
            y = w.norm(w.conv(y, f"{p}.6"), f"{p}.7")
            x = x + y if s == 1 and x.shape[1] == y.shape[1] else y
    return w.out(relu(w.norm(w.conv(x, "conv2.0"), "conv2.1")).mean((2, 3)), "classifier.0")


def deal(x: Tensor, groups: int) -> Tensor:
    size = x.shape[1] // groups
    order = [part * size + place for place in range(size) for part in range(groups)]
    return x[:, order]


def by_hand_shuffle_v1(w: Weights, x: Tensor) -> Tensor:
    x = relu(w.norm(w.conv(x, "conv1"), "bn1"))
    for stage, blocks in ((1, 4), (2, 8), (3, 4)):
        for i in range(blocks):
            p, groups = f"layer{stage}.{i}", 1 if x.shape[1] == 24 else 3
            y = deal(relu(w.norm(w.conv(x, f"{p}.conv1", groups=groups), f"{p}.bn1")), groups)
            y = relu(w.norm(w.conv(y, f"{p}.conv2", 1 if i else 2, groups=y.shape[1]), f"{p}.bn2"))
            y = w.norm(w.conv(y, f"{p}.conv3", groups=3), f"{p}.bn3")
            x = relu(x + y) if i else relu(torch.cat([y, avg_pool2d(x, 3, 2, 1)], 1))
    return w.out(avg_pool2d(x, 4).flatten(1), "linear")


def by_hand_shuffle_v2(w: Weights, x: Tensor) -> Tensor:
    x = relu(w.norm(w.conv(x, "conv1"), "bn1"))
    for stage, blocks in ((1, 4), (2, 8), (3, 4)):
        p = f"layer{stage}.0"
        left = w.norm(w.conv(x, f"{p}.conv1", 2, groups=x.shape[1]), f"{p}.bn1")
        left = relu(w.norm(w.conv(left, f"{p}.conv2"), f"{p}.bn2"))
        right = relu(w.norm(w.conv(x, f"{p}.conv3"), f"{p}.bn3"))
        right = w.norm(w.conv(right, f"{p}.conv4", 2, groups=right.shape[1]), f"{p}.bn4")
        right = relu(w.norm(w.conv(right, f"{p}.conv5"), f"{p}.bn5"))
        x = deal(torch.cat([left, right], 1), 2)
        for i in range(1, blocks):
            p, half = f"layer{stage}.{i}", x.shape[1] // 2
            y = relu(w.norm(w.conv(x[:, half:], f"{p}.conv1"), f"{p}.bn1"))
            y = w.norm(w.conv(y, f"{p}.conv2", groups=half), f"{p}.bn2")
            y = relu(w.norm(w.conv(y, f"{p}.conv3"), f"{p}.bn3"))
            x = deal(torch.cat([x[:, :half], y], 1), 2)
    return w.out(relu(w.norm(w.conv(x, "conv2"), "bn2")).mean((2, 3)), "linear")


def by_hand_resnet50(w: Weights, x: Tensor) -> Tensor:
    x = relu(w.norm(w.conv(x, "conv1"), "bn1"))
    for stage, blocks in ((1, 3), (2, 4), (3, 6), (4, 3)):
        for i in range(blocks):
            p, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = relu(w.norm(w.conv(x, f"{p}.conv1"), f"{p}.bn1"))
            y = relu(w.norm(w.conv(y, f"{p}.conv2", stride), f"{p}.bn2"))
            y = w.norm(w.conv(y, f"{p}.conv3"), f"{p}.bn3")
            x = relu(y + (w.norm(w.conv(x, f"{p}.shortcut.0", stride), f"{p}.shortcut.1") if i == 0 else x))
    return w.out(avg_pool2d(x, 4).flatten(1), "linear")


@pytest.mark.parametrize(
    ("name", "by_hand", "settings"),
    [
        ("resnet8", by_hand_resnet, {"blocks": 1}),
        ("resnet14", by_hand_resnet, {"blocks": 2}),
        ("resnet8x4", by_hand_resnet, {"blocks": 1}),
        ("wrn_16_1", by_hand_wrn, {"blocks": 2}),
        ("wrn_16_2", by_hand_wrn, {"blocks": 2}),
        ("vgg8", by_hand_vgg, {"convolutions": 1}),
        ("vgg13", by_hand_vgg, {"convolutions": 2}),
        ("mobilenetv2_half", by_hand_mobilenet, {"stem": 2}),
        ("mobilenetv2_half_s1", by_hand_mobilenet, {"stem": 1}),
        ("shufflenetv1", by_hand_shuffle_v1, {}),
        ("shufflenetv2", by_hand_shuffle_v2, {}),
        ("resnet50_cifar", by_hand_resnet50, {}),
    ],
)
def test_forward_pass_written_a_second_time(name, by_hand, settings):
    generator = torch.Generator().manual_seed(2)
    model = build(name, classes=10, seed=3).double().eval()
    for key, value in model.state_dict().items():  # batch norms that do something
        if key.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator, dtype=value.dtype) + 0.5)
        elif value.ndim == 1:
            value.add_(torch.randn(value.shape, generator=generator, dtype=value.dtype) * 0.1)
    images = torch.randn(2, 3, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        features = forward_features(model, images)
        torch.testing.assert_close(features.logits, by_hand(Weights(model), images, **settings), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "shufflenetv1", "resnet50_cifar"])
def test_a_stage_is_the_relu_of_what_stood_before_it(name):
    features = forward_features(build(name, classes=4, seed=0).eval(), torch.randn(1, 3, 32, 32))
    for stage, before in zip(features.stages, features.before_relu, strict=True):
        torch.testing.assert_close(stage, before.relu())


def test_reading_wrn_features_moves_batch_norm_statistics_once():
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, watched = build("wrn_16_1", classes=4, seed=0), build("wrn_16_1", classes=4, seed=0)
    plain(images)
    forward_features(watched, images)
    assert all(int(v) == 1 for k, v in watched.state_dict().items() if k.endswith("num_batches_tracked"))
    for one, other in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


# ---- first weights


def test_first_weights_spread_as_published():
    resnet = build("resnet8x4", classes=100, seed=0)
    weight = resnet.layer3[0].conv2.weight  # Kaiming, fan out: 256 outputs of 3x3
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    mobile = build("mobilenetv2_half", classes=100, seed=0)
    depthwise = mobile.blocks[6][0].conv[3].weight  # 480 outputs of 3x3, not divided by the groups
    assert depthwise.std().item() == pytest.approx((2 / (480 * 9)) ** 0.5, rel=0.05)
    assert mobile.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not build("wrn_16_2", classes=100, seed=0).fc.bias.any()


def test_a_seed_decides_the_weights_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (build("resnet8", classes=10, seed=seed).state_dict() for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


# ---- names


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("ResNet50", "resnet50_cifar"),
        ("MobileNetV2", "mobilenetv2_half"),
        ("ShuffleV1", "shufflenetv1"),
        ("ShuffleV2", "shufflenetv2"),
        ("WRN-40-2", "wrn_40_2"),
        ("ResNet8x4", "resnet8x4"),
        ("VGG13", "vgg13"),
        ("wrn_28_10", "wrn_28_10"),
    ],
)
def test_usual_spellings_are_understood(written, canonical):
    assert resolve(written).name == canonical


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet9", "8, 14, 20"),
        ("resnet18", "torchvision:resnet18"),
        ("resnet50", "resnet50_cifar"),
        ("mobilenetv2", "mobilenetv2_half_s1"),
        ("wrn_17_2", "10, 16, 22"),
        ("shuflenetv2", "did you mean 'shufflenetv2'"),
        ("vgg9", "vgg"),
        ("", "named by a word"),
        (":f", "some.module:callable"),
        ("x.py:", "some.module:callable"),
        ("x.py:a b", "callable"),
    ],
)
def test_a_name_that_cannot_be_is_told_with_the_way_out(name, told):
    with pytest.raises(AutokdError, match=re.escape(told)):
        resolve(name)


def test_options_are_checked_against_the_family():
    assert build("wrn_16_1", classes=3, options={"dropout": 0.3}).block1.layer[0].dropout == 0.3
    with pytest.raises(AutokdError, match="no option 'drop'.*\n.*dropout"):
        resolve("wrn_16_1", {"drop": 0.3})
    with pytest.raises(AutokdError, match="at least 0 and at most 1, not 3"):
        resolve("wrn_16_1", {"dropout": 3})
    with pytest.raises(AutokdError, match="resnet8 has no options"):
        build("resnet8", classes=3, options={"width": 2})


def test_images_too_small_and_class_counts_that_are_none_are_refused():
    with pytest.raises(AutokdError, match="at least 8x8 pixels, not 4x4"):
        build("vgg8", classes=3, size=4)
    with pytest.raises(AutokdError, match="classes must be a whole number"):
        build("resnet8", classes=0)
    with pytest.raises(AutokdError, match="leaves no filters"):
        build("resnet8x0.01", classes=3)


def test_every_listed_name_resolves():
    assert len(names()) == 23
    assert all(resolve(name).name == name for name in names())
