"""Small data sets of every kind, written on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUTOKD_CACHE", str(folder))
    return folder


@pytest.fixture
def random_pixels():
    """random_pixels(n, height, width, seed): uint8 [n, height, width, 3]."""

    def make(n: int, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def png():
    """png(array): the bytes of a PNG file."""

    def make(pixels: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture
def write_folder(random_pixels):
    """write_folder(base, {class: n}): random 8 x 8 images base/<class>/<number>.png; returns {path: pixels}."""

    def make(base: Path, classes: dict[str, int], seed: int = 0) -> dict[Path, np.ndarray]:
        written = {}
        pixels = iter(random_pixels(sum(classes.values()), 8, 8, seed))
        for name, count in classes.items():
            (base / name).mkdir(parents=True)
            for number in range(count):
                path = base / name / f"{number:03}.png"
                written[path] = next(pixels)
                Image.fromarray(written[path]).save(path)
        return written

    return make
