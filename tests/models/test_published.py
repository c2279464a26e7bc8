"""Weights that libraries publish: told apart by name, read into the network that asks, refused where they do not fit."""

from __future__ import annotations

import urllib.error

import pytest
import torch

from autokd.config.trial import DataConfig, TeacherConfig
from autokd.errors import AutokdError
from autokd.models.build import build
from autokd.models.checkpoint import load_weights
from autokd.models.published import fitting, published
from autokd.models.zoo import resolve
from autokd.train import workshop as room

pytest.importorskip("timm")
pytest.importorskip("torchvision")

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
EDGES = {  # where each library would go to the network
    "torchvision:squeezenet1_1": "torchvision.models._api.load_state_dict_from_url",
    "timm:resnet10t": "timm.models._builder.load_state_dict_from_hf",
}
ASKED = [
    ("torchvision:squeezenet1_1", "IMAGENET1K_V1"),
    ("torchvision:squeezenet1_1", "SqueezeNet1_1_Weights.IMAGENET1K_V1"),
    ("torchvision:squeezenet1_1", "default"),
    ("timm:resnet10t", "c3_in1k"),
    ("timm:resnet10t", "resnet10t.c3_in1k"),
    ("timm:resnet10t", "DEFAULT"),
    ("timm:resnet10t.c3_in1k", "default"),
]


def plain(model):
    return model.partition(".")[0]


@pytest.mark.parametrize(("model", "weights"), ASKED)
def test_published_weights_reach_the_network(monkeypatch, model, weights):
    source = build(plain(model), classes=1000, size=64, seed=1)
    fetched = []

    def fetch(where, *_, **__):
        fetched.append(where)
        return {name: value.clone() for name, value in source.state_dict().items()}

    monkeypatch.setattr(EDGES[plain(model)], fetch)
    made = build(model, classes=1000, size=64, weights=weights, seed=0)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in made.state_dict().items())
    assert fetched and ("squeezenet1_1" in fetched[0] or fetched == ["timm/resnet10t.c3_in1k"])
    told = published(model, weights)
    assert (told.classes, told.channels, (told.mean, told.std)) == (1000, 3, IMAGENET)
    assert told.size == {"torchvision:squeezenet1_1": 224, "timm:resnet10t": 176}[plain(model)]


def test_a_network_without_channels_of_its_own_normalisation_tells_it():
    told = published("timm:tf_efficientnet_lite0", "in1k")
    assert (told.mean, told.std) == ((0.5,) * 3, (0.5,) * 3) and told.source.endswith("timm/tf_efficientnet_lite0.in1k")
    assert published("timm:resnet18d", "default").weights == "resnet18d.ra2_in1k"  # the first of two


@pytest.mark.parametrize(
    ("model", "weights", "image", "told"),
    [
        ("timm:resnet10t", "c3_in2k", {}, "no published weights 'c3_in2k' (did you mean 'c3_in1k'?)\n  there are: c3_in1k"),
        ("timm:botnet50ts_256", "default", {}, "has no published weights 'default'\n  there are: none"),
        ("timm:resnet10", "default", {}, "timm has no network 'resnet10'"),
        ("torchvision:resnet34", "IMAGENET1K_V2", {}, "did you mean 'IMAGENET1K_V1'?"),
        ("torchvision:resnet35", "DEFAULT", {}, "torchvision has no network 'resnet35' (did you mean"),
        ("timm:resnet10t", "c3_in1k", {"classes": 2}, "the weights c3_in1k know 1000 classes, the data has 2"),
        ("timm:resnet10t", "c3_in1k", {"channels": 1}, "the weights c3_in1k read 3 channels, the data has 1"),
        ("torchvision:resnet34", "IMAGENET1K_V1", {"classes": 10}, "IMAGENET1K_V1 know 1000 classes, the data has 10"),
        ("torchvision:resnet34", "IMAGENET1K_V1", {"channels": 1}, "IMAGENET1K_V1 read 3 channels, the data has 1"),
        ("resnet20", "DEFAULT", {}, "only torchvision: and timm: networks have them"),
    ],
)
def test_weights_that_are_not_there_or_do_not_fit_are_told_alike_by_a_look_and_by_building(model, weights, image, told):
    image = {"classes": 1000, "channels": 3, **image}
    for ask in (fitting, build):
        with pytest.raises(AutokdError) as caught:
            ask(model, weights=weights, **image)
        assert told in str(caught.value)


