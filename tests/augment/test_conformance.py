"""Every op and every policy of the catalogue, without exception: a source, limits, and views of every shape."""

from __future__ import annotations

import re

import pytest
import torch
from pictures import pictures

from autokd.augment import known
from autokd.augment.build import build_policy
from autokd.augment.policy import Policy
from autokd.augment.views import Attention, Views
from autokd.rooms import catalogue, complain, load

OPS, POLICIES = catalogue("augment.ops"), catalogue("augment.policies")
MIX = ("cutmix", "mixup")


def test_the_catalogue_has_what_was_published():
    assert {
        "jda_cifar100",
        "jda_cifar10",
        "jda_imagenet",
        "rotation",
        "randaugment",
        "trivialaugment",
        "cutmix",
        "mixup",
        "none",
    } <= set(POLICIES)


@pytest.mark.parametrize(
    "entry", [*OPS.values(), *POLICIES.values()], ids=lambda entry: entry.module.rsplit("augment.")[1]
)
def test_a_file_says_what_it_does_and_where_from(entry):
    assert entry.summary.endswith((".", ":")) and len(entry.summary) > 10
    assert re.search(r"arXiv|PIL|METHODS|torch", entry.source), entry.source
    assert load(entry).__doc__


@pytest.mark.parametrize("entry", OPS.values(), ids=OPS)
def test_an_op_names_its_shapes_and_limits(entry):
    assert entry.reads[0] == "images" and not entry.settings
    assert set(entry.reads) <= {"images", "magnitude", "place", "attention"}
    assert ("magnitude" in entry.reads) == (known.limits(entry.name) is not None)
    if known.limits(entry.name):
        low, high = known.limits(entry.name)
        assert low < high and low <= known.neutral(entry.name) <= high
    assert "uint8" in load(entry).__doc__ or entry.name == "identity"


@pytest.mark.parametrize("entry", POLICIES.values(), ids=POLICIES)
def test_a_policys_settings_have_limits_and_searchable_ranges_within_them(entry):
    for setting in entry.settings:
        assert not setting.required
        assert complain(setting, setting.default) is None
        assert setting.kind in ("bool", "str") or str(setting.limit), f"{setting.name} has no limit"
    for name, domain in entry.search.items():
        setting = entry.setting(name)
        assert setting is not None, f"SEARCH of {entry.name} names {name!r}"
        (values,) = domain.values()
        assert all(complain(setting, value) is None for value in values)
        for value in values:
            build_policy(entry.name, {name: value})


@pytest.mark.parametrize("name", POLICIES)
def test_the_default_policy_is_made_of_known_ops_within_their_limits(name):
    policy = build_policy(name)
    assert isinstance(policy, Policy) and policy.key == build_policy(name).key
    for step in policy.steps:
        assert 0 <= step.probability <= 1
        if policy.kind == "mix":
            assert step.op in MIX
            continue
        for magnitude in step.choices or (step.magnitude,):
            assert known.complaints(step.op, magnitude, step.sign, step.probability) == []


def views(policy, pixels, **options):
    maps = pixels.float().mean(dim=1).to(torch.uint8)
    attention = Attention(maps, "test") if policy.reads_attention else None
    given = {"padding": 2, "flip": True, "seed": 0, "attention": attention} | options
    return Views(pixels, torch.arange(len(pixels)), policy, **given)


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_a_view_is_uint8_of_the_images_shape(name, channels, size):
    pixels = pictures(40, (size, size), channels)
    made = views(build_policy(name), pixels)
    view = made.render(torch.arange(40), 0, True)
    assert view.pixels.dtype == torch.uint8 and view.pixels.shape == pixels.shape and view.pixels.is_contiguous()
    one = made.render(torch.tensor([7]), 0, True)
    assert torch.equal(one.pixels[0], view.pixels[7])
    strided = torch.cat([pixels, pixels], dim=3)[..., :size]
    assert not strided.is_contiguous()
    assert torch.equal(views(build_policy(name), strided).render(torch.arange(40), 0, True).pixels, view.pixels)


@pytest.mark.parametrize("op", OPS)
def test_an_op_of_its_own_policy_renders_every_shape(op):
    bounds = known.limits(op)
    for channels, size in ((1, 8), (3, 8), (1, 28), (3, 32), (3, 1), (1, 2), (4, 8)):
        pixels = pictures(6, (size, size), channels)
        for magnitude in [None] if bounds is None else [*bounds, known.neutral(op)]:
            step = {"op": op} if magnitude is None else {"op": op, "magnitude": magnitude}
            made = views(build_policy("custom", steps=[step]), pixels, padding=0)
            for count in (6, 1):
                view = made.render(torch.arange(count), 0, True).pixels
                assert view.shape == (count, channels, size, size) and view.dtype == torch.uint8
