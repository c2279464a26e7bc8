from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from autokd.cli.main import main
from autokd.search import run as searching
from autokd.search.inline_engine import InlineEngine
from autokd.track.ledger import FILE, read_events

SPACE = """
name: tiny
data: {name: digits, validation: 0.3}
teachers:
  wide: {model: resnet8, train: {epochs: 1, lr: 0.05}}
students: [resnet8x0.5]
space:
  policy: {jda_cifar100: {probability: 0.1, strength: 0.5}}
  ratio: 0.5
  method: {kd: {temperature: 4}}
  recipe: {lr: 0.05, batch: 64}
budgets: [{name: any}]
search: {trials: 5, epochs: 0.3}
tracking: {mlflow: false}
"""


class Engine(InlineEngine):
    """In this process; after so many reports it is cancelled, as a second Ctrl-C does."""

    left = 10**9

    def run(self, brain, run, tick=lambda: None):
        def count() -> None:
            Engine.left -= 1
            if Engine.left < 0:
                self.cancel()

        super().run(brain, run, count)


@pytest.fixture(autouse=True)
def inline(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(searching, "_engine", lambda engine, space: Engine(searching.bench_settings(space)))
    monkeypatch.setattr(Engine, "left", 10**9)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.fixture
def run(run, tmp_path):
    return lambda *words: run("study", *words, "--runs", tmp_path / "runs")


def trials(folder: Path) -> list[str]:
    return [event["values"]["arm"] for event in read_events(folder / FILE) if event["event"] == "trial"]


def test_a_dry_run_lists_the_arms_and_writes_nothing(run, space, tmp_path):
    code, out, _ = run(space, "--dry-run", "--seeds", 2)
    assert code == 0 and "kd · jda_cifar100 · ratio 0.25" in out
    told = json.loads(run(space, "--dry-run", "--seeds", 2, "--json")[1])
    assert told["trials"] == 2 * len(told["arms"]) and f"{told['trials']} trials" in out
    views = {one["arm"]: one["views"] for one in told["arms"]}
    assert views["kd · none"] == 302  # 0.3 epochs of 1437 - 431 images: the data set is 1797, of which 360 are its test part
    assert run(space, "--dry-run", "--quiet")[1].splitlines() == list(views)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "begins from a space"),
        (("nowhere.yaml",), "nowhere.yaml"),
        (("SPACE", "--findings", "z"), "no finding 'z'"),
        (("SPACE", "--findings", ","), "no finding is asked for"),
        (("SPACE", "--teacher", "wild"), "did you mean 'wide'"),
        (("SPACE", "--methods", "kd,cdc"), "'cdc'"),
        (("SPACE", "--policies", "rotat"), "did you mean 'rotation'"),
        (("SPACE", "--form", "big"), "one of: small, full"),
        (("SPACE", "--set", "search.epochs=none"), "epochs"),
        (("SPACE", "--seeds", "0"), "--seeds"),
        (("SPACE", "--resume", "x"), "begins from a space"),
        (("--resume", "x"), "no run"),
    ],
)
def test_what_cannot_be_run_is_one_message_and_exit_code_2(run, space, tmp_path, words, told):
    code, out, err = run(*(space if word == "SPACE" else word for word in words))
    assert code == 2 and told in err and "Traceback" not in err and not out
    assert not (tmp_path / "runs").exists()


def test_a_study_is_cut_off_goes_on_and_ends_with_its_report(run, space, tmp_path):
    words = ("--findings", "a", "--policies", "rotation", "--seeds", 2, "--screen-passes", 2)
    Engine.left = 8
    code, _, err = run(space, *words)
    assert code == 130 and "autokd study --resume" in err
    (folder,) = [path for path in (tmp_path / "runs").iterdir() if path.name.startswith("tiny-study-")]
    before = trials(folder)
    assert 0 < len(before) < 6
    partial = (folder / "study" / "study.md").read_text(encoding="utf-8")
    assert "of 6 trials" in partial

    Engine.left = 10**9
    code, out, _ = run("--resume", folder.name)
    assert code == 0 and "6 trials (3 arms, 2 seeds), 1 teacher" in out and str(folder / "study" / "report.html") in out
    arms = ["kd · none", "kd · jda_cifar100", "kd · rotation"]
    assert trials(folder) == [f"{arm} #{seed}" for seed in (0, 1) for arm in arms]
    assert {path.name for path in (folder / "study").iterdir()} >= {"report.html", "study.md", "trials.csv", "comparisons.csv"}
    screened = json.loads((folder / "screen.json").read_text(encoding="utf-8"))
    assert [one["arm"] for one in screened] == arms
    text = (folder / "study" / "study.md").read_text(encoding="utf-8")
    assert "## (a)" in text and "## The training-free screen" in text and "of 6 trials" not in text

    code, out, _ = run("--resume", folder.name, "--json")
    told = json.loads(out)
    assert code == 0 and told["ended"] == told["planned"] == 6
    assert len(trials(folder)) == 6 and os.path.exists(told["report"])


@pytest.mark.slow
def test_resume_of_a_search_takes_a_study_up_too_and_cannot_change_it(space, tmp_path, capsys):
    Engine.left = 0
    folder = tmp_path / "runs"
    for words, code in (
        (("study", str(space), "--findings", "a", "--policies", "rotation", "--seeds", "1"), 130),
        (("resume", "--trials", "3"), 2),
        (("resume",), 0),
    ):
        with pytest.raises(SystemExit) as end:
            main([*words, "--runs", str(folder)])
        assert int(end.value.code or 0) == code
        Engine.left = 10**9
    (made,) = folder.glob("tiny-study-*")
    assert len(trials(made)) == 3
    assert "was decided when it began" in capsys.readouterr().err
