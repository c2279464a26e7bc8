"""The spaces that are shipped: each is valid where its data do not lie, and every budget has students."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autokd.cli.main import main
from autokd.config import shipped as room
from autokd.config.shipped import base_of, find_space, shipped

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "search_spaces"
SPACES = {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.rglob("*.yaml"))}


def validate(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["validate", str(path), *options])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder without data; what a space names of the repository is found from anywhere."""
    monkeypatch.chdir(tmp_path)


def test_the_five_are_there_and_each_is_known_by_its_name():
    assert {"digits", "cifar10", "cifar100", "cifar100-small", "imagenet"} <= set(SPACES)
    assert shipped() == SPACES


def test_a_space_is_found_by_its_name_from_anywhere_and_that_is_told(elsewhere, tmp_path, capsys):
    for word in ("digits", "digits.yaml", "search_spaces/digits", "search_spaces/digits.yaml", Path("digits")):
        assert find_space(word) == SPACES["digits"]
    code, out, err = validate(capsys, "digits", "--json")
    assert code == 0 and json.loads(out)["space"] == "digits"
    assert err == f"space digits: {SPACES['digits']}, which comes with autokd\n"


def test_a_name_in_a_folder_of_spaces_is_known_with_its_folder(tmp_path, monkeypatch):
    package = tmp_path / "autokd"
    (package / "config").mkdir(parents=True)
    (package / "search_spaces/published").mkdir(parents=True)
    file = package / "search_spaces/published/kd.yaml"
    file.write_text("name: kd\n")
    monkeypatch.setattr(room, "__file__", str(package / "config/shipped.py"))
    assert shipped() == {"published/kd": file} and find_space("published/kd") == find_space("published/kd.yaml") == file
    assert base_of(file.parent) == package and base_of(tmp_path) is None


def test_ones_own_file_comes_first_and_a_folder_of_that_name_does_not_stand_in_the_way(elsewhere, tmp_path, capsys):
    (tmp_path / "digits").mkdir()  # of images, say
    assert find_space("digits") == SPACES["digits"]
    own = SPACES["digits"].read_text().replace("name: digits", "name: mine", 1)
    (tmp_path / "digits.yaml").write_text(own)
    code, out, err = validate(capsys, "digits.yaml", "--json")
    assert code == 0 and json.loads(out)["space"] == "mine" and not err
    (tmp_path / "digits").rmdir()
    (tmp_path / "digits").write_text(own)
    assert find_space("digits") == Path("digits")


@pytest.mark.parametrize("word", ["digts", "../search_spaces/digits", "/search_spaces/digits.yaml", "nowhere/digits.yaml"])
def test_what_is_neither_is_refused_in_words(elsewhere, capsys, word):
    code, out, err = validate(capsys, word)
    assert code == 2 and "Traceback" not in err
    if word == "digts":
        assert "comes with autokd" in err and "did you mean 'digits'?" in err and "cifar100-small" in err
    else:
        assert "no such file" in err


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_is_valid_without_its_data_and_every_budget_has_students(name, elsewhere, tmp_path, capsys):
    code, out, err = validate(capsys, SPACES[name], "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["budgets"] and all(budget["students"] >= 1 for budget in told["budgets"])
    for student in told["students"]:
        assert student["budgets"], f"{student['name']} fits no budget: it could as well be left out"
        for budget in told["budgets"]:
            limits = {key: budget[key] for key in ("params", "macs") if key in budget}
            keeps = all(student[key] <= limit for key, limit in limits.items())
            assert keeps or budget["name"] not in student["budgets"]
    assert list(tmp_path.iterdir()) == []  # nothing was downloaded or made


@pytest.mark.parametrize("name", SPACES)
def test_in_words_it_fits_a_hundred_columns_and_no_name_is_torn(name, elsewhere, capsys):
    code, out, _ = validate(capsys, SPACES[name])
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    for knob in json.loads(validate(capsys, SPACES[name], "--json")[1])["knobs"]:
        assert re.search(rf"^{re.escape(knob['path'])} ", out, re.MULTILINE), knob["path"]
    assert "True" not in out and "None" not in out  # YAML's words, not Python's
    assert "configurations" in out and "work at most" in out


def test_what_is_told_of_the_zoo_agrees_with_the_published_counts(elsewhere, capsys):
    told = json.loads(validate(capsys, SPACES["cifar100"], "--json")[1])
    students = {student["name"]: (student["params"], student["macs"]) for student in told["students"]}
    # shared by the public implementations of the field: 278,324 and 703,284 parameters, at 100 classes
    assert students["resnet20"][0] == 278_324 and students["wrn_16_2"][0] == 703_284
    assert told["data"]["training_images"] == 45_000  # 50,000 but a tenth
    # 400 trials of 240 epochs
    assert told["work"]["images"] == 400 * 240 * 45_000
    assert told["work"]["steps"] == [400 * 240 * 45_000 // 256, 400 * 240 * 45_000 // 64]


def test_a_folder_that_is_not_there_is_told_by_its_options_and_without_them_is_missing(elsewhere, tmp_path, capsys):
    code, out, _ = validate(capsys, SPACES["imagenet"], "--json")
    data = json.loads(out)["data"]
    assert (data["classes"], data["image"], data["training_images"]) == (1000, [3, 224, 224], None)
    code, _, err = validate(capsys, SPACES["imagenet"], "--set", "data.options={size: 224}")
    assert code == 2 and "there is no such folder" in err
