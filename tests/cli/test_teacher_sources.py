"""Every way to a teacher that docs/teachers.md names, from the command: what `validate` accepts, the others can do."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save_file

from autokd.models.build import build
from autokd.models.checkpoint import save_weights

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
WAYS: dict[str, Any] = YAML(typ="safe").load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])["teachers"]
TIMM = {"model": "timm:resnet10t", "weights": "c3_in1k"}
CLASSES = 1000  # those of ImageNet, which published weights know

NETWORKS = """
from torch import nn

def make_resnet(classes, channels, depth):
    layers = [nn.Conv2d(channels, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *(nn.Linear(8, 8) for _ in range(depth // 16)), nn.Linear(8, classes))
"""


def space(teachers: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "ways",
        "data": {"name": "table", "root": "images", "validation": 0.05},
        "teachers": teachers,
        "students": ["resnet8x0.5"],
        "space": {"policy": "none", "method": "kd", "recipe": {"batch": 64, "lr": 0.05}},
        "search": {"trials": 2, "epochs": 1, "rungs": {"count": 0}, "sampler": "random"},
        "resources": {"cpus": 1},
        "tracking": {"mlflow": False},
    }


def make_images(place: Path) -> None:
    """Two images of each of a thousand classes to train on, and none of them alike."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"class {number}" for number in range(CLASSES)]
    told = json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}})
    place.mkdir()
    for part, each in (("train", 2), ("test", 1)):
        labels = np.repeat(np.arange(CLASSES), each)
        pixels = np.random.default_rng(each).integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
        encoded = []
        for one in pixels:
            file = io.BytesIO()
            Image.fromarray(one).save(file, "bmp")
            encoded.append(file.getvalue())
        table = pa.table({"image": pa.array(encoded, pa.binary()), "label": labels})
        pq.write_table(table.replace_schema_metadata({"huggingface": told}), place / f"{part}.parquet")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder as the page has it in mind: images, checkpoints, and a project's own code."""
    folder = tmp_path_factory.mktemp("ways")
    make_images(folder / "images")
    (folder / "teachers").mkdir()
    (folder / "my_project").mkdir()
    (folder / "my_project" / "networks.py").write_text(NETWORKS)
    file, own = WAYS["from_a_file"], WAYS["my_own"]
    torch.save({"model": build(file["model"], classes=CLASSES, seed=1).state_dict()}, folder / file["checkpoint"])
    name = f"{folder}/{own['model']}"
    save_weights(build(name, classes=CLASSES, options=own["options"], seed=1), folder / own["checkpoint"])
    write(folder, space({**WAYS, "from_timm": TIMM}))
    return folder


def write(folder: Path, values: dict[str, Any], name: str = "space.yaml") -> Path:
    with open(folder / name, "w", encoding="utf-8") as file:
        YAML().dump(values, file)
    return folder / name


@pytest.fixture
def here(place: Path, monkeypatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("AUTOKD_CACHE", str(place / "cache"))
    return place


def published(model: str) -> dict[str, torch.Tensor]:
    """Weights of the network's names and shapes, as quickly as they can be had."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build(model, classes=CLASSES, size=8, seed=1).state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=draw) * 0.1 for name, shape in shapes.items()}


def offline(monkeypatch) -> None:
    """The libraries find what they would download."""
    hub, timm = WAYS["from_a_hub"]["model"], TIMM["model"]
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published(hub))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: published(timm))


def test_every_way_of_the_page_is_accepted_and_measured(here: Path, run, monkeypatch):
    offline(monkeypatch)
    with monkeypatch.context() as patch:  # what validates has no network
        for edge in ("torchvision.models._api.load_state_dict_from_url", "timm.models._builder.load_state_dict_from_hf"):
            patch.setattr(edge, lambda *_, **__: pytest.fail("validate downloads nothing"))
        code, out, err = run("validate", "space.yaml", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert {one["name"] for one in told["teachers"]} == {*WAYS, "from_timm"}
    assert "weights of from_a_file: taken from model" in told["notes"]
    sizes = [note for note in told["notes"] if "pixels, the images have 8 x 8" in note]
    found = [re.findall(r"teacher (\w+): .* on (\d+) x", note)[0] for note in sizes]
    assert found == [("from_a_hub", "224"), ("from_timm", "176")]
    code, out, err = run("teacher", "check", "space.yaml", "--json", "--device", "cpu")
    assert code == 0, err
    found = {one["teacher"]: one for one in json.loads(out)}
    assert found["trained_here"]["note"].startswith("not trained yet")
    assert all(found[name]["val_top1"] >= 0 for name in found if name != "trained_here")
    assert found["from_a_file"]["note"] == "saw the validation images"


WRONG = [
    ("from_a_hub.weights=IMAGENET1K_V7", "no published weights 'IMAGENET1K_V7'"),
    ("from_a_hub.options.pretrained=true", "autokd itself sets 'pretrained'"),
    ("from_timm.weights=a1_in1k", "there are: c3_in1k"),
    ("from_timm.options.num_classes=3", "autokd itself sets 'num_classes'"),
    ("from_a_file.checkpoint=teachers/mine.safetensors", "the weights do not fit wrn_40_2"),
    ("my_own.options.depth=64", "the weights do not fit"),
]


@pytest.mark.parametrize(("change", "told"), WRONG)
def test_validate_refuses_what_the_others_would(here: Path, run, monkeypatch, change: str, told: str):
    offline(monkeypatch)
    name = change.partition(".")[0]
    one = write(here, space({name: {**WAYS, "from_timm": TIMM}[name]}), "one.yaml")
    for words in (["validate"], ["teacher", "check"]):
        code, out, err = run(*words, one, "--set", f"teachers.{change}")
        assert code == 2 and told in err and "Traceback" not in err, (words, out, err)


@pytest.mark.parametrize("words", [["validate"], ["search"], ["teacher", "check"]])
def test_weights_for_other_classes_are_refused_by_every_command_alike(here: Path, run, words: list[str], tmp_path: Path):
    values = space({"hub": TIMM}) | {"data": {"name": "digits", "options": {}}}
    code, _, err = run(*words, write(tmp_path, values), *(["--runs", tmp_path / "runs"] if words == ["search"] else []))
    assert code == 2 and "the weights c3_in1k know 1000 classes, the data has 10" in err
    assert not (tmp_path / "runs").exists()


def test_every_fault_of_the_weights_is_told_at_once(here: Path, run):
    values = space({"a": {**TIMM, "weights": "no"}, "b": {**WAYS["from_a_hub"], "weights": "no"}})
    _, _, err = run("validate", write(here, values, "two.yaml"))
    assert "teachers.a: " in err and "teachers.b: " in err


def test_what_surrounds_the_weights_of_a_file_is_seen_through_and_told_by_check(run, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = build("resnet20", classes=10, channels=1, size=8, seed=0).state_dict()
    one = torch.zeros(1, dtype=torch.float64)
    files: dict[str, Any] = {
        "plain.pt": own,
        "lightning.ckpt": {"epoch": 3, "state_dict": {f"model.{name}": value for name, value in own.items()}},
        "averaged.pt": {"n_averaged": torch.tensor(5), **{f"module.{name}": value for name, value in own.items()}},
        "thop.pt": {**own, "total_ops": one, "total_params": one},
        "ema.pth": {"epoch": 1, "ema": own},
        "timm_ema.pth.tar": {"state_dict": {n: torch.zeros_like(v) for n, v in own.items()}, "state_dict_ema": own},
        "int8.pt": {n: v.to(torch.int8) if v.is_floating_point() else v for n, v in own.items()},
    }
    words = {"lightning.ckpt": "prefix model. taken off", "averaged.pt": "left out (1): n_averaged", "thop.pt": "total_ops",
             "ema.pth": "taken from ema", "timm_ema.pth.tar": "taken from state_dict_ema, not from state_dict"}  # fmt: skip
    values = space({"t": {"model": "resnet20", "checkpoint": "plain.pt"}}) | {"data": {"name": "digits"}}
    file = write(tmp_path, values)
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    _, plain, _ = run("teacher", "check", file, "--json")
    expected = json.loads(plain)[0]["val_top1"]
    assert "prefix model. taken off" in run("teacher", "check", file, "--set", "teachers.t.checkpoint=lightning.ckpt")[1]
    for name, told in words.items():
        change = ["--set", f"teachers.t.checkpoint={name}"]
        code, out, err = run("teacher", "check", file, "--json", *change)
        assert code == 0, err
        (found,) = json.loads(out)
        assert found["val_top1"] == expected and told in found["told"][0]
    for command in (["validate"], ["teacher", "check"]):
        code, out, err = run(*command, file, "--set", "teachers.t.checkpoint=int8.pt")
        assert code == 2 and "quantised weights" in err and "conv1.weight (int8)" in err


def test_a_teacher_that_no_longer_answers_as_it_did_is_told_and_trained_again(run, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n\nclass net(nn.Module):\n    def __init__(self, classes):\n"
        "        super().__init__()\n        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
        "    def forward(self, x):\n        return float((Path(__file__).parent / 'sign').read_text()) * self.body(x)\n"
    )
    (tmp_path / "sign").write_text("1")
    values = space({"t": {"model": "net.py:net", "train": {"epochs": 2, "lr": 0.02}}}) | {"data": {"name": "digits"}}
    file = write(tmp_path, values)
    assert run("teacher", "train", file, "--device", "cpu")[0] == 0
    (weights,) = (tmp_path / "runs" / "teachers").glob("t-*.safetensors")
    (tmp_path / "sign").write_text("-1")
    for command in ("train", "check"):
        code, out, err = run("teacher", command, file, "--device", "cpu")
        assert code == 2 and "the teacher 't' is not what it was" in err and f"remove {weights.name}" in err
        assert command == "train" or "as guessing could be" in out  # what was measured is told all the same
    assert run("teacher", "train", file, "--device", "cpu", "--again")[0] == 0
    code, out, err = run("teacher", "check", file, "--device", "cpu", "--json")
    assert code == 0 and json.loads(out)[0]["val_top1"] > 0.5, err


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_learns_from_every_way_of_the_page_in_processes_that_have_no_network(place: Path, tmp_path: Path):
    """What the libraries keep of downloads is filled beforehand: nothing of theirs or ours is replaced."""
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    torch.save(published(WAYS["from_a_hub"]["model"]), hub / "resnet34-b627a593.pth")
    kept = tmp_path / "hf" / "hub" / "models--timm--resnet10t.c3_in1k"
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    save_file(published(TIMM["model"]), kept / "snapshots" / "abc" / "model.safetensors")
    environment = {**os.environ, "TORCH_HOME": str(tmp_path / "torch"), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1",
                   "AUTOKD_CACHE": str(place / "cache"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    short = ["--set", "teachers.trained_here.train.epochs=1", "--runs", str(tmp_path / "runs"), "--quiet"]

    def autokd(*words: str) -> str:
        code = "from autokd.cli.main import main; import sys; main(sys.argv[1:])"
        command = [sys.executable, "-W", "ignore", "-c", code, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert autokd("validate", "space.yaml", "--quiet") == "ok\n"
    run = Path(autokd("search", "space.yaml", *short).strip().splitlines()[-1])
    events = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    teachers = {event["teacher"]: event for event in events if event["event"] == "teacher"}
    assert set(teachers) == {*WAYS, "from_timm"} and teachers["trained_here"]["trained"]
    assert [event["status"] for event in events if event["event"] == "end"] == ["done", "done"]
    again = Path(autokd("search", "space.yaml", *short).strip().splitlines()[-1])
    events = [json.loads(line) for line in (again / "ledger.jsonl").read_text().splitlines()]
    kept_one = next(event for event in events if event["event"] == "teacher" and event["teacher"] == "trained_here")
    assert not kept_one["trained"] and kept_one["sha256"] == teachers["trained_here"]["sha256"]
    autokd("resume", str(again), "--add-trials", "1", "--quiet")


