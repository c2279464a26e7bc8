"""Crop and resize against Pillow and torchvision."""

from __future__ import annotations

import pytest
import torch
from pictures import from_pil, pictures, to_pil
from PIL import Image

from autokd.augment.build import build_policy
from autokd.augment.draw import PLAIN, Geometry, draw_box, keys_of
from autokd.augment.geometry import crop, resized_crop
from autokd.augment.normalise import normalise
from autokd.augment.views import Views


def test_a_crop_worked_by_hand():
    image = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)[None, None].expand(3, 1, 2, 2).contiguous()
    place = Geometry(torch.tensor([0, 1, -1]), torch.tensor([1, -1, 0]), torch.tensor([False, False, True]))
    made = crop(image, place, padding=1)
    assert made.flatten(1).tolist() == [[2, 0, 4, 0], [0, 3, 0, 0], [0, 0, 2, 1]]


@pytest.mark.parametrize(
    ("size", "out"), [((32, 32), (32, 32)), ((64, 48), (32, 32)), ((20, 30), (24, 18)), ((9, 9), (1, 1))]
)
def test_a_resized_crop_is_within_one_level_of_pillow(size, out):
    """Pillow's antialiased bilinear with a box; its weights are rounded to 22 bits, ours to 16, and both round between passes."""
    images = pictures(60, size, seed=4)
    box = draw_box(keys_of(torch.arange(60), 1, 2), PLAIN, height=size[0], width=size[1], flip=False)
    made = resized_crop(images, box, height=out[0], width=out[1])
    assert made.shape == (60, 3, *out) and made.dtype == torch.uint8
    apart = torch.zeros(60)
    for row, image in enumerate(images):
        top, left, height, width = (int(part[row]) for part in (box.top, box.left, box.height, box.width))
        cut = to_pil(image).crop((left, top, left + width, top + height))
        expected = from_pil(cut.resize((out[1], out[0]), Image.Resampling.BILINEAR))
        off = (made[row].int() - expected.int()).abs()
        assert off.max() <= 1, f"row {row}"
        apart[row] = (off > 0).float().mean()
    assert apart.mean() < 0.05  # where a weighted mean lies halfway between two levels


def test_a_box_of_the_whole_image_at_its_own_size_changes_nothing_but_the_flip():
    images = pictures(4, (12, 20))
    zero, flip = torch.zeros(4, dtype=torch.int64), torch.tensor([False, True, False, True])
    box = Geometry(zero, zero, flip, torch.full((4,), 12), torch.full((4,), 20))
    made = resized_crop(images, box, height=12, width=20)
    assert torch.equal(made[::2], images[::2]) and torch.equal(made[1::2], images[1::2].flip(3))


def test_views_of_resized_crops_have_the_size_asked_for_and_do_not_depend_on_the_batch():
    pixels = pictures(30, (40, 56))
    made = Views(
        pixels,
        torch.arange(30),
        build_policy("jda_imagenet"),
        padding=0,
        flip=True,
        seed=1,
        geometry="resized_crop",
        size=(32, 32),
    )
    for augmented in (False, True):
        whole = made.render(torch.arange(30), 3, augmented).pixels
        assert whole.shape == (30, 3, 32, 32)
        for row in (0, 17, 29):
            assert torch.equal(made.render(torch.tensor([row]), 3, augmented).pixels[0], whole[row])
    flat = Views(
        torch.full_like(pixels, 77),
        torch.arange(30),
        build_policy("none"),
        padding=0,
        flip=True,
        seed=1,
        geometry="resized_crop",
        size=(16, 24),
    )
    assert (flat.render(torch.arange(30), 0, True).pixels == 77).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_normalise_is_what_its_name_says_and_keeps_the_memory_format(dtype):
    pixels = pictures(5).contiguous(memory_format=torch.channels_last)
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    made = normalise(pixels, mean, std, dtype)
    wide = (pixels.double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).double().view(
        3, 1, 1
    )
    rough = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(made.double(), wide, atol=rough, rtol=rough)
    assert made.dtype == dtype and made.is_contiguous(memory_format=torch.channels_last)
