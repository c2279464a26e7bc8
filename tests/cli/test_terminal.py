"""Streams of any encoding, a terminal that goes away, and signals that end a command: whatever is printed, the work is done."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autokd.cli import terminal
from autokd.cli.main import main
from autokd.cli.terminal import shown

PLACES = [  # commands that print what is known of a run, with words of ours that are no ASCII in most
    "report {run}", "report {run} --format md", "report {run} --format csv", "report {run} --json", "status {run}",
    "show {run} t00001", "runs --runs {runs}", "runs --runs {runs} --json", "models", "methods", "methods dkd", "policies",
    "datasets", "datasets digits", "cache list", "copy --help", "predict --help", "study --help", "report nothing",
    "simulate --help", "search --set é=1 nowhere.yaml",
]  # fmt: skip


def said(words: str, monkeypatch: pytest.MonkeyPatch, encoding: str) -> tuple[int, str]:
    """Exit code and all that a command prints to streams of this encoding, which take nothing else."""
    bytes_ = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(bytes_, encoding, write_through=True))
    with pytest.raises(SystemExit) as end:
        main(words.split())
    sys.stdout.flush()
    code, text = int(end.value.code or 0), bytes_.getvalue().decode(encoding)
    monkeypatch.undo()
    return code, text


@pytest.mark.parametrize("words", PLACES)
def test_every_command_prints_to_an_ascii_terminal_what_it_prints_to_another(made_run: Path, monkeypatch, words):
    words = words.format(run=made_run, runs=made_run.parent)
    (code, plain), (other, full) = (said(words, monkeypatch, encoding) for encoding in ("ascii", "utf-8"))
    assert code == other and plain
    if "json" in words:
        assert json.loads(plain) == json.loads(full)
    else:
        assert re.sub(r"\s+", " ", plain) == re.sub(r"\s+", " ", "".join(map(ascii_of, full)))


def ascii_of(character: str) -> str:
    return {"≤": "<=", "±": "+-", "·": "-", "…": "...", "é": "\\xe9"}.get(character, character)


def test_a_table_stays_in_line_where_a_sign_takes_two_places(monkeypatch, made_run):
    _, text = said(f"report {made_run}", monkeypatch, "ascii")
    head, *rows = text[text.index("Best student of each budget") :].splitlines()[1:4]
    place = head.index("trial")
    assert any("<=" in row for row in rows) and all(row[place - 1] == " " and row[place] != " " for row in rows), text


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("ascii", "≤ 5 µs ± 1 … · 猫", "<= 5 us +- 1 ... - \\u732b"),
        ("latin-1", "≤ 5 µs ± 1 · é", "<= 5 µs ± 1 · é"),
        ("utf-8", "≤ 5 µs · 猫", "≤ 5 µs · 猫"),
        ("utf-8", "caf\udce9.png", "caf\\xe9.png"),  # a byte of a file's name that is no UTF-8
        ("ascii", "caf\udce9.png", "caf\\xe9.png"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_ascii(monkeypatch, encoding, text, expected):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert shown(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_says_the_same_in_every_encoding_also_of_names_that_are_no_text(monkeypatch, encoding):
    from autokd.cli.documents import print_json

    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_json({"file": os.fsdecode(b"caf\xe9.png"), "budget": "≤ 猫"})
    stream.seek(0)
    assert json.load(stream) == {"file": "caf\\xe9.png", "budget": "≤ 猫"}


COMMAND = [sys.executable, "-m", "autokd.cli.main"]


def test_a_real_process_in_a_locale_without_our_signs_and_with_words_that_are_no_text(tmp_path):
    env = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    words = [*COMMAND, "status", b"r\xe9sum\xe9", "--runs", tmp_path]
    made = subprocess.run(words, env=env, timeout=60, capture_output=True)
    assert made.returncode == 2 and made.stderr.startswith(b"autokd: no run 'r\\udce9sum\\udce9' in "), made.stderr


def test_a_process_that_was_started_without_streams_ends_well():
    assert subprocess.run(["sh", "-c", f"{' '.join(COMMAND)} methods >&- 2>&-"], timeout=60).returncode == 0


def test_a_terminal_that_has_gone_takes_what_is_written(monkeypatch):
    monkeypatch.setattr(terminal, "_hung_up", type(terminal._hung_up)())
    ours, theirs = os.openpty()
    stream = io.TextIOWrapper(io.BufferedWriter(terminal.Lasting(theirs)), "utf-8")
    stream.write("there")
    stream.flush()
    assert os.read(ours, 10) == b"there"
    os.close(ours)
    with pytest.raises(OSError):
        os.write(theirs, b"x")
    stream.write("gone")
    stream.flush()
    os.close(theirs)


def test_a_pipe_whose_reader_has_gone_is_a_fault_until_the_terminal_goes_too(monkeypatch):
    monkeypatch.setattr(terminal, "_hung_up", type(terminal._hung_up)())
    theirs, ours = os.pipe()
    os.close(theirs)
    raw = terminal.Lasting(ours)
    with pytest.raises(BrokenPipeError):
        raw.write(b"x")
    terminal.hang_up()
    assert raw.write(b"gone") == 4
    os.close(ours)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_command_that_is_told_to_end_does_so_as_after_ctrl_c(monkeypatch, capsys, number):
    from autokd.cli import spaces

    monkeypatch.setattr(terminal, "_hung_up", type(terminal._hung_up)())
    before = signal.getsignal(number)

    def told(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr(spaces, "versions", told)
    with pytest.raises(SystemExit) as end:
        main(["version"])
    assert end.value.code == 130 and signal.getsignal(number) is before
    assert terminal._hung_up.is_set() == (number == signal.SIGHUP)


def test_under_nohup_a_closing_terminal_says_nothing(monkeypatch, capsys):
    from autokd.cli import spaces

    monkeypatch.setattr(spaces, "versions", lambda as_json: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as end:
            main(["version"])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not end.value.code
