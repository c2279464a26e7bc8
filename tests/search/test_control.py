"""A search is paused, stopped or cancelled from another process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from search_fakes import Space, divided
from test_run import again, what_happened

from autokd.errors import AutokdError
from autokd.search.control import FILE as CONTROL
from autokd.search.control import Watch, ask
from autokd.search.inline_engine import InlineEngine
from autokd.search.run import search
from autokd.track.ledger import FILE, FolderLock, read_events


def asked(tmp_path, word):
    """A search that is asked for something in the midst of its third trial, by a process beside it."""
    told = []

    def watch(event):
        told.append(event)
        if event["event"] == "report" and event["trial"] == "t00002" and event["mark"] == 1:
            folder = next(tmp_path.glob("fake-*"))
            subprocess.run([sys.executable, "-m", "autokd.cli.main", word, str(folder)], check=True, capture_output=True)
            until = time.monotonic() + 20
            while (folder / CONTROL).exists() and time.monotonic() < until:
                time.sleep(0.02)
            time.sleep(0.05)

    engine = InlineEngine({"factory": "search_fakes:Bench"})
    run = search(Space(scheduler="none"), runs=tmp_path, feasible=divided(), engine=engine, on_event=watch)
    return run, list(read_events(run.folder / FILE)), " ".join(e.get("text", "") for e in told)


@pytest.mark.parametrize(("word", "ended"), [("pause", 2), ("stop", 3), ("cancel", 2)])
def test_a_search_does_what_another_process_asks_and_a_resume_goes_on_as_if_nothing_was(tmp_path, word, ended):
    run, events, told = asked(tmp_path / "cut", word)
    assert f"asked to {word}" in told
    assert sum(e["event"] == "end" for e in events) == ended
    assert len({e["trial"] for e in events if e["event"] == "trial"}) == 3
    assert run.status()["state"] == {"pause": "paused", "stop": "stopped", "cancel": "cancelled"}[word]
    made = again(run.folder, Space(scheduler="none"))
    engine = InlineEngine({"factory": "search_fakes:Bench"})
    whole = search(Space(scheduler="none"), runs=tmp_path / "whole", feasible=divided(), engine=engine)
    assert what_happened(made.folder) == what_happened(whole.folder)


def test_where_nothing_runs_a_person_is_told_and_nothing_is_left_behind(tmp_path):
    with pytest.raises(AutokdError, match="no process is working on this run") as fault:
        ask(tmp_path, "pause")
    assert "autokd resume" in fault.value.fix
    assert not (tmp_path / CONTROL).exists()
    with pytest.raises(AutokdError, match="no request 'halt'"):
        ask(tmp_path, "halt")


def test_a_request_of_an_earlier_session_is_forgotten_and_a_new_one_is_heard_once(tmp_path):
    (tmp_path / CONTROL).write_text("cancel\n")
    heard, came = [], threading.Event()

    def take(word):
        heard.append(word)
        came.set()

    with FolderLock(tmp_path), Watch([tmp_path], take, every=0.01):
        assert not (tmp_path / CONTROL).exists()
        ask(tmp_path, "stop")
        assert came.wait(10)
        time.sleep(0.05)
    assert heard == ["stop"]
