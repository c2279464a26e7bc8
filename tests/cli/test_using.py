"""autokd evaluate and autokd predict, with a student in each form."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autokd.cli.main import main
from autokd.finalize.export import FORMATS, export_students
from autokd.finalize.facts import Facts
from autokd.finalize.plain import script
from autokd.finalize.student import open_student
from autokd.models.build import build

SEARCH_STACK = ("ray", "optuna", "mlflow", "pandas", "sklearn", "timm", "torchvision")


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights for three classes in every form."""
    place = tmp_path_factory.mktemp("students")
    facts = Facts("resnet8x0.5", {}, ("cat", "dog", "eel"), 3, 8, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), threshold=0.9)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8), dtype=np.uint8)
    network = build("resnet8x0.5", classes=3, channels=3, size=8, seed=0).eval()
    told = export_students(network, facts, place, tuple(FORMATS), pixels, pixels, print)
    assert all("file" in one for one in told.values())
    return place


@pytest.fixture
def photos(tmp_path: Path, monkeypatch) -> Path:
    """cat: 3, eel: 2, dog: none. 12 x 10 pixels, so that they have to be scaled."""
    from PIL import Image

    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(1)
    for name, count in (("cat", 3), ("eel", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(
                tmp_path / f"photos/{name}/{number}.png"
            )
    return tmp_path / "photos"


def by_hand(students: Path, files: list[Path]) -> np.ndarray:
    """Probabilities [N, 3]: Pillow's own crop and scaling, then the ONNX file's logits through a softmax in float64."""
    from PIL import Image, ImageOps

    images = [
        np.asarray(ImageOps.fit(Image.open(file).convert("RGB"), (8, 8), Image.Resampling.BICUBIC)) for file in files
    ]
    logits = open_student(students / "student.onnx").logits(np.stack(images).transpose(0, 3, 1, 2)).astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        assert (end.code or 0) == code, capsys.readouterr().err
    else:
        assert code == 0
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return told.out, told.err


@pytest.mark.parametrize("file", ["student.safetensors", "student.pt2", "student.onnx"])
def test_evaluate_gives_the_same_numbers_from_every_form(students: Path, photos: Path, file: str, capsys):
    told = json.loads(said(capsys, "evaluate", students / file, "--data", photos, "--json", "--per-class")[0])
    chances = by_hand(students, sorted(photos.rglob("*.png")))
    labels = np.array([0, 0, 0, 2, 2])
    assert (told["images"], told["classes"]) == (5, 2)
    assert told["top1"] == pytest.approx((chances.argmax(axis=1) == labels).mean())
    assert told["nll"] == pytest.approx(-np.log(chances[np.arange(5), labels]).mean(), rel=1e-4)
    assert told["low"] <= told["top1"] <= told["high"]
    assert [(row["class"], row["images"]) for row in told["per_class"]] == [("cat", 3), ("dog", 0), ("eel", 2)]


def test_evaluate_prints_what_a_person_needs(students: Path, photos: Path, capsys):
    out, _ = said(capsys, "evaluate", students / "student.onnx", "--data", photos, "--per-class")
    assert "5 images of 2 of its 3 classes" in out and max(map(len, out.splitlines())) <= 100 + len(str(students))
    for word in (
        "top-1",
        "NLL",
        "ECE",
        "Brier",
        "95 %, bootstrap over images, Wilson where wider",
        "of confidence 0.9 or more",
        "Each class",
    ):
        assert word in out
    short = json.loads(said(capsys, "evaluate", students / "student.onnx", "--data", photos, "--json")[0])
    assert "per_class" not in short
    assert (
        said(capsys, "evaluate", students / "student.onnx", "--data", photos, "-q")[0]
        == f"{100 * short['top1']:.2f} %\n"
    )


def test_predict_tells_the_likeliest_classes_of_each_file(students: Path, photos: Path, capsys):
    files = sorted(photos.rglob("*.png"))
    found = json.loads(said(capsys, "predict", students / "student.safetensors", photos, "--top", 2, "--json")[0])
    for one, file, chances in zip(found, files, by_hand(students, files), strict=True):
        order = np.argsort(-chances)
        assert one["image"] == str(file) and one["class"] == ("cat", "dog", "eel")[order[0]]
        assert [top["probability"] for top in one["top"]] == pytest.approx(chances[order[:2]], rel=1e-3)
        assert one["sure"] is bool(chances.max() >= 0.9)
    out, _ = said(capsys, "predict", students / "student.onnx", *files, "--top", 3)
    assert out.splitlines()[0].split() == ["image", "class", "probability", "then"] and "below 0.9" in out
    assert said(capsys, "predict", students / "student.onnx", files[0], "-q")[0] == found[0]["class"] + "\n"


def test_predict_reads_images_as_the_script_of_a_card_does(students: Path, odd_images, tmp_path: Path, capsys):
    """In colour; tests/finalize/test_finish.py follows a whole card."""
    files = odd_images.write_odd(tmp_path / "odd")
    shutil.copy(students / "student.onnx", tmp_path)
    text = script("student.onnx", 3, 8, 8, {"fit": "crop", "black": None, "white": None})
    alone = odd_images.answers_alone(text, tmp_path, files)
    found = json.loads(said(capsys, "predict", students / "student.onnx", *files, "--top", 3, "--json")[0])
    for one, theirs in zip(found, alone, strict=True):
        assert [top["class"] for top in one["top"]] == [name for name, _ in theirs]
        assert [top["probability"] for top in one["top"]] == pytest.approx([chance for _, chance in theirs], abs=1e-6)
    words = [sys.executable, "answer.py", str(files[0])]
    printed = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed == f"{files[0]} " + " ".join(f"{name} {chance:.2%}" for name, chance in alone[0]) + "\n"


def test_an_unreadable_image_is_told_and_the_others_are_still_answered(
    students: Path, photos: Path, tmp_path: Path, capsys
):
    (tmp_path / "bad.png").write_text("no image")
    good = photos / "cat" / "0.png"
    words = ("predict", students / "student.onnx", tmp_path / "bad.png", good, tmp_path / "none.png")
    out, err = said(capsys, *words, code=2)
    assert str(good) in out and "bad.png" not in out
    assert f"autokd: {tmp_path / 'bad.png'}: the image cannot be read" in err
    assert f"autokd: {tmp_path / 'none.png'}: there is no such image file" in err
    found = json.loads(said(capsys, *words, "--json", code=2)[0])
    assert ["fault" in one for one in found] == [True, False, True]


def test_every_image_in_a_folder_is_answered_whatever_its_suffix_and_the_rest_is_told(
    students: Path, photos: Path, tmp_path: Path, capsys
):
    from PIL import Image, features

    mixed = tmp_path / "mixed"
    shutil.copytree(photos / "cat", mixed)
    image = Image.open(mixed / "0.png")
    endings = {"JPE": "JPEG", "jfif": "JPEG", "webp": "WEBP", **({"avif": "AVIF"} if features.check("avif") else {})}
    for ending, kind in endings.items():
        image.save(mixed / f"a.{ending}", kind)
    (mixed / "loop").symlink_to("..")
    (mixed / "notes.txt").write_text("no image")
    os.rename(mixed / "1.png", os.fsencode(mixed) + b"/caf\xe9.png")
    (mixed / "bad.png").write_bytes(b"")
    words = ("predict", students / "student.onnx", mixed)
    out, err = said(capsys, *words, code=2)
    for name in ("0.png", "2.png", "caf\\xe9.png", *(f"a.{ending}" for ending in endings)):
        assert f"{mixed}/{name} " in out
    assert f"autokd: {mixed / 'bad.png'}: the image cannot be read: it is empty" in err
    assert "autokd: passed over: 1 no images by their suffix (.txt 1)" in err and "1 links to folders" in err
    found = json.loads(said(capsys, *words, "--json", code=2)[0])
    assert len(found) == 4 + len(endings) and sum("fault" in one for one in found) == 1
    (mixed / "bad.png").unlink()
    assert len(said(capsys, *words, "-q")[0].splitlines()) == 3 + len(endings)  # what is passed over is no fault


def test_deep_images_are_read_by_what_is_said_to_be_white(students: Path, photos: Path, tmp_path: Path, capsys):
    """12 bits in 16: with --white 4095 the answers are those to the same image of 8 bits, and without it there are none."""
    from PIL import Image

    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        grey = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(grey).save(path)
        deep = tmp_path / "deep" / path.parent.name / f"{number}.png"
        deep.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey.astype(np.uint16) << 4).save(deep)
    plain = json.loads(said(capsys, "predict", students / "student.onnx", photos, "--json")[0])
    words = ("predict", students / "student.onnx", tmp_path / "deep")
    deep = json.loads(said(capsys, *words, "--white", 4095, "--json")[0])
    assert [one["top"] for one in deep] == [one["top"] for one in plain]
    assert "it would be black" in said(capsys, *words, code=2)[1]
    words = ("evaluate", students / "student.onnx", "--data")
    told = json.loads(said(capsys, *words, tmp_path / "deep", "--white", 4095, "--json")[0])
    assert told["nll"] == json.loads(said(capsys, *words, photos, "--json")[0])["nll"]


def test_evaluate_names_every_image_that_cannot_be_read_or_leaves_them_out(students: Path, photos: Path, capsys):
    bad = [photos / "cat" / "1.png", photos / "eel" / "0.png"]
    for path in bad:
        path.write_bytes(b"no image")
    words = ("evaluate", students / "student.onnx", "--data", photos)
    _, err = said(capsys, *words, code=2)
    assert "2 of 5 images cannot be read" in err and all(str(path) in err for path in bad)
    told = json.loads(said(capsys, *words, "--skip-faulty", "--json")[0])
    assert told["images"] == 3 and told["skipped"] == [str(path) for path in bad]
    assert "2 left out, as they cannot be read" in said(capsys, *words, "--skip-faulty")[0]


def test_data_of_other_classes_is_refused(students: Path, photos: Path, capsys):
    (photos / "eel").rename(photos / "eels")
    _, err = said(capsys, "evaluate", students / "student.onnx", "--data", photos, code=2)
    assert "does not know the class 'eels' (did you mean 'eel'?)" in err and "it knows: cat, dog, eel" in err
    _, err = said(capsys, "evaluate", students, "--data", photos, code=2)
    assert "this is a folder, not a student" in err and "student.int8.onnx" in err


@pytest.mark.parametrize("file", [pytest.param(f, marks=[pytest.mark.slow] * f.endswith(".pt2")) for f in FORMATS.values()])
def test_the_search_stack_is_not_imported(students: Path, photos: Path, file: str, repository: Path):
    unwanted = (*SEARCH_STACK, "torch") if file.endswith(".onnx") else SEARCH_STACK
    code = f"""
import sys
from autokd.cli.main import main
model, photos = {str(students / file)!r}, {str(photos)!r}
for words in (["evaluate", model, "--data", photos], ["predict", model, photos]):
    try:
        main(words)
    except SystemExit as end:
        assert not end.code, end.code
print("IMPORTED", [name for name in {unwanted!r} if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "IMPORTED []" and done.stderr == ""
