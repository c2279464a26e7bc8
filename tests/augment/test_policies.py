"""The policies against the published tables, written here by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from pictures import TORCHVISION, from_pil, pictures, pil_op, to_pil
from torchvision.transforms.autoaugment import _apply_op

from autokd.augment.apply import apply
from autokd.augment.build import build_policy
from autokd.augment.draw import Draws, draw
from autokd.augment.policy import Policy
from autokd.errors import AutokdError

# METHODS section 2: op, magnitude, random sign, in the order of application. Values worked out there from the levels' grid.
CIFAR100 = [
    ("autocontrast", None, False),
    ("contrast", 0.3, True),
    ("posterize", 8, False),
    ("solarize", 142.22, False),
    ("translate_y", 0.4028, True),
    ("shear_x", 0.1667, True),
    ("brightness", 0.3, True),
    ("shear_y", 0, True),
    ("translate_x", 0.0504, True),
    ("sharpness", 0.5, True),
    ("invert", None, False),
    ("color", 0.4, True),
    ("equalize", None, False),
    ("rotate", 10, False),
]
CIFAR10 = [
    ("invert", None, False),
    ("rotate", 6.667, False),
    ("shear_y", 0.2667, True),
    ("posterize", 4, False),
    ("autocontrast", None, False),
    ("color", 0.3, True),
    ("sharpness", 0.9, True),
    ("equalize", None, False),
    ("contrast", 0.7, True),
    ("translate_y", 0.1511, True),
    ("brightness", 0.6, True),
    ("solarize", 199.1, False),
    ("translate_x", 0.1511, True),
    ("shear_x", 0.2667, True),
]
IMAGENET = [
    ("posterize", 4, False),
    ("solarize", 113.8, False),
    ("equalize", None, False),
    ("posterize", 5, False),
    ("equalize", None, False),
    ("equalize", None, False),
    ("solarize", 170.7, False),
    ("posterize", 6, False),
    ("rotate", 10, False),
    ("equalize", None, False),
    ("rotate", 26.7, False),
    ("rotate", 30, False),
    ("equalize", None, False),
    ("invert", None, False),
    ("color", 0.4, True),
    ("rotate", 26.7, False),
    ("color", 0.8, True),
    ("sharpness", 0.7, True),
    ("shear_x", 0.1667, True),
    ("color", 0, True),
    ("equalize", None, False),
    ("solarize", 113.8, False),
    ("invert", None, False),
    ("color", 0.4, True),
    ("equalize", None, False),
]
PUBLISHED = {"jda_cifar100": (CIFAR100, 0.3), "jda_cifar10": (CIFAR10, 0.5), "jda_imagenet": (IMAGENET, 0.2)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_jda_has_the_published_ops_in_the_published_order_with_the_published_numbers(name):
    table, probability = PUBLISHED[name]
    policy = build_policy(name)
    assert policy.kind == "chain" and not policy.after_crop
    assert [step.op for step in policy.steps] == [op for op, _, _ in table]
    assert {step.probability for step in policy.steps} == {probability}
    for step, (op, magnitude, sign) in zip(policy.steps, table, strict=True):
        assert step.sign == sign, op
        if magnitude is None:
            assert step.magnitude is None
        else:
            assert step.magnitude == pytest.approx(magnitude, rel=2e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_jda_view_is_pillows_chain_in_the_published_order(name):
    """Views without a shear are equal to the last level; a shear may be one level off, which later ops then see."""
    policy, images = build_policy(name), pictures(150, seed=1)
    draws = draw(policy, torch.arange(150), 0, 0)
    views = apply(images, draws)
    exact = 0
    for row, image in enumerate(images):
        made, sheared = to_pil(image), False
        for column, (op, _, _) in enumerate(PUBLISHED[name][0]):
            magnitude = float(draws.magnitude[row, column])
            if draws.fired[row, column] and (op, magnitude) not in {("shear_y", 0.0), ("shear_x", 0.0)}:
                made, sheared = pil_op(op, made, magnitude), sheared or op.startswith("shear")
        if not sheared:
            exact += 1
            assert torch.equal(views[row], from_pil(made)), f"row {row}"
        else:
            off = (views[row].int() - from_pil(made).int()).abs()
            assert (off > 4).double().mean() < 0.03, f"row {row}"
    assert exact >= 20


def test_the_order_of_a_chain_matters_and_is_kept():
    steps = [{"op": "solarize", "magnitude": 100}, {"op": "posterize", "magnitude": 2}]
    image = torch.tensor([[[[90, 130]]]], dtype=torch.uint8)
    there = build_policy("custom", steps=steps)
    back = build_policy("custom", steps=steps[::-1])
    assert apply(image, draw(there, torch.zeros(1), 0, 0)).flatten().tolist() == [64, 64]  # 90, 125, cut to 64s
    assert apply(image, draw(back, torch.zeros(1), 0, 0)).flatten().tolist() == [64, 127]  # 64, 128, inverted


def test_rotation_turns_by_every_right_angle_but_none():
    assert [s.choices for s in build_policy("rotation").steps] == [(1.0, 2.0, 3.0)]
    assert [s.choices for s in build_policy("rotation", {"angles": "half"}).steps] == [(2.0,)]
    images = pictures(30)
    views = apply(images, draw(build_policy("rotation"), torch.arange(30), 0, 0))
    turned = [images.rot90(turns, (2, 3)) for turns in (1, 2, 3)]
    found = [[bool(torch.equal(view, way[row])) for way in turned] for row, view in enumerate(views)]
    assert all(any(row) for row in found)
    assert all(any(row[turn] for row in found) for turn in range(3))


LEVELS = np.arange(31)
UNSIGNED = {"identity", "posterize", "solarize", "autocontrast", "equalize"}


def documented(wide: bool) -> dict[str, np.ndarray | None]:
    """The magnitude tables of torchvision's RandAugment and TrivialAugmentWide, 31 bins; shifts as a fraction or in pixels."""
    enhance = np.linspace(0, 0.99 if wide else 0.9, 31)
    shear = np.linspace(0, 0.99 if wide else 0.3, 31)
    shift = np.linspace(0, 32.0 if wide else 150 / 331, 31)
    way = "shift" if wide else "translate"
    return {
        "identity": None,
        "shear_x_black": shear,
        "shear_y_black": shear,
        f"{way}_x_black": shift,
        f"{way}_y_black": shift,
        "rotate_black": np.linspace(0, 135.0 if wide else 30.0, 31),
        "brightness": enhance,
        "color": enhance,
        "contrast": enhance,
        "sharpness": enhance,
        "posterize": 8 - np.round(LEVELS / (30 / (6 if wide else 4))),
        "solarize": np.linspace(255.0, 0.0, 31),
        "autocontrast": None,
        "equalize": None,
    }


