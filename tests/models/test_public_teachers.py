"""Published checkpoints, loaded as a person's own models, must score what was measured when they were fetched."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from autokd.models.build import build
from autokd.models.checkpoint import load_weights

EXAMPLE = Path(__file__).parents[2] / "examples" / "public_teachers.py"
CIFAR100 = (
    "resnet_wide_stem",
    100,
    "cifar100/test.parquet",
    "fine_label",
    (0.507, 0.487, 0.441),
    (0.267, 0.256, 0.276),
)
CIFAR10 = ("resnet_option_a", 10, "cifar10/test.parquet", "label", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("depth", [8, 14, 20, 26, 32])
def test_cifar100_files_fit_strictly(shared_data, depth):
    model = build(f"{EXAMPLE}:resnet_wide_stem", classes=100, options={"depth": depth})
    loaded = load_weights(model, shared_data / "teachers_cifar100" / f"resnet{depth}_cifar100.pt")
    assert not loaded.renamed and not loaded.left_out and not loaded.filled
    assert sum(p.numel() for p in model.parameters()) == 112_452 + (depth - 8) // 6 * 97_216


@pytest.mark.parametrize(
    ("depth", "file"), [(20, "resnet20-12fca82f"), (32, "resnet32-d509ac18"), (56, "resnet56-4bfd9763")]
)
def test_cifar10_files_fit_strictly_and_are_the_named_ones(shared_data, depth, file):
    model = build(f"{EXAMPLE}:resnet_option_a", classes=10, options={"depth": depth})
    loaded = load_weights(model, shared_data / "teachers_cifar10" / f"{file}.th")
    assert loaded.sha256.startswith(file.split("-")[1])
    assert loaded.prefixes == ("module.",) and loaded.wrapper == "state_dict"
    written = torch.load(shared_data / "teachers_cifar10" / f"{file}.th", map_location="cpu")["best_prec1"]
    assert loaded.recorded_accuracy == pytest.approx(written / 100)  # the best epoch's; the weights score a little less


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "depth", "file", "share"),
    [
        (CIFAR100, 8, "teachers_cifar100/resnet8_cifar100.pt", 0.6411),
        (CIFAR100, 14, "teachers_cifar100/resnet14_cifar100.pt", 0.6830),
        (CIFAR100, 20, "teachers_cifar100/resnet20_cifar100.pt", 0.6969),
        (CIFAR100, 26, "teachers_cifar100/resnet26_cifar100.pt", 0.7106),
        (CIFAR100, 32, "teachers_cifar100/resnet32_cifar100.pt", 0.7170),
        (CIFAR10, 20, "teachers_cifar10/resnet20-12fca82f.th", 0.9173),
        (CIFAR10, 32, "teachers_cifar10/resnet32-d509ac18.th", 0.9263),
        (CIFAR10, 56, "teachers_cifar10/resnet56-4bfd9763.th", 0.9339),
    ],
)
def test_a_published_teacher_scores_what_it_should_on_all_test_images(shared_data, family, depth, file, share):
    function, classes, table, label, mean, std = family
    images, labels = _read(shared_data / table, label)
    model = build(f"{EXAMPLE}:{function}", classes=classes, options={"depth": depth}).eval()
    load_weights(model, shared_data / file)
    centre, spread = (torch.tensor(value)[:, None, None] for value in (mean, std))
    right = 0
    with torch.inference_mode():
        for start in range(0, len(labels), 500):
            batch = torch.from_numpy(images[start : start + 500]).permute(0, 3, 1, 2).float() / 255
            right += int((model((batch - centre) / spread).argmax(1).numpy() == labels[start : start + 500]).sum())
    assert right / len(labels) == pytest.approx(share, abs=0.0005)


@functools.cache
def _read(path, label):
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    image = pytest.importorskip("PIL.Image")
    rows = table["img"].combine_chunks().field("bytes").to_pylist()
    return np.stack([np.asarray(image.open(io.BytesIO(row)).convert("RGB")) for row in rows]), table[label].to_numpy()
