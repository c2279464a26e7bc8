"""Views that follow a teacher's attention: values by hand, what changes nothing, and keys that name the teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autokd.augment.build import build_policy
from autokd.augment.ops.attention import attention_crop, attention_drop, attention_keep
from autokd.augment.views import Attention, Views
from autokd.config.trial import DataConfig, MethodConfig, PolicyConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.errors import AutokdError
from autokd.models.build import build
from autokd.models.checkpoint import save_weights
from autokd.signals.attention import attention_map, attention_of
from autokd.signals.teacher import Teacher
from autokd.train.trial import Trial
from autokd.train.workshop import Workshop

IMAGE = torch.arange(1, 17, dtype=torch.uint8).view(1, 1, 4, 4)
LOOK = torch.tensor([[[0, 0, 0, 0], [0, 9, 8, 0], [0, 7, 6, 0], [0, 0, 0, 0]]], dtype=torch.uint8)


def images(n=6, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    return pixels, torch.randint(0, 256, (n, size, size), generator=generator, dtype=torch.uint8)


def test_a_quarter_dropped_and_a_quarter_kept_by_hand():
    share = torch.tensor([0.25])  # 4 of 16 pixels: the middle
    dropped = attention_drop(IMAGE.clone(), share, LOOK)
    assert dropped[0, 0].tolist() == [[1, 2, 3, 4], [5, 128, 128, 8], [9, 128, 128, 12], [13, 14, 15, 16]]
    kept = attention_keep(IMAGE.clone(), share, LOOK)
    assert kept[0, 0].tolist() == [[128] * 4, [128, 6, 7, 128], [128, 10, 11, 128], [128] * 4]


def test_equals_are_taken_in_reading_order():
    dropped = attention_drop(IMAGE.clone(), torch.tensor([0.125]), torch.zeros_like(LOOK))
    assert dropped[0, 0, 0].tolist() == [128, 128, 3, 4] and (dropped[0, 0, 1:] == IMAGE[0, 0, 1:]).all()


def test_a_crop_is_the_box_around_what_is_looked_at_resized_as_pil_does():
    """Rows 3 to 12 and columns 6 to 13 of 16 are looked at: with a tenth more of 10 and 8 pixels, rows 2 to 13 and 5 to 14."""
    pixels, _ = images(1, 16)
    look = torch.zeros(1, 16, 16, dtype=torch.uint8)
    look[0, 3:13, 6:14] = 200
    found = attention_crop(pixels, torch.tensor([80 / 256]), look)
    whole = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    expected = np.asarray(whole.crop((5, 2, 15, 14)).resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(found[0].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


@given(share=st.floats(0, 1), seed=st.integers(0, 20))
def test_dropped_and_kept_pixels_make_up_the_image(share, seed):
    pixels, look = images(3, seed=seed)
    pixels = torch.where(pixels == 128, 127, pixels)
    shares = torch.full((3,), share)
    dropped, kept = attention_drop(pixels, shares, look), attention_keep(pixels, shares, look)
    assert ((dropped == 128) ^ (kept == 128)).all()
    assert (dropped[:, 0] == 128).flatten(1).sum(1).tolist() == [round(float(np.float32(share)) * 64)] * 3


@pytest.mark.parametrize("ops", ["all", "crop", "drop", "keep"])
def test_strength_zero_is_the_plain_picture(ops):
    pixels, look = images(40)
    policy = build_policy("attention", {"ops": ops, "strength": 0.0})
    views = Views(pixels, torch.arange(40), policy, padding=0, flip=False, seed=1, attention=Attention(look, "x"))
    assert torch.equal(views.render(torch.arange(40), 0, True).pixels, pixels)


@pytest.mark.parametrize("ops", ["all", "crop", "drop", "keep"])
def test_a_view_does_not_depend_on_its_batch_and_changes_most_pictures(ops):
    pixels, look = images(40)
    policy = build_policy("attention", {"ops": ops})
    views = Views(pixels, torch.arange(40), policy, padding=2, flip=True, seed=1, attention=Attention(look, "x"))
    rows = torch.arange(40)
    together = views.render(rows, 3, True).pixels
    backwards = views.render(rows.flip(0), 3, True).pixels.flip(0)
    alone = torch.cat([views.render(rows[i : i + 1], 3, True).pixels for i in range(40)])
    assert torch.equal(together, backwards) and torch.equal(together, alone)
    plain = views.render(rows, 3, False).pixels
    assert (together != plain).flatten(1).any(1).float().mean() > 0.8


def test_the_crop_of_a_whole_picture_changes_nothing():
    pixels, look = images(3)
    assert torch.equal(attention_crop(pixels, torch.ones(3), look), pixels)


def test_a_map_is_the_mean_square_over_channels_stretched_to_a_byte():
    """Squares 1 + 9, 0, 4 + 1, 0 over two channels: means 5, 0, 2.5, 0; stretched 255, 0, 127.5 (to even: 128), 0."""
    features = torch.tensor([[[[1.0, 0.0], [2.0, 0.0]], [[-3.0, 0.0], [1.0, 0.0]]]])
    assert attention_map(features, 2, 2).tolist() == [[[255, 0], [128, 0]]]
    assert (attention_map(torch.ones(1, 3, 2, 2), 4, 4) == 255).all()


def test_maps_are_kept_for_a_teacher_and_found_again(tmp_path, monkeypatch):
    pixels, _ = images(5)
    one, other = (Teacher(build("resnet8", classes=3, size=8, seed=s), (0.5,) * 3, (0.25,) * 3) for s in (0, 1))
    first, second = attention_of(one, pixels, "data", tmp_path), attention_of(other, pixels, "data", tmp_path)
    assert first.key != second.key and not torch.equal(first.maps, second.maps)
    assert first.key != attention_of(one, pixels, "other data", None).key
    monkeypatch.setattr(one, "features", lambda _: pytest.fail("asked again"))
    assert torch.equal(attention_of(one, pixels, "data", tmp_path).maps, first.maps)
    monkeypatch.undo()
    path = tmp_path / f"{first.key}.npy"
    for damaged in (path.read_bytes()[:-7], b""):
        path.write_bytes(damaged)
        with pytest.warns(RuntimeWarning, match="damaged"):
            assert torch.equal(attention_of(one, pixels, "data", tmp_path).maps, first.maps)


def test_the_key_of_a_view_names_the_teacher_it_follows():
    pixels, look = images()
    policy = build_policy("attention")
    keys = [
        Views(pixels, torch.arange(6), policy, padding=2, flip=True, seed=0, attention=Attention(look, teacher))
        for teacher in ("one", "other")
    ]
    assert keys[0].key(True) != keys[1].key(True) and keys[0].key(False) == keys[1].key(False)
    other = Views(pixels, torch.arange(6), build_policy("cutmix"), padding=2, flip=True, seed=0)
    assert "attention" not in other.key(True)


def test_attention_without_a_teacher_is_refused():
    pixels, _ = images()
    with pytest.raises(AutokdError, match="attention"):
        Views(pixels, torch.arange(6), build_policy("attention"), padding=2, flip=True, seed=0)


def test_a_trial_trains_on_attended_views_live_and_from_the_cache(tmp_path):
    data = DataConfig("digits", validation=0.2)
    save_weights(build("resnet14", classes=10, channels=1, size=8, seed=3), tmp_path / "teacher.safetensors")
    config = TrialConfig(
        data=data,
        student=StudentConfig("resnet8"),
        teacher=TeacherConfig("big", "resnet14", checkpoint=str(tmp_path / "teacher.safetensors")),
        policy=PolicyConfig("attention"),
        method=MethodConfig("kd"),
        epochs=0.5,
    )
    live = Trial(Workshop(threads=1, signals="live"), config)
    kept = Trial(Workshop(threads=1, signals="cached", cache_dir=tmp_path / "cache"), config)
    assert live.loss(0).item() == pytest.approx(kept.loss(0).item(), rel=2e-3)
    assert len(list((tmp_path / "cache" / "attention").glob("*.npy"))) == 1
    with pytest.raises(AutokdError, match="no teacher"):
        Trial(Workshop(threads=1), replace(config, teacher=None, method=MethodConfig("ce")))
