from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autokd
from autokd.cli.options import find_run
from autokd.errors import AutokdError, Faults, SpaceError
from autokd.track.ledger import FolderLock


def test_a_fault_is_told_without_a_traceback_and_exits_with_2(repository: Path, tmp_path: Path):
    space = tmp_path / "bad.yaml"
    space.write_text("name: bad\nname: twice\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "autokd.cli.main", "validate", str(space)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "bad.yaml:2" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_fault_of_a_file_is_told(monkeypatch, run):
    def load(*_, **__):
        raise Faults([SpaceError("one", where="a.yaml:1", fix="mend it"), SpaceError("two", where="a.yaml:9")])

    monkeypatch.setattr("autokd.config.search_space.load_space", load)
    code, out, err = run("validate", "a.yaml")
    assert (code, out) == (2, "")
    assert "a.yaml:1: one\n  mend it" in err and "a.yaml:9: two" in err


def test_a_word_that_is_no_command_exits_with_2(run):
    code, _, err = run("serach")
    assert code == 2 and "serach" in err


def test_the_version_is_the_packages(run, repository: Path):
    told = re.search(r'^version = "(.+)"$', (repository / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert told and run("--version")[1].strip() == told[1] == autokd.__version__
    assert json.loads(run("version", "--json")[1])["autokd"] == autokd.__version__


@pytest.mark.parametrize("command", ["models", "methods", "policies", "datasets"])
def test_lists_are_told_in_words_in_json_and_in_names(run, command: str):
    code, out, _ = run(command, "--json")
    entries = json.loads(out)
    assert code == 0
    names = [entry["name"] for entry in entries]
    assert run(command, "--quiet")[1].split() == names
    words = run(command)[1]
    for entry in entries:
        assert entry["name"] in words
        assert {"settings", "source"} <= set(entry)


def test_models_are_listed_with_their_cost(run):
    resnet20 = next(entry for entry in json.loads(run("models", "--json")[1]) if entry["name"] == "resnet20")
    assert (resnet20["params"], resnet20["macs"]) == (278_324, 40_818_944)  # shared/data/zoo_cifar100.json


def test_a_model_of_no_table_is_counted_and_stands_first(run):
    first, *rest = json.loads(run("models", "resnet8x2", "--json")[1])
    # a 3x3 stem, three stages of two 3x3 convolutions, shortcuts of 1x1 where the width changes, batch norms, a classifier
    widths, convolutions, norms = [32, 32, 64, 128], 0, 0
    for before, after in zip(widths, widths[1:], strict=False):
        convolutions += 9 * before * after + 9 * after * after + (before * after if before != after else 0)
        norms += 2 * after * (3 if before != after else 2)
    assert first["name"] == "resnet8x2"
    assert first["params"] == 9 * 3 * 32 + 2 * 32 + convolutions + norms + 128 * 100 + 100
    assert {entry["family"] for entry in rest} == {"resnet"}
    assert [entry["name"] for entry in json.loads(run("models", "torchvision:squeezenet1_1", "--json")[1])] == [
        "torchvision:squeezenet1_1"
    ]
    assert "torchvision:squeezenet1_1" in run("models", "torchvision:squeezenet1_1")[1]


def test_ranges_are_told_as_a_space_file_has_them(run):
    words = " ".join(run("methods", "ccd")[1].split())
    assert "temperature: 1 to 10, log" in words and "normalise_weight: false | true" in words


def test_one_entry_by_name_and_a_near_one_is_suggested(run):
    assert [entry["name"] for entry in json.loads(run("datasets", "digits", "--json")[1])] == ["digits"]
    code, _, err = run("datasets", "digts")
    assert code == 2 and "did you mean 'digits'" in err


def test_report_prints_each_format(run, made_run: Path):
    assert "resnet8x0.5" in run("report", made_run)[1]
    assert json.loads(run("report", made_run, "--json")[1])["best"]["small"]["trial"] == "t00001"
    assert json.loads(run("report", made_run, "--format", "json")[1])["state"] == "finished"
    assert run("report", made_run, "--format", "csv")[1].startswith("part,budget,trial,")
    assert "| budget |" in run("report", made_run, "--format", "md")[1]
    code, _, err = run("report", made_run, "--format", "xml")
    assert code == 2 and "one of: table, md, csv, json, html" in err


def test_report_writes_a_page_and_says_where(run, made_run: Path):
    code, out, err = run("report", made_run, "--format", "html")
    assert (code, out.strip(), err) == (0, str(made_run / "report.html"), "")
    assert (made_run / "report.html").stat().st_size > 1_000_000 and (made_run / "report" / "front-params.png").exists()


def test_report_lays_another_run_beside_it_in_each_format(run, made_run: Path):
    command = ["report", made_run, "--compare", made_run]
    assert f"Against {made_run.name}" in run(*command)[1]
    assert "| tiny | ≤ 25 k params | 70.00 % resnet8x0.5 (t00000) |" in run(*command, "--format", "md")[1]
    assert run(*command, "--format", "csv")[1].startswith("budget,limits,trial,student,val_top1,other_trial,")
    told = json.loads(run(*command, "--json")[1])["compare"]
    assert told["run"] == made_run.name and [row["points"] for row in told["budgets"]] == [0.0, 0.0, 0.0]
    code, out, _ = run(*command, "--format", "html")
    assert code == 0 and out.strip() == str(made_run / f"compare-{made_run.name}.html") and Path(out.strip()).exists()
    assert run("report", made_run, "--compare", "no-such-run")[0] == 2


def test_a_page_that_cannot_be_written_is_told_and_harms_nothing(made_run: Path, capsys, monkeypatch):
    from autokd.cli.results import keep_report

    (made_run / "report").write_text("a file where the figures go", encoding="utf-8")
    assert keep_report(made_run) is None
    assert "report.html could not be written" in capsys.readouterr().err


def test_tables_fit_a_hundred_columns(run, made_run: Path):
    runs = (["report", made_run], ["status", made_run], ["show", made_run, "t00001"])
    for arguments in (*runs, ["models"], ["policies"], ["methods"]):
        _, out, _ = run(*arguments)
        assert max(map(len, out.splitlines()), default=0) <= 100, arguments


def test_show_tells_the_configuration_and_every_report(run, made_run: Path):
    told = json.loads(run("show", made_run, "t00001", "--json")[1])
    assert [report["val_top1"] for report in told["reports"]] == [0.6, 0.9]
    assert told["config"]["method"] == {"name": "kd", "settings": {"temperature": 4.0}}
    words = run("show", made_run, "t00001")[1]
    assert "90.00 %" in words and "method.settings.temperature" in words
    code, _, err = run("show", made_run, "t0000")
    assert code == 2 and "did you mean 't0000" in err


def test_show_ends_with_the_last_lines_of_a_broken_trial_s_log(run, made_run: Path):
    assert "log " not in run("show", made_run, "t00001")[1]
    log = made_run / "ray/checkpoints/t00001/error.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"line {number}\n" for number in range(1, 21)))
    words = run("show", made_run, "t00001")[1]
    assert "error.txt, its last 15 of 20 lines:\n  line 6\n" in words and words.endswith("  line 20\n")
    log.write_text("RuntimeError: no such layer\n")
    assert run("show", made_run, "t00001")[1].endswith("error.txt\n  RuntimeError: no such layer\n")
    assert json.loads(run("show", made_run, "t00001", "--json")[1])["log"] == str(log)


def test_status_tells_the_state_of_a_run(run, made_run: Path):
    told = json.loads(run("status", made_run, "--json")[1])
    assert (told["state"], told["trials"]["done"], told["best"]["tiny"]["trial"]) == ("finished", 3, "t00000")
    assert run("status", made_run, "--quiet")[1].strip() == "finished"


def test_a_run_without_a_writer_that_never_closed_was_cut_off(run, made_run: Path):
    ledger = made_run / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    assert run("status", made_run, "--quiet")[1].strip() == "cut off"
    with FolderLock(made_run):  # somebody writes
        assert run("status", made_run, "--quiet")[1].strip() == "running"
    assert f"autokd resume {made_run}" in run("status", made_run)[1]


def test_a_run_is_found_by_folder_name_beginning_or_as_the_newest(made_run: Path):
    runs = made_run.parent
    assert find_run(str(made_run), runs) == made_run
    assert find_run(made_run.name, runs) == made_run
    assert find_run("made", runs) == made_run
    assert find_run(None, runs) == made_run
    with pytest.raises(AutokdError, match="no run 'mad3'"):
        find_run("mad3", runs)


def test_of_several_runs_a_reader_takes_the_one_changed_last_and_what_changes_a_run_refuses(run, made_run: Path):
    runs, other = made_run.parent, made_run.with_name("made-20260102-000000-abcd")
    shutil.copytree(made_run, other)
    os.utime(other / "ledger.jsonl", (1, 1))
    names = f"{made_run.name}, {other.name}"
    said = f"the names of 2 runs begin with 'made'; the newest is used: {made_run.name}\n"
    readers = ("status -q", "report -q", "show t00001 -q", "simulate")
    for words in map(str.split, readers):
        code, out, err = run(words[0], "made", *words[1:], "--runs", runs)
        assert err.startswith(said) and (code == 0 or words[0] == "simulate"), (words, err)
    assert run("report", "made-20260102", "--compare", "made", "--runs", runs)[2] == said
    for words in ("pause", "stop", "cancel", "resume", "confirm", "finalize", "runs prune", "study --resume"):
        code, out, err = run(*words.split(), "made", "--runs", runs)
        assert code == 2 and not out, words
        assert err == f"autokd: the names of 2 runs begin with 'made'\n  name one of them: {names}\n"
    with FolderLock(made_run), FolderLock(other):
        code, _, err = run("stop", "--runs", runs)
        assert code == 2 and "2 runs are being worked on" in err and f"name the one to stop: {names}" in err
        assert not (made_run / "control").exists() and not (other / "control").exists()
    with FolderLock(other):  # the only one that can be meant
        assert f"asked {other} to pause" in run("pause", "--runs", runs)[1]


def test_an_empty_folder_of_runs_says_how_to_start_one(run, tmp_path: Path):
    code, _, err = run("report", "--runs", tmp_path)
    assert code == 2 and "autokd search" in err


def test_cache_tells_and_clears(run, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    assert json.loads(run("cache", "info", "--json")[1])["bytes"] == 0
    for part, size in (("data", 1000), ("signals", 500)):
        (tmp_path / "cache" / part).mkdir(parents=True)
        (tmp_path / "cache" / part / "file").write_bytes(b"x" * size)
    told = json.loads(run("cache", "info", "--json")[1])
    assert (told["bytes"], told["parts"]["signals"]) == (1500, {"files": 1, "bytes": 500})
    assert run("cache", "clear", "nosuch", "--yes")[0] == 2
    assert json.loads(run("cache", "clear", "signals", "--yes", "--json")[1])["freed_bytes"] == 500
    assert not (tmp_path / "cache" / "signals").exists() and (tmp_path / "cache" / "data").exists()
    assert run("cache", "clear", "--yes")[0] == 0
    assert not (tmp_path / "cache" / "data").exists()


def test_ui_without_a_store_says_what_to_do(run, tmp_path: Path):
    code, _, err = run("ui", "--runs", tmp_path, "--no-browser")
    assert code == 2 and "start a search first" in err


def test_the_package_is_a_room_and_a_function():
    import autokd.search.plan  # noqa: F401 - a room below it is imported, and the function is still there

    assert callable(autokd.search)
    assert autokd.load_space.__name__ == "load_space"
    with pytest.raises(AttributeError):
        autokd.nothing  # noqa: B018


def test_a_search_is_extended_and_may_run_again_what_failed(made_run, monkeypatch, run):
    asked = []

    def go_on(folder, **more):
        asked.append({key: more[key] for key in ("overrides", "add_trials", "add_budgets", "longer", "retry_failed")})
        return autokd.search.run.Run(folder)

    import autokd.search.run

    monkeypatch.setattr(autokd.search.run, "resume", go_on)
    assert run("resume", made_run, "--add-trials", 7, "-q")[0] == 0
    assert run("resume", made_run, "--retry-failed", "--longer", 9, "--add-budget", "new:macs=20M", "-q")[0] == 0
    nothing = {"overrides": [], "add_trials": 0, "add_budgets": [], "longer": None, "retry_failed": False}
    more = {"add_budgets": ["new:macs=20M"], "longer": 9.0, "retry_failed": True}
    assert asked == [{**nothing, "add_trials": 7}, {**nothing, **more}]
    code, _, err = run("resume", made_run, "--add-trials", 7, "--trials", 50)
    assert code == 2 and "give one of them" in err
