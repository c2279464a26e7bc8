from __future__ import annotations

import csv
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from autokd.config.search_space import load_space
from autokd.errors import AutokdError
from autokd.report.study import markdown, points, study_report, write_study
from autokd.search.study import Study, plan_study
from autokd.seeds import derived
from autokd.select.verdict import NOT_SHOWN, OPPOSITE, SHOWN, estimate
from autokd.track.recorder import Recorder

NASTY = '<img src=x onerror="alert(1)">|`'
SPACE = {
    "name": "made",
    "data": {"name": "digits", "validation": 0.25},
    "teachers": {NASTY: {"model": "resnet14", "train": {"epochs": 1}}},
    "students": ["resnet8"],
    "space": {
        "policy": {"jda_cifar100": {"probability": 0.2, "strength": 0.5}},
        "ratio": 0.4,
        "method": {"kd": {"temperature": 4}},
    },
    "budgets": [{"name": "any"}],
    "search": {"trials": 1, "epochs": 2},
}


def score(arm: str, seed: int) -> float:
    """Known differences: rotation is worse by 10, JDA better by 2 points, the others alike; seeds differ by 5 points."""
    found = 0.5 + 0.05 * seed + (0.001 if seed == 1 else 0)
    if "rotation" in arm:
        return found - 0.1 + 0.001 * seed
    return found + (0.02 + 0.001 * seed if arm == "kd · jda_cifar100" else 0.0)


def made(folder: Path, study: Study, *, ended=lambda arm, seed: True, failed: str = "") -> Path:
    """A run folder of a study as a search would have left it."""
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(study.to_json(), encoding="utf-8")
    recorder = Recorder(folder)
    recorder.emit({"event": "begin", "run": str(folder), "name": study.name, "budgets": [], "seed": 0})
    for number, (name, teacher) in enumerate(study.teachers.items()):
        facts = {"config": asdict(teacher), "val_top1": 0.8 + 0.05 * number, "ece": 0.1, "trained": True}
        recorder.emit({"event": "teacher", "teacher": name, **facts})
    for number, (name, config) in enumerate(study.trials().items()):
        arm, _, seed = name.rpartition(" #")
        trial = f"t{number:05d}"
        words = {"method": config.method.name, "policy": config.policy.name, "ratio": config.ratio, "seed": config.seed}
        told = {"trial": trial, "number": number, "values": {"arm": name}, "config": config.to_dict(), **words}
        recorder.emit({"event": "trial", **told})
        for mark, share in enumerate((0.5, 1.0)):
            report = {"mark": mark, "rung": 0 if mark else None, "images": 1000 * (mark + 1), "seconds": 2.0, "final": bool(mark)}
            recorder.emit({"event": "report", "trial": trial, **report, "val_top1": share * score(arm, int(seed))})
        status = "failed" if arm == failed else "done" if ended(arm, int(seed)) else "running"
        if status != "running":
            recorder.emit({"event": "end", "trial": trial, "status": status, "reason": "it broke" if failed else None})
    recorder.emit({"event": "close", "status": "finished", "reason": ""})
    recorder.close()
    return folder


@pytest.fixture
def study() -> Study:
    return plan_study(load_space(SPACE), images=1600)


@pytest.fixture
def folder(study: Study, tmp_path: Path) -> Path:
    return made(tmp_path / "run", study)


def part(report, letter: str, number: int = 0):
    return [one for one in report.parts if one.finding.letter == letter][number]


def test_scores_are_those_of_the_end_of_each_training_in_per_cent_by_seed(folder):
    report = study_report(folder)
    rows = {row.label: row for row in part(report, "a").rows}
    assert rows["none"].scores == pytest.approx({0: 50.0, 1: 55.1, 2: 60.0})
    assert rows["jda_cifar100"].scores == pytest.approx({0: 52.0, 1: 57.2, 2: 62.2})
    assert rows["jda_cifar100"].estimate.mean == pytest.approx(57.1333, abs=1e-3)
    assert (report.ended, report.planned, report.state) == (report.planned, 3 * len(report.study.arms), "finished")
    assert report.images == 2000 * report.planned