def test_trivialaugment_has_torchvisions_ops_and_levels():
    policy = build_policy("trivialaugment")
    assert policy.kind == "pick" and policy.picks == 1
    table = documented(wide=True)
    assert {step.op for step in policy.steps} == set(table) and len(policy.steps) == 14
    for step in policy.steps:
        assert step.sign == (step.op not in UNSIGNED)
        magnitudes = table[step.op]
        if magnitudes is None:
            assert step.choices == () and step.magnitude is None
        else:
            np.testing.assert_allclose(step.choices, magnitudes, atol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 9, 15, 30])
def test_randaugment_has_torchvisions_ops_at_one_level(level):
    policy = build_policy("randaugment", {"operations": 3, "level": level})
    assert policy.kind == "pick" and policy.picks == 3
    table = documented(wide=False)
    assert {step.op for step in policy.steps} == set(table) and len(policy.steps) == 14
    for step in policy.steps:
        assert step.sign == (step.op not in UNSIGNED)
        magnitudes = table[step.op]
        expected = None if magnitudes is None else magnitudes[level]
        assert step.magnitude == (None if expected is None else pytest.approx(expected, abs=1e-5))
        assert step.choices == ()


def test_randaugment_knows_thirty_levels():
    with pytest.raises(AutokdError, match="at most 30"):
        build_policy("randaugment", {"level": 31})


def test_torchvisions_own_tables_are_the_ones_above():
    transforms = pytest.importorskip("torchvision.transforms")
    names = {
        "shear_x_black": "ShearX",
        "rotate_black": "Rotate",
        "posterize": "Posterize",
        "solarize": "Solarize",
        "color": "Color",
    }
    for wide, made in ((False, transforms.RandAugment()), (True, transforms.TrivialAugmentWide())):
        space = made._augmentation_space(31, (32, 32)) if not wide else made._augmentation_space(31)
        assert len(space) == 14
        for op, name in names.items():
            ours = documented(wide)[op]
            theirs = space[name][0].double().numpy()
            scale = 255 if op == "solarize" and theirs.max() <= 1 else 1
            np.testing.assert_allclose(theirs * scale, ours, rtol=1e-4, atol=1e-4)


