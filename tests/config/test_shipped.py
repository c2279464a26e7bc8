"""The spaces that are shipped: each is valid where its data do not lie, and every budget has students."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autokd.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SPACES = {path.stem: path for path in sorted((ROOT / "search_spaces").glob("*.yaml"))}


def validate(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["validate", str(path), *options])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder without data; the repository's own files are found beside the space's parent, as from a checkout."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)


def test_the_five_are_there():
    assert {"digits", "cifar10", "cifar100", "cifar100-small", "imagenet"} <= set(SPACES)


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
    assert sorted(item.name for item in tmp_path.iterdir()) == ["examples"]  # nothing was downloaded or made


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
