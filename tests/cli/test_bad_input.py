"""What a person mistypes: exit code 2, one message with the way out, no traceback, nothing on the standard output."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autokd.cli.main import main


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):
    """Run a command that must be refused; returns what it says on the standard error."""

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert end.value.code == 2, said.err
        assert said.err and "Traceback" not in said.err
        return said.err

    return call


@pytest.mark.parametrize("command", ["report", "status", "resume", "finalize", "confirm"])
def test_a_folder_that_is_no_run_is_refused_and_the_runs_in_it_are_named(refused, command: str, tmp_path: Path, made_run: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: this is no run\n  a run is a folder with a ledger.jsonl in it" in refused(command, empty)
    assert f"runs in it: {made_run.name}" in refused(command, made_run.parent)
    assert "this is no run" in refused(command, made_run / "space.yaml")  # a file
    shutil.copy(made_run / "space.yaml", empty)
    assert "this is no run" in refused(command, empty)  # a space alone


@pytest.mark.parametrize("command", ["report", "status", "resume", "finalize", "confirm"])
def test_a_run_that_is_not_there_is_refused_with_those_that_are(refused, command: str, made_run: Path):
    said = refused(command, "mode-20260101", "--runs", made_run.parent)
    assert "no run 'mode-20260101'" in said and made_run.name in said


@pytest.mark.parametrize("command", "report status resume finalize confirm pause simulate ui".split() + ["runs prune"])
def test_an_empty_name_is_not_the_newest_run_nor_all_of_them(refused, command: str, made_run: Path):
    before = sorted(made_run.rglob("*"))
    for name in ("", " "):  # "$RUN" where nothing set it
        assert "the name of a run is empty" in refused(*command.split(), name, "--runs", made_run.parent)
    assert sorted(made_run.rglob("*")) == before


def test_a_file_in_the_place_of_the_folder_of_runs_is_told(refused, made_run: Path):
    ledger = made_run / "ledger.jsonl"
    for words in (("runs",), ("status",), ("runs", "prune", "--yes"), ("report", made_run.name)):
        assert f"{ledger}: this is no folder" in refused(*words, "--runs", ledger)


@pytest.mark.parametrize("said", ["", "x", "x:", "x:macs", "x:macs=", "x:=20M", ":macs=20M", "a.b:macs=2M", "x:macs=2M,params="])
def test_a_budget_without_a_name_or_a_limit_is_refused_and_the_run_stays_as_it_is(refused, made_run: Path, said: str):
    before = {path: path.read_bytes() for path in made_run.rglob("*") if path.is_file()}
    assert "this is no budget" in refused("resume", made_run, "--add-budget", said)
    after = {path: path.read_bytes() for path in made_run.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before


def test_a_damaged_ledger_is_named_with_its_place_and_a_damaged_table_harms_no_report(refused, made_run: Path):
    ledger = made_run / "ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(b"no json\n" + whole)
    assert f"{ledger}:1: this line of the ledger cannot be read" in refused("report", made_run)
    ledger.write_bytes(whole)
    part = next((made_run / "trials.parquet").glob("*.parquet"))
    part.write_bytes(b"no table")
    with pytest.raises(SystemExit) as end:  # the ledger has all of it
        main(["report", str(made_run)])
    assert not end.value.code


def test_trials_budgets_and_teachers_of_other_names_are_refused_with_the_nearest(refused, made_run: Path, repository: Path):
    assert "no trial 't1' in" in refused("show", made_run, "t1")
    assert "no budget 'tinny' (did you mean 'tiny'?)" in refused("finalize", made_run, "--budget", "tinny")
    digits = repository / "search_spaces" / "digits.yaml"
    assert "no teacher 'wid' (did you mean 'wide'?)" in refused("teacher", "train", digits, "--teacher", "wid")


def test_a_device_that_is_not_there_is_refused_before_any_work(refused, made_run: Path, repository: Path):
    digits = repository / "search_spaces" / "digits.yaml"
    for word in ("tpu", "cuda:77", "cuda:", "cpu:0", "cuda:-1"):
        assert f"no device {word!r} here" in refused("finalize", made_run, "--device", word)
        assert "one of: cpu" in refused("teacher", "check", digits, "--device", word)
    assert not (made_run / "trained").exists()


def test_numbers_out_of_range_and_unknown_options_name_the_option(refused, made_run: Path, repository: Path):
    digits = repository / "search_spaces" / "digits.yaml"
    for arguments in (
        ("search", digits, "--trials", "0"),
        ("search", digits, "--hours", "-1"),
        ("finalize", made_run, "--seeds", "0"),
        ("finalize", made_run, "--epochs", "nan"),
        ("ui", "--port", "0"),
        ("report", made_run, "--colour", "red"),
    ):
        assert arguments[-2] in refused(*arguments)


def test_a_folder_of_runs_that_cannot_be_one_is_told(refused, tmp_path: Path, repository: Path):
    taken = tmp_path / "runs"
    taken.write_text("a file", encoding="utf-8")
    assert f"{taken} is no folder" in refused("search", repository / "search_spaces" / "digits.yaml", "--runs", taken)
    assert "start a search first" in refused("ui", "--runs", taken)


def test_a_preference_or_a_control_that_is_none_is_refused_with_those_there_are(refused, made_run: Path):
    assert "no prefer 'cheap' (did you mean 'cheapest'?)\n  one of: cheapest, accurate" in refused(
        "confirm", made_run, "--prefer", "cheap"
    )
    assert "no control 'dkd'" in refused("confirm", made_run, "--control", "ce", "--control", "dkd")


def test_a_seed_that_no_table_holds_is_refused_with_all_else_that_is_wrong(refused, tmp_path: Path):
    said = refused("search", "digits", "--runs", tmp_path / "runs", "--seed", 2**63, "--set", "data.split_seed=-1")
    assert f"search.seed must be from 0 to {2**63 - 1}, not {2**63}" in said and "data.split_seed must be from 0 to" in said
    assert f"not {10**30}" in refused("validate", "digits", "--set", f"search.seed={10**30}")
    assert not (tmp_path / "runs").exists()
    assert "--seed" in refused("simulate", tmp_path, "--seed", -1)
    assert "--seeds" in refused("study", "digits", "--seeds", 10**9)