NAMES = {
    **{op: name for op, (name, _) in TORCHVISION.items()},
    **{op: op.capitalize() for op in ("identity", "brightness", "color", "contrast", "sharpness", "posterize", "solarize",
                                      "equalize")},
    "autocontrast": "AutoContrast",
}  # fmt: skip


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("wide", [False, True])
def test_every_op_at_every_level_gives_the_pixels_of_torchvisions_transform(wide, size):
    """Both signs of all thirty-one levels."""
    transform = torchvision.transforms.TrivialAugmentWide() if wide else torchvision.transforms.RandAugment()
    space = transform._augmentation_space(31) if wide else transform._augmentation_space(31, size)
    images = pictures(6, size, seed=4)
    policies = [build_policy("trivialaugment")] if wide else [build_policy("randaugment", {"level": n}) for n in range(31)]
    assert {NAMES[step.op] for step in policies[0].steps} == set(space)
    for policy in policies:
        for step in policy.steps:
            magnitudes, signed = space[NAMES[step.op]]
            assert signed == step.sign
            levels = range(31) if step.choices else [policies.index(policy)]
            for level in levels if magnitudes.ndim else [0]:
                theirs = float(magnitudes[level]) if magnitudes.ndim else 0.0
                ours = step.choices[level] if step.choices else step.magnitude
                for sign in (1, -1) if signed else (1,):
                    mirrored = sign * TORCHVISION.get(step.op, ("", 1))[1]
                    expected = [
                        from_pil(_apply_op(to_pil(image), NAMES[step.op], mirrored * theirs, transform.interpolation, None))
                        for image in images
                    ]
                    drawn = Draws(
                        (step.op,),
                        torch.ones(6, 1, dtype=torch.bool),
                        torch.full((6, 1), sign * (ours or 0.0), dtype=torch.float64),
                        torch.zeros(6, 1, 2),
                    )
                    assert torch.equal(apply(images, drawn), torch.stack(expected)), (step.op, level, sign)


def test_the_ops_of_autoaugments_port_are_offered_too():
    """Grey and bicubic slants, as JDA has them, at the same magnitudes."""
    for name in ("randaugment", "trivialaugment"):
        theirs, ports = build_policy(name), build_policy(name, {"implementation": "autoaugment"})
        assert [step.op.removesuffix("_black") for step in theirs.steps] == [step.op for step in ports.steps]
        assert [(s.magnitude, s.choices, s.sign) for s in theirs.steps] == [(s.magnitude, s.choices, s.sign) for s in ports.steps]
        assert theirs.key != ports.key


def test_strength_scales_the_distance_from_what_changes_nothing():
    half = {s.op: s.magnitude for s in build_policy("jda_cifar100", {"strength": 0.5}).steps}
    assert half["rotate"] == pytest.approx(5)
    assert half["contrast"] == pytest.approx(0.15)
    assert half["solarize"] == pytest.approx(256 - 0.5 * (256 - 256 * 5 / 9))
    assert half["autocontrast"] is None
    most = {s.op: s.magnitude for s in build_policy("jda_cifar10", {"strength": 10}).steps}
    assert most["sharpness"] == 1 and most["posterize"] == 1 and most["solarize"] == 0  # held at the ops' limits


def test_the_key_says_all_that_pixels_depend_on_and_not_the_name():
    jda = build_policy("jda_cifar100")
    assert Policy("another name", jda.steps).key == jda.key
    others = [
        build_policy("jda_cifar100", {"probability": 0.31}),
        build_policy("jda_cifar100", {"strength": 1.25}),
        build_policy("jda_cifar10"),
        Policy("x", jda.steps[::-1]),
        Policy("x", jda.steps, after_crop=True),
        Policy("x", jda.steps, kind="pick"),
        Policy("x", jda.steps, kind="pick", picks=2),
        build_policy("trivialaugment"),
        build_policy("cutmix"),
        build_policy("mixup"),
        build_policy("cutmix", {"alpha": 0.5}),
        build_policy("none"),
    ]
    assert len({policy.key for policy in [jda, *others]}) == len(others) + 1
