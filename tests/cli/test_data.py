"""Data that is not what its owner believes it to be: told by validate, refused by all that trains, read by predict."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from autokd.cli import reading
from autokd.errors import AutokdError
from autokd.rooms import catalogue

SPACE = """
name: t
data: {name: folder, root: ROOT, validation: 0.2}
students: [resnet8x0.5]
space: {method: ce, recipe: {lr: 0.05, batch: 16}}
search: {trials: 1, epochs: 1, rungs: {count: 0}, sampler: random}
finalize: {seeds: 1, formats: [safetensors]}
resources: {cpus: 1}
tracking: {mlflow: false}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: students are counted once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, cache: Path, monkeypatch) -> Path:
    """The folder for the data of a space that lies where commands run."""
    monkeypatch.setenv("AUTOKD_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE.replace("ROOT", str(tmp_path / "data")), encoding="utf-8")
    return tmp_path / "data"


def write(base: Path, ending: str = "png", seed: int = 0, **classes: int) -> None:
    random = np.random.default_rng(seed)
    for name, count in classes.items():
        (base / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(base / name / f"{number:03}.{ending}")


def floats(base: Path, top: float) -> None:
    for name in ("cat", "dog"):
        (base / name).mkdir(parents=True)
        for number in range(20):
            values = np.random.default_rng(number).uniform(0, top, (8, 8)).astype(np.float32)
            Image.fromarray(values).save(base / name / f"{number}.tif")


def loops(base: Path) -> None:
    write(base, cat=20, dog=20)
    (base / "cat" / "all").symlink_to("..")
    (base / "dog" / "all").symlink_to("..")
    (base / "cat" / "latest").symlink_to(".")


def left_by_systems(base: Path) -> None:
    write(base, cat=20, dog=20)
    write(base / "__MACOSX", cat=20)
    write(base / "cat" / "@eaDir", **{"000.png": 1})
    write(base / ".ipynb_checkpoints", cat=1)
    (base / "cat" / "Thumbs.db").write_bytes(b"x")


def known_suffixes(base: Path) -> None:
    for ending in ("jpg", "jfif", "JPE"):
        write(base, "jpg", ord(ending[-1]), cat=14, dog=14)
        for path in base.rglob("*.jpg"):
            path.rename(path.with_name(f"{ending}-{path.stem}.{ending}"))
    (base / "cat" / "boxes.xml").write_text("x")


def names(base: Path) -> None:
    write(base, cat=20, cafe=20)
    os.rename(base / "cafe", os.fsencode(base) + b"/caf\xe9")
    os.rename(base / "cat" / "000.png", os.fsencode(base) + b"/cat/\xff.png")
    os.rename(base / "cat" / "001.png", os.fsencode(base) + b"/cat/b.t\xe9t")


def parts(base: Path) -> None:
    write(base / "Train", cat=20, dog=20)
    write(base / "Val", seed=1, cat=4, dog=4)
    write(base / "Test", seed=2, cat=3, dog=3)


SOUND: dict[str, tuple[Callable[[Path], None], int, dict[str, int]]] = {
    "parts": (parts, 54, {}),
    "loops": (loops, 40, {"links to folders that are read already": 3}),
    "floats": (lambda base: floats(base, 1.0), 40, {}),
    "systems": (left_by_systems, 40, {"hidden or of a system": 4}),
    "suffixes": (known_suffixes, 84, {"no images by their suffix": 1}),
    "names": (names, 39, {"no images by their suffix": 1}),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_can_be_read_is_read_and_the_rest_is_told(case: str, place: Path, run):
    make, images, passed = SOUND[case]
    make(place)
    code, out, err = run("validate", "space.yaml", "--json")
    report = json.loads(out)["data"]["report"]
    assert (code, err) == (0, "") and len(report["classes"]) == 2
    assert report["training"]["images"] + report["test"]["images"] == images
    assert {one["why"]: one["count"] for one in report["training"]["passed_over"]} == passed
    assert report["own_validation"] == (case == "parts")


def test_a_person_reads_it_in_a_few_lines(place: Path, run):
    names(place / "Train")
    write(place / "Val", seed=1, cat=4, dog=4)
    os.rename(place / "Val" / "dog", os.fsencode(place) + b"/Val/caf\xe9")
    code, out, _ = run("validate", "space.yaml")
    told = " ".join(out.split())
    assert code == 0 and "31 images to train on, 8 to validate (a part of its own), 8 to test; 2 classes of 19 to 20" in told
    assert "files: .png 39 passed over: 1 no images by their suffix (.t\\xe9t 1)" in told
    assert "look at the data: validation has 8 images: one of them is 12.5 points of accuracy" in told
    assert max(map(len, out.splitlines())) <= 100 + len(str(place))


def strange_test(base: Path) -> None:
    write(base / "train", cat=16, dog=16)
    write(base / "test", cow=3, dog=3)


def no_training(base: Path) -> None:
    write(base / "Test", cat=9, dog=9)
    write(base / "val", cat=9, dog=9)


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "one class": (lambda base: write(base / "archive", cat=16, dog=16), "of one class, 'archive'"),
    "lone images": (lambda base: write(base, **dict.fromkeys("abcdefgh", 1)), "in validation and not in training"),
    "black images": (lambda base: floats(base, 0.01), "32 of 32 images cannot be read"),
    "no training part": (no_training, "'Test' and 'val' look like a part of the data"),
    "strange test": (strange_test, "no training image has the class 'cow'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_by_validate_and_search_alike_and_nothing_begins(case: str, place: Path, run):
    make, told = WRONG[case]
    make(place)
    said = []
    for command in ("validate", "search"):
        code, _, err = run(command, "space.yaml")
        assert code == 2 and told in err and "Traceback" not in err
        said.append(err.split("autokd: ", 1)[1])
    assert said[0] == said[1] and not Path("runs").exists()


def broken(base: Path) -> list[Path]:
    """25 files that cannot be read among the training images, and one among those for the test."""
    write(base / "train", cat=40, dog=40)
    write(base / "test", seed=1, cat=3, dog=3)
    bad = [base / "train" / "cat" / f"{number:03}.png" for number in range(24)]
    bad += [base / "train" / "dog" / "007.png", base / "test" / "dog" / "001.png"]
    for number, path in enumerate(bad):
        path.write_bytes([b"", b"no image", path.read_bytes()[:100]][number % 3])
    return bad


def test_every_faulty_file_of_both_parts_is_named_in_one_pass(place: Path, run):
    bad = broken(place)
    code, out, err = run("validate", "space.yaml")
    assert code == 2 and "25 of 80 images of the training part cannot be read" in err
    assert "… and 5 more" in err and str(bad[-1]) in err and "data.faulty: skip" in err
    code, out, err = run("validate", "space.yaml", "--json")
    report = json.loads(out)["data"]["report"]
    assert code == 2 and "Traceback" not in err
    assert {one["file"] for part in ("training", "test") for one in report[part]["faulty"]} == set(map(str, bad))
    code, out, err = run("validate", "space.yaml", "--set", "data.faulty=skip")
    assert code == 2 and "data.faulty_limit is 0.01, and they are 0.31 of the part" in err
    skip = ("--set", "data.faulty=skip", "--set", "data.faulty_limit=0.4")
    code, out, err = run("validate", "space.yaml", *skip)
    assert (code, err) == (0, "") and "26 skipped, as they cannot be read" in " ".join(out.split())
    assert f"{bad[-1]}: " in out


@pytest.fixture
def finished(place: Path):
    """A search that skipped two of its images, by the engine that trains in this process; and what it said."""
    from autokd.search.run import search

    write(place / "train", cat=30, dog=30)
    write(place / "test", seed=1, cat=5, dog=5)
    for name in ("train/cat/003.png", "test/dog/002.png"):
        (place / name).write_bytes(b"")
    said: list[str] = []
    skip = ["data.faulty=skip", "data.faulty_limit=0.05", "data.options.white=4095"]
    run = search("space.yaml", overrides=skip, engine="inline", on_event=lambda event: said.append(event.get("text", "")))
    return run.folder, said


def damaged_meanwhile(classes: Path, train: Callable) -> Callable:
    """The training, at whose end the images of a class are no images any more; what they were lies in `kept`."""

    def trained(*asked, **how):
        made = train(*asked, **how)
        shutil.copytree(classes, classes.parents[1] / "kept")
        for path in classes.iterdir():
            path.write_bytes(b"no image")
        return made

    return trained


def test_what_a_search_skipped_stands_in_its_run_and_finalize_reads_the_same(finished, place: Path, run, monkeypatch):
    from autokd.finalize import retrain
    from autokd.finalize.student import open_student
    from autokd.search.run import resume

    folder, said = finished
    told = next(text for text in said if text.startswith("data: "))
    assert "48 images to train on, 11 to validate, 9 to test" in told and "2 skipped, as they cannot be read" in told
    data = json.loads((folder / "data.json").read_text())
    assert [Path(one["file"]).name for part in ("training", "test") for one in data[part]["faulty"]] == ["003.png", "002.png"]
    (place / "test" / "cat" / "000.png").write_bytes(b"")
    resume(folder, add_trials=1, engine="inline")
    assert len(json.loads((folder / "data.json").read_text())["test"]["faulty"]) == 2
    with monkeypatch.context() as patch:
        patch.setattr(retrain, "train_seeds", damaged_meanwhile(place / "test" / "cat", retrain.train_seeds))
        code, out, err = run("finalize", folder)
    assert code == 2 and "6 of 10 images of the test part cannot be read" in err and "any: test " not in out
    assert not (folder / "final" / "test_looks.jsonl").exists() and list((folder / "trained").glob("*.safetensors"))
    shutil.rmtree(place / "test" / "cat")
    shutil.move(place / "kept", place / "test" / "cat")
    final = retrain.finalize(folder)["any"]
    assert final.metrics["test_looks"] == 1  # what gave no score was no look
    (look,) = map(json.loads, (folder / "final" / "test_looks.jsonl").read_text().splitlines())
    assert look["test"] == final.metrics["test"]
    assert final.metrics["test"]["images"] == 8 and final.metrics["test"]["skipped"] == 2
    assert final.metrics["train_images"] == 48
    looks = open_student(final.folder / "student.safetensors").facts.looks  # deep images are read as those of training were
    assert looks == {"fit": "crop", "black": None, "white": 4095}


def test_finalize_refuses_what_it_could_not_test_before_it_trains(finished, place: Path, run):
    folder, _ = finished
    write(place / "test", cow=1)
    code, _, err = run("finalize", folder)
    assert code == 2 and "no training image has the class 'cow'" in err
    shutil.rmtree(place / "test" / "cow")
    for path in (place / "test" / "cat").iterdir():
        path.write_bytes(b"")
    code, _, err = run("finalize", folder)
    assert code == 2 and "6 of 10 images of the test part cannot be read" in err
    assert not (folder / "trained").exists() and not (folder / "final").exists()


def test_teachers_are_trained_on_no_data_that_a_search_refuses(place: Path, run):
    write(place / "archive", cat=16, dog=16)
    teacher = ("--set", "teachers.big={model: resnet8, train: {epochs: 1}}", "--set", "space.method=kd")
    for command in ("train", "check"):
        code, _, err = run("teacher", command, "space.yaml", *teacher)
        assert code == 2 and "of one class, 'archive'" in err
    code, _, err = run("study", "space.yaml", *teacher, "--seeds", "1")
    assert code == 2 and "of one class, 'archive'" in err


def test_a_path_of_data_that_is_not_utf8_is_refused_in_words(place: Path, run, tmp_path: Path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    os.chdir(folder)
    code, _, err = run("validate", tmp_path / "space.yaml", "--set", "data.root=photos")
    assert code == 2 and f"the path {tmp_path}/caf\\xe9/photos is not UTF-8" in err
    write(place, cat=20, dog=20)
    code, _, err = run("search", tmp_path / "space.yaml")
    assert code == 2 and "the path of the runs is not UTF-8" in err


def test_a_bar_is_drawn_for_a_person_and_for_nobody_else(monkeypatch):
    with reading.bar(True) as tell:
        assert tell is None  # the standard error is no terminal
    drawn = io.StringIO()
    monkeypatch.setattr(reading, "console", lambda **_: Console(file=drawn, force_terminal=True, width=80))
    with reading.bar(False) as tell:
        assert tell is None
    with reading.bar(True) as tell:
        tell("training", 128, 300)
        tell("training", 300, 300)
        tell("test", 5, 5)
    assert "reading the training part" in drawn.getvalue() and "300/300" in drawn.getvalue() and "5/5" in drawn.getvalue()


ROOMS = {"methods": "methods", "policies": "augment.policies", "datasets": "data.sets"}


@pytest.mark.parametrize("command", ROOMS)
def test_one_entry_is_told_with_what_each_setting_means(command: str, run):
    told = {entry["name"]: entry for entry in json.loads(run(command, "--json")[1])}
    for name, entry in catalogue(ROOMS[command]).items():
        words = " ".join(run(command, name)[1].split())
        for setting in entry.settings:
            assert 10 < len(setting.meaning) < 130 and "Source" not in setting.meaning, f"{name}: {setting.name}"
            assert f"{setting} {setting.meaning}" in words
        assert [one["meaning"] for one in told[name]["settings"]] == [one.meaning for one in entry.settings]
        assert told[name]["example"] in words


def test_the_settings_of_a_family_of_models_are_told_with_their_meaning(run):
    assert "dropout: float at least 0 and at most 1 = 0.0 probability that a value" in " ".join(run("models", "wrn")[1].split())


HEAD = "name: t\nstudents: [resnet8]\nteachers: {big: {model: wrn_16_2, train: {epochs: 1}}}\nbudgets: [{name: any}]\n"
REST = {"methods": "data: {name: digits}\n", "policies": "data: {name: digits}\n", "datasets": "space: {method: kd}\n"}


@pytest.mark.parametrize("command", REST)
def test_the_example_of_an_entry_is_a_space_that_loads(command: str, run, tmp_path: Path):
    from autokd.config.search_space import load_space

    for entry in json.loads(run(command, "--json")[1]):
        text = HEAD + REST[command] + entry["example"] + "\n"
        text = text.replace("space: {policy", "space: {method: kd, policy")
        (tmp_path / "example.yaml").write_text(text, encoding="utf-8")
        load_space(tmp_path / "example.yaml")


def test_a_faulty_option_is_refused_with_the_words_there_are(place: Path, run):
    for change, told in (("data.faulty=ignore", "one of stop, skip"), ("data.faulty_limit=2", "at most 1")):
        code, _, err = run("validate", "space.yaml", "--set", change)
        assert code == 2 and told in err


def test_the_error_of_a_name_that_is_not_utf8_can_be_written_anywhere():
    fault = AutokdError("caf\udce9 cannot be read", where="/tmp/caf\udce9", fix="rename \ud800 caf\udce9")
    assert str(fault).encode() and fault.where == "/tmp/caf\\xe9" and fault.what == "caf\\xe9 cannot be read"
