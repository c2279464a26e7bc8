from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autokd.data.images import Images


def some(n=4):
    pixels = np.arange(n * 12, dtype=np.uint8).reshape(n, 3, 2, 2)
    return Images(pixels, np.arange(n, dtype=np.int64) % 2, ("a", "b"), np.arange(n, dtype=np.int64))


def test_taken_rows_keep_their_index():
    taken = some().take(np.array([3, 1]))
    assert taken.index.tolist() == [3, 1]
    assert taken.labels.tolist() == [1, 1]
    assert taken.pixels[0, 0, 0, 0] == 36
    assert len(taken) == 2 and taken.classes == ("a", "b")


def test_taken_pixels_are_a_copy():
    images = some()
    images.take(np.array([0])).pixels[:] = 0
    assert images.pixels[0].max() == 11


def test_the_fingerprint_is_of_the_content():
    assert some().fingerprint() == some().fingerprint()
    assert len({some().fingerprint(), some(5).fingerprint(), some().take(np.array([0, 1, 3, 2])).fingerprint()}) == 3
    changed = some()
    changed.pixels[2, 0, 0, 0] += 1
    assert changed.fingerprint() != some().fingerprint()
    flat = Images(some().pixels.reshape(4, 3, 1, 4), some().labels, ("a", "b"), some().index)
    assert flat.fingerprint() != some().fingerprint()
    parts = ({"labels": np.zeros(4, np.int64)}, {"index": np.arange(1, 5)}, {"classes": ("a", "c")}, {"classes": ("b", "a")})
    found = {replace(some(), **part).fingerprint() for part in parts}
    assert len({*found, some().fingerprint()}) == 5


def test_a_view_with_strides_becomes_contiguous():
    base = some()
    turned = Images(base.pixels.transpose(0, 1, 3, 2), base.labels, base.classes, base.index)
    assert turned.pixels.flags.c_contiguous
    assert turned.pixels[0, 0].tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pixels": np.zeros((4, 3, 2, 2), np.float32)}, "uint8"),
        ({"pixels": np.zeros((4, 3, 2), np.uint8)}, "uint8"),
        ({"labels": np.zeros(3, np.int64)}, "labels"),
        ({"labels": np.zeros(4, np.int32)}, "labels"),
        ({"labels": np.full(4, 2)}, "2 classes"),
        ({"labels": np.full(4, -1)}, "from -1"),
        ({"index": np.zeros(5, np.int64)}, "index"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, told):
    images = some()
    parts = {"pixels": images.pixels, "labels": images.labels, "classes": images.classes, "index": images.index}
    with pytest.raises(ValueError, match=told):
        Images(**(parts | change))