def test_verdicts_follow_the_known_differences(folder):
    a = part(study_report(folder), "a")
    known = {one.label: one for one in a.verdicts}
    assert known["jda_cifar100 against none"].difference.mean == pytest.approx(2.1)  # 2.0, 2.1, 2.2
    assert known["jda_cifar100 against none"].word == SHOWN
    assert known["rotation against none"].word == OPPOSITE
    assert known["randaugment against none"].word == NOT_SHOWN
    assert [claim.word for claim in a.claims] == [SHOWN, SHOWN]


def test_no_smaller_spread_than_an_image_is_believed(folder):
    """Randaugment scores as the control does in every seed: 400 validation images, a quarter of a point each."""
    known = {one.label: one for one in part(study_report(folder), "a").verdicts}
    same = known["randaugment against none"]
    assert same.difference.mean == pytest.approx(0.0, abs=1e-9) and same.difference.sd == pytest.approx(0.25)
    assert same.difference.low < -0.6 < 0.6 < same.difference.high  # 4.30 x 0.25 / sqrt 3


def test_three_trainings_that_are_right_on_every_image_are_not_certain(study, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "score", lambda arm, seed: 1.0)
    report = study_report(made(tmp_path / "run", study))
    (row,) = [row for row in part(report, "a").rows if row.label == "none"]
    assert (row.estimate.mean, row.estimate.high) == (100.0, 100.0)  # and nothing is above 100 %
    assert row.estimate.low == pytest.approx(100 * 400 / (400 + 1.959964**2))  # Wilson's of 400 of 400
    page = write_study(tmp_path / "run").read_text(encoding="utf-8")
    (below, *_), (above, *_) = (re.findall(rf'"{word}":\[([\d.,]+)\]', page) for word in ("arrayminus", "array"))
    assert float(below.split(",")[0]) == pytest.approx(100 - row.estimate.low) and float(above.split(",")[0]) == 0


def test_a_teacher_trained_once_is_told_without_an_interval(folder):
    b = part(study_report(folder), "b")
    teachers = b.verdicts[0]
    assert teachers.difference.mean == pytest.approx(5.0) and teachers.difference.count == 1 and teachers.word == NOT_SHOWN
    assert "no interval" in b.claims[0].why
    assert {row.label: row.estimate.mean for _, row in b.teachers} == pytest.approx({NASTY: 80.0, f"{NASTY}-jda_cifar100": 85.0})


def test_what_has_not_ended_is_left_out_and_said(study, tmp_path):
    report = study_report(made(tmp_path / "run", study, ended=lambda arm, seed: seed < 2 and "rotation" not in arm))
    a = part(report, "a")
    rows = {row.label: row for row in a.rows}
    assert list(rows["none"].scores) == [0, 1] and rows["rotation"].estimate is None
    assert "jda_cifar100 against rotation" not in {one.label for one in a.verdicts}
    assert (a.claims[1].word, a.claims[1].why) == (NOT_SHOWN, "not all of its trials have ended")
    assert f"of {report.planned} trials" in markdown(report)


def test_failed_trials_are_told_with_their_reason(study, tmp_path):
    report = study_report(made(tmp_path / "run", study, failed="ccd · none"))
    assert [arm for arm, _ in report.failed] == [f"ccd · none #{seed}" for seed in range(3)]
    assert "3 trials failed" in markdown(report) and "it broke" in markdown(report)


