"""The images of a split lie in a file that every process maps, so that a second trial does not hold a second copy."""

from __future__ import annotations

import mmap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autokd.data import training
from autokd.data.images import Images
from autokd.data.training import open_training

pytestmark = pytest.mark.usefixtures("cache")


def root_of(array: np.ndarray) -> object:
    base: object = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return base


@pytest.fixture
def table(tmp_path, random_pixels, png, monkeypatch):
    monkeypatch.setattr(training, "_SHARED", 1)
    pixels, labels = random_pixels(60), np.arange(60) % 3
    coded = [{"bytes": png(one), "path": None} for one in pixels]
    for part in ("train", "test"):
        pq.write_table(pa.table({"image": coded, "label": labels}), tmp_path / f"{part}.parquet")
    return {"name": "table", "root": str(tmp_path)}, pixels, labels


def test_the_pixels_of_both_splits_are_mapped_and_are_those_of_their_rows(table):
    where, pixels, labels = table
    made = open_training(**where, validation=0.2)
    for part in (made.train, made.validation):
        assert isinstance(root_of(part.pixels), mmap.mmap)
        np.testing.assert_array_equal(part.pixels, pixels.transpose(0, 3, 1, 2)[part.index])
        np.testing.assert_array_equal(part.labels, labels[part.index])
    assert len(made.train) == 48 and len(made.validation) == 12


def test_another_split_has_other_files_and_the_same_split_the_same(table, cache):
    where, _, _ = table

    def files() -> set[str]:
        return {path.parent.name for path in cache.rglob("pixels.npy")}

    open_training(**where, validation=0.2)
    first = files()
    open_training(**where, validation=0.2)
    assert files() == first
    open_training(**where, validation=0.2, split_seed=1)
    assert len(files() - first) == 2


def test_images_that_came_from_no_file_are_copied_as_before():
    made = open_training("digits")
    assert isinstance(made.train, Images) and not isinstance(root_of(made.train.pixels), mmap.mmap)
