"""Bad spaces, as a person meets them: `autokd search FILE` says where, what and the way out, and starts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autokd.cli.main import main

GOOD = """\
name: small
data: {name: digits}
teachers:
  big: {model: wrn_16_2, train: {epochs: 3}}
students: [resnet8, resnet14]
space:
  method:
    choose:
      kd: {temperature: {log: [1, 20]}}
      ccd: {normalise_weight: true}
  policy:
    choose: {jda_cifar100: {probability: 0.3}, none: {}}
  ratio: 0.5
  recipe: {lr: 0.1}
budgets:
  - {name: tiny, params: 100 k}
  - {name: small, macs: 2 M}
search: {trials: 2, epochs: 1}
"""

# what is wrong: (what is replaced, by what), the line, what is said of it, the way out
BAD = {
    "an unknown key": ("epochs: 1}", "epochs: 1, schedular: none}", 18, "unknown key 'schedular'", "'scheduler'"),
    "a misspelt section of nothing": ("search: {tr", "serach:\nsearch: {tr", 18, "unknown key 'serach'", "mean 'search'?"),
    "a length beyond reason": ("epochs: 1}", "epochs: 1e9}", 18, "search.epochs must be at most 1e+06", "change the number"),
    "rungs beyond count": ("epochs: 1}", "epochs: 1, rungs: {count: 1000000000}}", 18, "search.rungs.count", "at most 100"),
    "a wrong type": ("trials: 2", "trials: many", 18, "search.trials is a whole number, not 'many'", "24"),
    "an impossible budget": ("params: 100 k", "params: 1 k", 16, "no student fits the budget tiny", "resnet8 needs 77,754"),
    "a missing checkpoint": ("train: {epochs: 3}", "checkpoint: gone.pth", 4, "gone.pth does not exist", "train it"),
    "an empty range": ("log: [1, 20]", "log: [20, 1]", 9, "the range 20 to 1 is empty", "[1, 20]"),
    "a setting under the wrong branch": (
        "{temperature: {log",
        "{normalise_weight: true, temperature: {log",
        9,
        "kd has no setting 'normalise_weight'",
        "normalise_weight belongs to ccd",
    ),
    "an unknown student": ("resnet14]", "resnet-fourteen]", 5, "unknown model 'resnet-fourteen'", "known:"),
    "a duplicate key": ("  ratio: 0.5\n", "  ratio: 0.5\n  ratio: 0.75\n", 14, "'ratio' stands here twice", "line 13"),
    "an unknown method": ("      ccd:", "      ccdd:", 10, "unknown method 'ccdd'", "did you mean 'ccd'?"),
    "a ratio above one": ("ratio: 0.5", "ratio: 1.5", 13, "ratio must be at least 0 and at most 1, not 1.5", "a number"),
    "two budgets of one name": ("name: small, macs", "name: tiny, macs", 17, "there are two budgets 'tiny'", "rename one"),
    "no YAML at all": ("students: [resnet8, resnet14]", "students: [resnet8, resnet14", 6, "not YAML", "check the indentation"),
    "a negative probability": ("probability: 0.3", "probability: -0.3", 12, "probability must be at least 0", "a number"),
    "a tab": ("  ratio: 0.5", "\tratio: 0.5", 13, "not YAML", "indentation"),
    "a log range from zero": ("log: [1, 20]", "log: [0, 20]", 9, "a log range starts above 0", "uniform"),
    "an unknown data set": ("name: digits", "name: digts", 2, "unknown data set 'digts'", "did you mean 'digits'?"),
    "a teacher without weights": (", train: {epochs: 3}}", "}", 4, "nothing says where", "checkpoint:"),
    "nothing that ends it": ("trials: 2", "trials: null", 18, "nothing ends this search", "trials, hours"),
}


def bad(folder: Path, old: str, new: str) -> Path:
    assert GOOD.count(old) == 1
    path = folder / "bad.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize("case", BAD)
def test_a_bad_space_is_told_before_anything_starts(case, tmp_path, capsys, monkeypatch):
    old, new, line, what, way_out = BAD[case]
    path = bad(tmp_path, old, new)
    monkeypatch.chdir(tmp_path)
    ray = "ray" in sys.modules
    with pytest.raises(SystemExit) as end:
        main(["search", str(path), "--quiet"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert f"{path}:{line}: " in said and said.count(str(path)) <= 2  # one message (a second name may point elsewhere)
    assert what in said and way_out in said and "Traceback" not in said
    assert len(said.strip().splitlines()) == 2  # what, and the way out
    assert ("ray" in sys.modules) == ray
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.yaml"]  # no run was begun


def spawn(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("case", ["an unknown key", "an impossible budget", "no YAML at all"])
def test_a_process_of_its_own_ends_with_two_and_two_lines(case, tmp_path):
    old, new, line, what, way_out = BAD[case]
    path = bad(tmp_path, old, new)
    ended = spawn(["-m", "autokd.cli.main", "search", str(path)], tmp_path)
    assert ended.returncode == 2
    assert f"{path}:{line}: {what}" in ended.stderr and way_out in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.yaml"]


def test_neither_ray_nor_torch_is_imported_to_say_that_a_space_is_wrong(tmp_path):
    path = bad(tmp_path, "method:\n", "mehtod:\n")
    script = (
        "import sys\nfrom autokd.cli.main import main\n"
        f"try:\n    main(['search', {str(path)!r}])\nexcept SystemExit as end:\n"
        "    print(end.code, [name for name in ('ray', 'torch', 'mlflow', 'optuna') if name in sys.modules])\n"
    )
    ended = spawn(["-c", script], tmp_path)
    assert ended.stdout.splitlines()[-1] == "2 []", ended.stderr
    assert "did you mean 'method'?" in ended.stderr


def test_several_faults_of_one_file_are_told_at_once(tmp_path, capsys):
    text = GOOD
    together = ["a wrong type", "an unknown student", "an empty range", "a ratio above one", "two budgets of one name"]
    for case in together:
        text = text.replace(*BAD[case][:2])
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["search", str(path), "--quiet"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    told = [said.index(f"{path}:{line}: ") for line in sorted(BAD[case][2] for case in together)]
    assert told == sorted(told)  # in the order of the file
    assert all(BAD[case][3] in said for case in together)


def test_what_is_wrong_on_the_command_line_is_told_by_its_option(tmp_path, capsys):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["search", str(path), "--quiet", "--set", "space.ratio=2", "--set", "search.sampler=tep"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert "--set space.ratio=2: ratio must be" in said and "--set search.sampler=tep: sampler is one of" in said


def test_a_missing_file_is_told(tmp_path, capsys):
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["search", str(tmp_path / "god.yaml"), "--quiet"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "no such file" in said and "did you mean 'good.yaml'?" in said
