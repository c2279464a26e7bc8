"""--json is one document and --jsonl one object a line, whatever else is printed and however the command ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from autokd.cli import documents, main
from autokd.errors import AutokdError, Faults
from autokd.finalize.retrain import Finals

EVENTS = [{"event": "phase", "text": "≤"}, {"event": "report", "trial": "t00000", "val_top1": float("nan")}]


def offering(option: str) -> Iterator[str]:
    """Every command that has an option, by its words."""

    def below(command: Any, words: str) -> Iterator[str]:
        if any(option in parameter.opts for parameter in command.params):
            yield words
        for name, one in getattr(command, "commands", {}).items():
            yield from below(one, f"{words} {name}".strip())

    return below(typer.main.get_command(main.app), "")


@pytest.fixture
def words(made_run: Path, repository: Path, tmp_path: Path, monkeypatch) -> dict[str, str]:
    """Arguments for each command. What would train, time or open a student is replaced, and prints as libraries do."""
    space, folder, runs = repository / "search_spaces" / "digits.yaml", made_run, made_run.parent
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    loud(monkeypatch, folder)
    run, of_space = f"{folder} --runs {runs}", f"{space} --runs {runs}"
    return {
        "search": of_space, "resume": run, "status": run, "show": f"{folder} t00001", "report": run, "confirm": run,
        "finalize": run, "study": f"{space} --dry-run", "simulate": str(repository / "docs" / "curves-digits.parquet"),
        "evaluate": "student.onnx --data images", "predict": f"student.onnx {repository / 'docs' / 'images'}",
        "validate": str(space), "models": "", "methods": "", "policies": "", "datasets": "", "doctor": "", "version": "",
        "runs": "", "runs list": f"--runs {runs}", "runs prune": f"--runs {runs}", "teacher train": of_space,
        "teacher check": of_space, "cache info": "", "cache clear": "",
    }  # fmt: skip


def loud(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def searched(*_: object, on_event: Any = None, **__: object) -> Any:
        print("a library says something")
        for event in EVENTS:
            on_event(event)
        return SimpleNamespace(folder=folder)

    def trained(data: Any, config: Any, place: Path, told: Any, **_: object) -> Path:
        print("a library says something")
        told(SimpleNamespace(epochs=1.0, val_top1=None, train_loss=0.5))
        return place / "teacher.safetensors"

    scored = {"top1": 0.5, "nll": float("inf"), "per_class": []}
    answer = SimpleNamespace(file="a.png", fault=None, top=[("cat", 0.9)])
    student = SimpleNamespace(facts=SimpleNamespace(threshold=None))
    monkeypatch.setattr("autokd.search.run.search", searched)
    monkeypatch.setattr("autokd.search.run.resume", searched)
    monkeypatch.setattr("autokd.search.run.Run.confirm", searched)
    monkeypatch.setattr("autokd.finalize.retrain.finalize", lambda *a, **b: searched(*a, **b) and Finals({}, {}))
    monkeypatch.setattr("autokd.cli.results.keep_report", lambda folder, again=False: print("a page"))
    monkeypatch.setattr("autokd.search.simulate.simulate", lambda *_, **__: [SimpleNamespace(scheduler="none", total=0.0)])
    monkeypatch.setattr("autokd.train.teachers.train_teacher", trained)
    monkeypatch.setattr("autokd.cli.using._opened", lambda *_: student)
    monkeypatch.setattr("autokd.finalize.use.evaluate", lambda *_, **__: scored)
    monkeypatch.setattr("autokd.finalize.use.answers", lambda *_, **__: [answer])


def test_every_command_with_json_prints_one_document_also_of_an_error(run, words, repository: Path):
    assert set(offering("--json")) == set(words)
    page = (repository / "docs" / "programs.md").read_text(encoding="utf-8")
    for command, arguments in words.items():
        code, out, _ = run(*command.split(), *arguments.split(), "--json")
        told = json.loads(out)
        assert code in (0, 1 if command == "doctor" else 0) and "error" not in told, command
        fields = (told or [{}])[0] if isinstance(told, list) else told
        assert command == "version" or not [name for name in fields if f"`{name}`" not in page], command
        code, out, err = run(*command.split(), *arguments.split(), "--json", "--no-such-option")
        told = json.loads(out)["error"]
        assert code == told["exit_code"] == 2 and "--no-such-option" in told["message"] and "--no-such-option" in err, command
        assert told["fix"] == f"autokd {command} --help"


def test_every_document_is_described(repository: Path):
    page = (repository / "docs" / "programs.md").read_text(encoding="utf-8")
    documents, events = page.split("## Events")
    for option, part in (("--json", documents), ("--jsonl", events)):
        for command in offering(option):
            assert command == "runs list" or f"`{command}`" in part, command


def test_every_long_command_has_events_a_line_each_and_the_result_last(run, words):
    long = ["search", "resume", "confirm", "finalize", "study", "teacher train"]
    assert sorted(offering("--jsonl")) == sorted(long)
    for command in long:
        code, out, err = run(*command.split(), *words[command].split(), "--jsonl")
        *events, last = map(json.loads, out.splitlines())
        assert (code, last["event"]) == (0, "result") and "a library says" not in out, command
        if command == "teacher train":
            assert {"event": "report", "teacher": "wide", "total_epochs": 12, "epochs": 1.0, "val_top1": None,
                    "train_loss": 0.5} in events  # fmt: skip
        elif command != "study":
            assert events == [{"event": "phase", "text": "≤"}, {"event": "report", "trial": "t00000", "val_top1": None}], command
            assert "a library says something" in err
        _, once, _ = run(*command.split(), *words[command].split(), "--json")
        assert json.loads(once) == last["result"]
        code, out, _ = run(*command.split(), "--jsonl", "--nothing")
        assert code == 2 and json.loads(out)["event"] == "error"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("report", "nothing", "--runs", "none"), ("no run 'nothing' in none", "no runs in none yet")),
        (("show", "nothing", "t0", "--runs", "none"), ("no run 'nothing' in none", "no runs in none yet")),
        (("version", "--jsonl"), ("--json and --jsonl are two forms of one output", "give one of them")),
    ],
)
def test_an_error_is_told_with_the_way_out_and_the_exit_code(run, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments, "--json")
    message, fix = told
    assert code == 2 and json.loads(out) == {"error": {"message": message, "where": "", "fix": fix, "exit_code": 2}}
    assert err == f"autokd: {message}\n  {fix}\n"


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (Faults([AutokdError("a", where="x:1", fix="b"), AutokdError("c")]), 2,
         {"faults": [{"message": "a", "where": "x:1", "fix": "b"}, {"message": "c", "where": "", "fix": ""}]}),
        (FileNotFoundError(2, "No such file", "x.txt"), 2, {"message": "no such file", "where": "x.txt"}),
        (KeyboardInterrupt(), 130, {"message": "interrupted", "exit_code": 130}),
        (typer.Exit(3), 3, {"message": "ended with exit code 3"}),
    ],
)  # fmt: skip
def test_whatever_ends_a_command_has_its_document(run, monkeypatch, raised, code, told):
    def broken(as_json: bool) -> None:
        raise raised

    monkeypatch.setattr("autokd.cli.spaces.versions", broken)
    ended, out, _ = run("version", "--json")
    error = json.loads(out)["error"]
    assert ended == code == error["exit_code"] and told.items() <= error.items()


def test_an_error_stands_beside_what_the_command_had_found(run, monkeypatch):
    for found, expected in (({"a": 1}, {"a": 1}), ([1], {"result": [1]})):

        def broken(as_json: bool, found: Any = found) -> None:
            documents.print_json(found)
            raise AutokdError("half of it")

        monkeypatch.setattr("autokd.cli.spaces.versions", broken)
        told = json.loads(run("version", "--json")[1])
        assert told.pop("error")["message"] == "half of it" and told == expected


LOUD = """
import os, subprocess, sys
from autokd.cli import main, spaces
from autokd.cli.documents import print_json
def versions(as_json):
    print("from Python"); os.write(1, b"from C\\n"); subprocess.run(["echo", "from a child"])
    print_json({"budget": "\\u2264 \\u732b", "score": float("nan")})
    import atexit; atexit.register(os.write, 1, b"at the end\\n")
    if sys.argv[-1] == "broken":
        raise ZeroDivisionError("nobody thought of this")
spaces.versions = versions
main.main(["version", "--json"])
"""


@pytest.mark.parametrize("ending", ["well", "broken"])
def test_what_libraries_write_to_the_descriptor_itself_goes_elsewhere_also_in_a_locale_without_our_signs(ending):
    env = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    made = subprocess.run([sys.executable, "-c", LOUD, ending], env=env, timeout=60, capture_output=True)
    told = json.loads(made.stdout.decode("ascii"))
    error = told.pop("error", None)
    assert told == {"budget": "≤ 猫", "score": None}
    for line in (b"from Python", b"from C", b"from a child", b"at the end"):
        assert line in made.stderr
    assert made.returncode == (ending == "broken") == (b"Traceback" in made.stderr)
    broken = {"message": "ZeroDivisionError: nobody thought of this", "where": "", "fix": "", "exit_code": 1}
    assert error == (None if ending == "well" else broken)