def test_the_screen_stands_with_its_rank_correlation(study, folder):
    values = {"kd · jda_cifar100": 0.1, "kd · none": 0.2, "kd · randaugment": 0.3, "kd · rotation": 0.4}
    facts = {"policy": "p", "groups": 9, "group": 10, "batch": 8, "passes": 2}
    (folder / "screen.json").write_text(json.dumps([{"arm": arm, "value": v, **facts} for arm, v in values.items()]))
    screen = study_report(folder).screen
    # scores: jda first, none and randaugment alike, rotation last; ranks 1 2 3 4 against 4 2.5 2.5 1
    assert screen.rank.rho == pytest.approx(-4.5 / (5 * 4.5) ** 0.5)
    assert screen.word == NOT_SHOWN  # four policies cannot show it: the smallest p is 2/24
    assert "rank correlation is -0.95" in markdown(study_report(folder))


def test_a_skipped_finding_says_why(tmp_path):
    space = load_space({**SPACE, "teachers": {"loaded": {"model": "resnet14", "checkpoint": str(_weights(tmp_path))}}})
    report = study_report(made(tmp_path / "run", plan_study(space)))
    assert "Not run: the teacher loaded is loaded" in markdown(report)
    assert "not run" in (write_study(tmp_path / "run")).read_text(encoding="utf-8")


def _weights(folder: Path) -> Path:
    (folder / "there.safetensors").write_bytes(b"")
    return folder / "there.safetensors"


def test_the_page_asks_no_one_else_and_escapes_what_a_person_named(folder):
    page = write_study(folder).read_text(encoding="utf-8")
    script = page.index("</script>")
    head, body = page[:script], page[script:]
    assert "<script src" not in page and "<link" not in page and "@import" not in page
    assert "Plotly" in head
    assert NASTY not in page and "<img" not in body
    assert "&lt;img src=x" in body
    assert body.count("Plotly.newPlot") == 6  # one a finding; (c) has two curves


def test_every_finding_has_a_figure_a_table_with_intervals_and_a_verdict(folder):
    page = write_study(folder).read_text(encoding="utf-8")
    sections = re.split(r"<h2>", page[page.index("</script>") :])[2:]
    assert [section[1] for section in sections] == list("abccde")
    for section in sections:
        assert "Plotly.newPlot" in section and "<table>" in section and 'class="word' in section
        assert re.search(r"<td>[+-]?\d+\.\d\d \[", section)


def test_the_markdown_is_tables_of_equal_width_and_nothing_of_html(folder):
    text = markdown(study_report(folder))
    assert "<img" not in text
    widths: list[int] = []
    for line in text.splitlines():
        if line.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", line)))
            assert widths[-1] == widths[0], line
        else:
            widths = []


def test_the_tables_hold_every_trial_and_every_comparison(folder, study):
    place = write_study(folder).parent
    with open(place / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(study.arms)
    assert {row["arm"] for row in rows} == set(study.arms)
    first = rows[0]
    assert (first["trial"], first["arm"], first["status"]) == ("t00000", "kd · none", "done")
    assert first["seed"] == str(derived(0, "study", 0))
    assert float(first["val_top1"]) == 0.5
    with open(place / "comparisons.csv", encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    assert len(told) == sum(len(one.differences) for one in study.findings)
    assert told[0]["comparison"] == "jda_cifar100 against none" and told[0]["verdict"] == SHOWN


def test_one_seed_makes_a_report_that_claims_nothing(study, tmp_path):
    folder = made(tmp_path / "run", replace(study, seeds=(0,)))
    report = study_report(folder)
    assert {claim.word for one in report.parts for claim in one.claims} == {NOT_SHOWN}
    assert "hardly anything can be shown" in markdown(report)
    assert json.dumps(report.to_dict(), allow_nan=False)
    assert write_study(folder).exists()


def test_numbers_are_told_with_their_interval():
    assert points(None) == "-"
    assert points(estimate([71.0])) == "71.00"
    assert points(estimate([1.0, 2.0, 3.0])) == "2.00 [-0.48, 4.48]"
    assert points(estimate([1.0, 2.0, 3.0]), signed=True) == "+2.00 [-0.48, +4.48]"


def test_a_folder_that_is_no_study_is_told(made_run):
    with pytest.raises(AutokdError, match="no study"):
        study_report(made_run)
