"""Tables at the width of a terminal: what must be read is whole, and what was left out is told."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from autokd.cli.tables import print_table
from autokd.report.columns import Column, folded


@pytest.mark.parametrize("width", [60, 80, 100])
def test_names_states_and_scores_are_whole_in_every_table(run, made_run: Path, repository: Path, monkeypatch, width: int):
    monkeypatch.setenv("COLUMNS", str(width))
    space = repository / "search_spaces" / "digits.yaml"
    told = {
        ("runs", "--runs", made_run.parent): [made_run.name, "finished", "90.00 %"],
        ("status", made_run): ["finished", "t00000", "t00001", "70.00 %", "90.00 %", "resnet8x0.5"],
        ("report", made_run, "--compare", made_run): ["t00000", "t00001", "t00004", "90.00 %", "-20.00", "+0.00"],
        ("show", made_run, "t00001"): ["t00001", "60.00 %", "90.00 %", "method.settings.temperature"],
        ("validate", space): ["policy.jda_cifar100.probability", "resnet14x0.5", "nano"],
        ("study", space, "--dry-run"): ["findings"],
        ("models",): ["mobilenetv2_half_s1", "813 k"],
        ("methods", "dkd"): ["temperature"],
        ("policies",): ["jda_cifar100"],
        ("datasets", "digits"): ["digits"],
        ("cache", "info"): ["part"],
        ("doctor", "--runs", made_run.parent): ["torch", "python"],
    }
    paths = [str(space), str(made_run.parent), os.environ.get("AUTOKD_CACHE", "/")]
    for words, whole in told.items():
        _, out, _ = run(*words)
        for word in whole:
            assert re.search(rf"(?<!\S){re.escape(word)}(?!\w)", out), (words, word, out)
        assert "…" not in out, words
        long = [line for line in out.splitlines() if len(line) > width and not any(path in line for path in paths)]
        assert not long, words


def test_what_was_left_out_is_told_with_the_way_to_see_it(run, made_run: Path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = run("runs", "--runs", made_run.parent)[1]
    assert "no room for size, spare, changed: use a wider terminal, or\n  --json" in out
    (told,) = json.loads(run("runs", "--runs", made_run.parent, "--json")[1])
    assert told["bytes"] > 0 and told["changed"]
    monkeypatch.setenv("COLUMNS", "120")
    assert "no room" not in run("runs", "--runs", made_run.parent)[1]


def test_where_not_even_the_names_fit_each_row_is_lines_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-very-long-name-of-a-run-20260101-000000"
    print_table(("run", "state", folded("why"), Column("size", 1)), [(name, "cut off", "the power went away", 3)], title="Runs")
    assert capsys.readouterr().out == f"Runs\nrun    {name}\nstate  cut off\nwhy    the power went away\nsize   3\n"


def test_prose_is_folded_and_numbers_stand_right(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    print_table(("trial", "n", folded("why")), [("t0", 7, "the loss is not finite"), ("t1", 12, "")])
    assert capsys.readouterr().out == (
        "trial   n  why\nt0      7  the loss is\n           not finite\nt1     12\n"
    )


def test_a_column_in_which_nothing_stands_is_not_shown_and_not_told(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "14")
    print_table(("trial", Column("note", 1), "n"), [("t0", "", 7), ("t1", None, 12)])
    assert capsys.readouterr().out == "trial   n\nt0      7\nt1     12\n"
    print_table(("trial", "note"), [])
    assert capsys.readouterr().out == "trial  note\n"
