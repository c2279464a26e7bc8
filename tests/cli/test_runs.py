"""autokd runs: the list of runs, and the deletion of what nothing needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autokd.track.ledger import FolderLock

HEAVY = ("torch", "ray", "optuna", "mlflow", "pyarrow", "numpy")


@pytest.fixture
def old_run(made_run: Path) -> Path:
    """The made run with a leftover of its stopped trial, a checkpoint of its best one, and notes of Ray."""
    for path, size in (("checkpoints/t00003/mark-0001", 3000), ("checkpoints/t00001/mark-0002", 5000), ("tune", 700)):
        folder = made_run / "ray" / path
        folder.mkdir(parents=True)
        (folder / "state").write_bytes(b"0" * size)
    os.utime(made_run / "ledger.jsonl", (1_700_000_000, 1_700_000_000))
    return made_run


def test_the_list_tells_name_state_trials_size_and_best(run, old_run: Path):
    (told,) = json.loads(run("runs", "--runs", old_run.parent, "--json")[1])
    assert told["run"] == old_run.name and told["state"] == "finished"
    assert told["trials"] == {"running": 0, "done": 3, "stopped": 1, "failed": 1}
    assert told["best_val_top1"] == 0.9 and told["changed"].startswith("2023-11-1")
    assert told["bytes"] == sum(path.stat().st_size for path in old_run.rglob("*") if path.is_file())
    assert told["spare_bytes"] == 3700
    text = run("runs", "--runs", old_run.parent)[1]
    assert old_run.name in text and "90.00 %" in text and "3.7 kB" in text
    assert f"autokd runs prune --runs {old_run.parent}" in text
    assert max(map(len, text.splitlines()[:-1])) <= 100
    assert run("runs", "list", "--runs", old_run.parent, "--quiet")[1].strip() == old_run.name


def test_a_run_whose_writer_lives_runs_and_one_without_was_cut_off(run, old_run: Path):
    ledger = old_run / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    with FolderLock(old_run):
        assert json.loads(run("runs", "--runs", old_run.parent, "--json")[1])[0]["state"] == "running"
    assert json.loads(run("runs", "--runs", old_run.parent, "--json")[1])[0]["state"] == "cut off"


def test_all_commands_tell_one_story_of_a_run_that_was_cut_off_and_it_is_the_ledger_s(run, old_run: Path):
    """Killed after its second trial had ended, before the table was written."""
    ledger = old_run / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    cut = [number for number, line in enumerate(lines) if b'"event":"end"' in line][1]
    begun = next(number for number, line in enumerate(lines) if b'"trial":"t00002"' in line)
    ledger.write_bytes(b"".join(lines[: max(cut, begun) + 1]))
    for part in (old_run / "trials.parquet").glob("*.parquet"):
        part.unlink()
    (listed,) = json.loads(run("runs", "--runs", old_run.parent, "--json")[1])
    status = json.loads(run("status", old_run, "--json")[1])
    report = json.loads(run("report", old_run, "--json")[1])
    assert {one["state"] for one in (listed, status, report)} == {"cut off"}
    assert listed["trials"] == status["trials"] == report["counts"] == {"running": 1, "done": 2, "stopped": 0, "failed": 0}
    assert listed["best_val_top1"] == status["best"]["small"]["val_top1"] == report["best"]["small"]["val_top1"] == 0.9
    assert report["empty"] == {"any": "of 1 trial 1 not ended"} or report["best"]["any"]["val_top1"] == 0.9
    for command in ("status", "report"):
        out = run(command, old_run)[1]
        assert f"{old_run.name}: cut off (last event " in out and "2 done, 1 unfinished" in out
    assert f"go on with   autokd resume {old_run}" in run("status", old_run)[1]
    page = Path(run("report", old_run, "--format", "html")[1].strip()).read_text(encoding="utf-8")
    assert "Cut off (last event " in page and "2 done, 1 unfinished" in page
    out = run("finalize", old_run, "--budget", "nowhere")
    assert out[0] == 2 and "no budget 'nowhere'" in out[2]


def test_a_damaged_ledger_hides_no_other_run(run, old_run: Path):
    other = old_run.parent / "other"
    other.mkdir()
    (other / "ledger.jsonl").write_bytes(b"{\n{}\n")
    code, out, _ = run("runs", "--runs", old_run.parent)
    assert code == 0 and "damaged" in out and old_run.name in out


def test_no_runs_are_told_in_words(run, tmp_path: Path):
    code, out, _ = run("runs", "--runs", tmp_path / "none")
    assert code == 0 and "no runs in" in out and "autokd search" in out
    assert json.loads(run("runs", "--runs", tmp_path, "--json")[1]) == []
    assert "nothing to delete" in run("runs", "prune", "--runs", tmp_path)[1]


def test_prune_shows_what_would_go_and_deletes_it_after_a_yes(run, old_run: Path, monkeypatch):
    where = ("--runs", old_run.parent)
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO("n\n"))
    code, out, _ = run("runs", "prune", *where)
    assert code == 1 and "checkpoints of stopped trials" in out and "Ray's own notes" in out and "3.7 kB" in out
    assert (old_run / "ray/tune/state").exists()
    told = json.loads(run("runs", "prune", *where, "--json")[1])
    assert told["spare_bytes"] == {old_run.name: 3700} and told["freed_bytes"] == 0 and (old_run / "ray/tune").exists()
    code, out, _ = run("runs", "prune", *where, "--yes")
    assert code == 0 and "freed 3.7 kB" in out
    assert not (old_run / "ray/tune").exists() and not (old_run / "ray/checkpoints/t00003").exists()
    assert (old_run / "ray/checkpoints/t00001/mark-0002/state").exists()  # --longer would go on from it
    assert run("runs", "prune", old_run.name, *where, "--all", "--yes", "--quiet")[1].strip() == "5000"


def test_prune_by_age(run, old_run: Path):
    where = ("--runs", old_run.parent, "--json", "--yes")
    assert json.loads(run("runs", "prune", *where, "--older-than", 1e5)[1])["freed_bytes"] == 0
    assert json.loads(run("runs", "prune", *where, "--older-than", 1)[1])["freed_bytes"] == 3700


def test_a_run_that_is_written_is_refused_by_name_and_left_out_without_one(run, old_run: Path):
    with FolderLock(old_run):
        code, _, err = run("runs", "prune", old_run, "--yes")
        assert code == 2 and "a search is writing this run" in err and "autokd stop" in err
        code, out, _ = run("runs", "prune", "--runs", old_run.parent, "--yes")
        assert code == 0 and "left as it is" in out
    assert (old_run / "ray/tune/state").exists()


def test_an_option_before_the_word_is_told_where_it_stands(run, old_run: Path):
    code, _, err = run("runs", "--runs", old_run.parent, "prune", "--yes")
    assert code == 2 and "stand behind that word" in err and (old_run / "ray/tune").exists()


def test_the_folder_named_in_the_environment_is_meant_by_both(run, old_run: Path, monkeypatch):
    monkeypatch.setenv("AUTOKD_RUNS", str(old_run.parent))
    assert old_run.name in run("runs")[1]
    assert "freed" in run("runs", "prune", "--yes")[1]


def test_listing_and_pruning_import_nothing_heavy(old_run: Path, repository: Path):
    for words in (["runs"], ["runs", "prune", "--yes"]):
        code = f"""
import sys
from autokd.cli.main import main
try:
    main({[*words, "--runs", str(old_run.parent)]!r})
except SystemExit as end:
    assert not end.code, end.code
print([name for name in {HEAVY!r} if name in sys.modules])
"""
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
    assert not (old_run / "ray/tune").exists()