@pytest.mark.parametrize("model", EDGES)
def test_without_a_network_the_weights_their_place_and_the_way_to_give_a_file_are_told(monkeypatch, model):
    def fetch(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(EDGES[model], fetch)
    with pytest.raises(AutokdError, match="could not be downloaded: .*Name or service not known") as caught:
        build(model, classes=1000, size=64, weights="default")
    fault = caught.value
    assert f"the weights default of {model}" in fault.what and "checkpoint: FILE" in fault.fix
    assert fault.where.startswith("https://") and fault.where == published(model, "default").source


def test_a_file_of_other_weights_is_no_failed_download(monkeypatch):
    monkeypatch.setattr(EDGES["timm:resnet10t"], lambda *_, **__: {"conv1.weight": torch.zeros(1)})
    with pytest.raises(AutokdError, match="timm:resnet10t cannot be built"):
        build("timm:resnet10t", classes=1000, size=64, weights="default")


def test_a_tag_that_timm_does_not_have_is_told_without_weights_too():
    with pytest.raises(AutokdError, match="Invalid pretrained tag"):
        build("timm:resnet10t.nonsense", classes=3)


@pytest.mark.parametrize("place", ["timm", "torchvision"])
@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("pretrained", "weights: NAME"),
        ("weights", "weights: NAME"),
        ("checkpoint_path", "checkpoint: FILE"),
        ("pretrained_cfg", "weights: NAME"),
        ("num_classes", "number of classes of the data set"),
        ("in_chans", "number of channels of the data set"),
        ("img_size", "size of the data set's images"),
        ("features_only", "logits"),
    ],
)
def test_what_autokd_sets_itself_is_no_option(place, option, why):
    with pytest.raises(AutokdError, match=f"autokd itself sets '{option}'") as caught:
        resolve(f"{place}:resnet18", {"zero_init_last": True, option: 1})
    assert why in caught.value.fix
    assert resolve("own.py:net", {option: 1}).kind == "own"  # one's own code has its own words


def test_a_teacher_is_asked_with_the_normalisation_its_weights_were_trained_with(monkeypatch):
    source = build("timm:tf_efficientnet_lite0", classes=1000, size=32, seed=1)
    monkeypatch.setattr(EDGES["timm:resnet10t"], lambda *_, **__: source.state_dict())
    monkeypatch.setattr(room.Workshop, "data", lambda *_: Thousand)
    config = TeacherConfig("hub", "timm:tf_efficientnet_lite0", weights="in1k")
    made = room.Workshop().teacher(DataConfig("digits"), config)
    assert (made.mean, made.std) == ((0.5,) * 3, (0.5,) * 3)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = source.eval()(pixels.float() / 127.5 - 1)
    torch.testing.assert_close(made.logits(pixels), expected, rtol=1e-4, atol=1e-4)
    own = TeacherConfig("hub", "timm:tf_efficientnet_lite0", weights="in1k", mean=(0.1,) * 3, std=(0.9,) * 3)
    assert room.Workshop().teacher(DataConfig("digits"), own).mean == (0.1,) * 3  # what a person says counts


def test_real_weights_of_a_library_are_read_from_a_file_as_from_the_library(monkeypatch, shared_data):
    """EfficientNet-Lite0 under timm's names, in float16."""
    library = pytest.importorskip("safetensors.torch")
    path = shared_data / "pretrained" / "tf_efficientnet_lite0.fp16.safetensors"
    model, image = "timm:tf_efficientnet_lite0", {"classes": 1000, "size": 64}
    monkeypatch.setattr(EDGES["timm:resnet10t"], lambda *_, **__: library.load_file(path))
    hub = build(model, **image, weights="in1k").eval()
    file = build(model, **image, seed=0).eval()
    assert load_weights(file, path).told == ""
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(file(pixels), hub(pixels))
        assert file(pixels).std() > 0.5  # trained, not at random


class Thousand:
    """What a data set of a thousand classes says of itself."""

    classes, channels, size, mean, std = 1000, 3, 32, (0.2,) * 3, (0.3,) * 3
