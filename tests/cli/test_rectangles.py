"""Images that are not square, from the first command to the last: one side never stands for the shape. And with them a network
whose branches are made one where it is deployed."""

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
space: {policy: none, method: {choose: {fitnet: {}, kd: {}}}, recipe: {batch: 16}}
budgets: [{name: edge, macs: 4 M, latency: 1 s}, {name: own, params: 5 k}]
search: {trials: 4, epochs: 2, rungs: {count: 0}, sampler: random}
finalize: {seeds: 1}
tracking: {mlflow: false}
"""
NETS = """
import torch
from torch import nn

class Branches(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.wide, self.thin = nn.Conv2d(inputs, 4, 3, 2, 1), nn.Conv2d(inputs, 4, 1, 2)

    def forward(self, x):
        return self.wide(x) + self.thin(x) if hasattr(self, "thin") else self.wide(x)

    def reparameterize(self):
        self.wide.weight.data += nn.functional.pad(self.thin.weight, [1, 1, 1, 1])
        self.wide.bias.data += self.thin.bias
        del self.thin

def net(classes, channels, size):
    height, width = size
    return nn.Sequential(Branches(channels), nn.ReLU(), nn.Flatten(), nn.Linear(height * width, classes))
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
def test_a_rectangle_goes_the_whole_way(tmp_path, monkeypatch, run, odd_images):
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
    code, out, _ = run("validate", "space.yaml", "--json", "--set", "data.root=lying")
    assert MACS in {one["macs"] for one in json.loads(out)["students"]}
    assert run("validate", "space.yaml", "--set", "budgets.edge.macs=1 M", "--set", "students=[resnet8x0.5]")[0] == 2

    made = autokd.search(tmp_path / "space.yaml", runs=tmp_path / "runs", engine="inline")
    assert made.status()["trials"]["done"] == 4
    assert {row["macs"] for row in made.trials.to_pylist() if row["student"] == "resnet8x0.5"} <= {MACS}
    assert run("report", made.folder)[0] == 0
    code, _, err = run("finalize", made.folder)
    assert code == 0, err
    metrics = {budget: json.loads((made.folder / "final" / budget / "metrics.json").read_text()) for budget in ("edge", "own")}
    assert metrics["own"]["params"] == 4 * 27 + 4 + 2 * (height * width + 1) and metrics["own"]["fused"]
    for budget, told in metrics.items():
        final = made.folder / "final" / budget
        card = (final / "card.md").read_text()
        assert told["input"] == [3, height, width] and f"uint8 [N, 3, {height}, {width}]" in card
        assert set(told["exports"]) == {"safetensors", "pt2", "onnx", "int8"}
        assert all("file" in one for one in told["exports"].values())
        assert f"{told['macs']:,} an image" in card and ("fused(model)" in card) is told["fused"]
        assert told["macs"] == (MACS if told["student"] == "resnet8x0.5" else by_name["nets.py:net"]["macs"])
        for name in ("student.safetensors", "student.onnx", "student.pt2"):
            code, out, _ = run("evaluate", final / name, "--data", "more", "--json", "--own-code")
            assert code == 0 and json.loads(out)["images"] == 6
        code, out, _ = run("predict", final / "student.onnx", "more/dark/00.png", "--top", "2", "--json")
        assert code == 0 and "dark" in out
        (alone,) = odd_images.answers_alone(odd_images.script_of(card), final, [tmp_path / "more/dark/00.png"])
        chances = [top["probability"] for top in json.loads(out)[0]["top"]]
        assert chances == pytest.approx([chance for _, chance in alone], abs=1e-6)
        assert f"{width} x {height} pixels exactly" in card
