"""Images that are not square, from the first command to the last: one side never stands for the shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import autokd

MACS = 3_235_904  # of resnet8x0.5 on 64x16 and two classes (tests/search/test_feasible.py works it out)
SPACE = """
name: nsq
data: {name: folder, root: photos, validation: 0.25, options: {test: 0.25}}
teachers: {big: {model: resnet8, train: {epochs: 1, lr: 0.05}}}
students: [resnet8x0.5, "nets.py:net"]
space: {policy: none, method: {choose: {fitnet: {}, kd: {}}}, recipe: {lr: 0.05, batch: 16}}
budgets: [{name: edge, macs: 4 M, latency: 1 s}]
search: {trials: 2, epochs: 2, rungs: {count: 0}, sampler: random}
finalize: {seeds: 1}
tracking: {mlflow: false}
"""
NETS = """
from torch import nn

def net(classes, channels, size):
    height, width = size
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(height * width, classes))
"""


def write_photos(place: Path, height: int, width: int, count: int = 24) -> None:
    """Bright and dark noise, a folder a class."""
    from PIL import Image

    random = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 120)):
        (place / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(low, low + 130, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / name / f"{number:02}.png")


@pytest.mark.slow
def test_a_rectangle_goes_the_whole_way(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    height, width = 64, 16
    write_photos(tmp_path / "photos", height, width)
    write_photos(tmp_path / "lying", width, height)
    write_photos(tmp_path / "more", height, width, 3)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "nets.py").write_text(NETS)

    code, out, _ = run("validate", "space.yaml", "--json")
    told = json.loads(out)
    assert code == 0 and told["data"]["image"] == [3, height, width]
    by_name = {Path(one["name"]).name: one for one in told["students"]}
    assert by_name["resnet8x0.5"]["macs"] == MACS
    half = (height // 2) * (width // 2)  # 4 channels of 3x3x3, then a linear layer on all of them
    assert by_name["nets.py:net"]["macs"] == half * 4 * 27 + 4 * half * 2
    assert all(one["latencies"] for one in told["students"])
    code, out, _ = run("validate", "space.yaml", "--json", "--set", "data.root=lying", "--set", "students=[resnet8x0.5]")
    assert json.loads(out)["students"][0]["macs"] == MACS
    assert run("validate", "space.yaml", "--set", "budgets.edge.macs=1 M", "--set", "students=[resnet8x0.5]")[0] == 2

    made = autokd.search(tmp_path / "space.yaml", runs=tmp_path / "runs", engine="inline")
    assert made.status()["trials"]["done"] == 2
    assert {row["macs"] for row in made.trials.to_pylist() if row["student"] == "resnet8x0.5"} <= {MACS}
    assert run("report", made.folder)[0] == 0
    code, _, err = run("finalize", made.folder)
    assert code == 0, err
    final = made.folder / "final" / "edge"
    metrics = json.loads((final / "metrics.json").read_text())
    assert metrics["input"] == [3, height, width]
    assert set(metrics["exports"]) == {"safetensors", "pt2", "onnx", "int8"}
    assert all("file" in one for one in metrics["exports"].values())
    assert f"uint8 [N, 3, {height}, {width}]" in (final / "card.md").read_text()
    if metrics["student"] == "resnet8x0.5":
        assert metrics["macs"] == MACS and f"{MACS:,} an image" in (final / "card.md").read_text()
    for name in ("student.safetensors", "student.onnx", "student.pt2"):
        code, out, _ = run("evaluate", final / name, "--data", "more", "--json", "--own-code")
        assert code == 0 and json.loads(out)["images"] == 6
    code, out, _ = run("predict", final / "student.onnx", "more/dark/00.png", "--json")
    assert code == 0 and "dark" in out
