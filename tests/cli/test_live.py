from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from autokd.cli.documents import opened
from autokd.cli.live import Board, follow
from autokd.config.limits import Budget, Deployment

BUDGETS = [{"name": "tiny", "params": 100_000, "macs": None}, {"name": "any", "params": None, "macs": None}]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def trial(name: str, budgets: list[str], **more: object) -> dict[str, object]:
    return {
        "event": "trial",
        "trial": name,
        "budget": budgets[0],
        "budgets": budgets,
        "teacher": "resnet56",
        "student": "resnet8",
        "method": "kd",
        "policy": "jda_cifar100",
        "ratio": 0.5,
        "config": {"epochs": 10},
        **more,
    }


@pytest.fixture
def board() -> Board:
    clock = Clock()
    board = Board(clock)
    board.plan(name="digits", budgets=BUDGETS, limits={"trials": 4, "hours": 0.1, "images": None})
    board.take(trial("t0", ["tiny", "any"]))
    board.take(trial("t1", ["any"]))
    board.take({"event": "report", "trial": "t0", "images": 500, "epochs": 5, "val_top1": 0.5})
    board.take({"event": "report", "trial": "t1", "images": 1000, "epochs": 10, "val_top1": 0.7})
    board.take({"event": "end", "trial": "t1", "status": "done", "reason": None})
    clock.now = 30.0
    return board


def drawn(board: Board, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(board.render(width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_while_teachers_train_the_view_and_the_log_tell_how_far_each_is():
    board = Board(Clock())
    board.plan(name="digits", budgets=BUDGETS)
    told = {"event": "progress", "total_epochs": 10, "val_top1": None, "seconds_left": None, "look": False}
    assert board.take({**told, "teacher": "r56", "epochs": 0.25}) is None  # too soon for a line
    more = {"epochs": 2.5, "val_top1": 0.8125, "seconds_left": 75.0, "look": True}
    assert board.take({**told, **more, "teacher": "r20"}) == "teacher r20: 2.5 of 10 epochs, val 81.25 %, 1:15 left"
    for width in (80, 100):
        lines = [" ".join(line.split()) for line in drawn(board, width).splitlines()]
        assert {"teacher epochs val top-1 time left", "r56 0.25 of 10 - -", "r20 2.5 of 10 81.25 % 1:15"} <= set(lines)
    board.take({"event": "teacher", "teacher": "r20", "val_top1": 0.9, "trained": True})
    assert "r20 2.5" not in drawn(board) and "0.25 of 10" in drawn(board)
    board.take(trial("t0", ["any"]))
    assert "time left" not in drawn(board)


def test_leaders_are_the_best_finished_trial_that_fits_and_else_the_best_so_far(board: Board):
    assert board.leader(BUDGETS[1]).trial == "t1"
    assert board.leader(BUDGETS[0]).trial == "t0"  # t1 does not fit; t0 still runs
    assert "50.00 % so far" in drawn(board)


def test_time_left_comes_from_the_share_done_and_never_passes_the_limit(board: Board):
    # 1 trial ended + half of another, of 4: 1.5 / 4 done in 30 s
    assert board.remaining() == pytest.approx(30 * 2.5 / 1.5)
    board.limits["hours"] = 40 / 3600
    assert board.remaining() == pytest.approx(10)
    assert math.isnan(Board(Clock()).remaining())


def test_teachers_trained_before_the_first_trial_do_not_count_in_the_pace():
    clock = Clock()
    board = Board(clock)
    board.plan(name="digits", budgets=BUDGETS, limits={"trials": 4})
    clock.now = 100.0  # teachers
    board.take(trial("t0", ["any"]))
    clock.now = 110.0
    board.take({"event": "end", "trial": "t0", "status": "done", "epochs": 10})
    assert board.remaining() == pytest.approx(30)  # 10 s a trial, three to come
    board.take({"event": "close", "status": "finished"})
    assert math.isnan(board.remaining()) and "ETA" not in drawn(board)


def test_a_trial_that_is_done_is_wholly_done(board: Board):
    board.take({"event": "report", "trial": "t0", "epochs": 9.93, "val_top1": 0.6})
    assert "99%" in drawn(board)
    board.take({"event": "end", "trial": "t0", "status": "done"})
    assert "99%" not in drawn(board)


def test_among_leaders_as_accurate_the_cheapest_leads_as_in_the_report():
    board = Board(Clock())
    board.plan(name="digits", budgets=BUDGETS)
    for name, macs in (("t0", 30), ("t1", 20), ("t2", 40)):
        board.take(trial(name, ["any"], macs=macs, params=10))
        board.take({"event": "end", "trial": name, "status": "done", "val_top1": 0.5})
    leader = board.leader(BUDGETS[1])
    assert leader is not None and leader.trial == "t1"


def test_before_the_first_trial_there_is_no_empty_table_and_relative_limits_are_told():
    board = Board(Clock())
    board.plan(name="digits", budgets=[{"name": "half", "of_teacher": {"macs": 0.5}}], limits={"trials": 4})
    text = drawn(board)
    assert "≤ 50 % of the teacher's macs" in text and "trial " not in text and "reading the space" in text


def test_long_limits_are_folded_and_those_of_the_search_are_told():
    board = Board(Clock())
    long = Budget("served", 1e5, 2e6, 1e6, 2e6, 5.0, statistic="p90", deployment=Deployment(64, "cuda", 4, "compiled"))
    board.plan(name="digits", budgets=[long.to_dict()])
    text = drawn(board)
    assert max(map(len, text.splitlines())) <= 100 and "val top-1" in text and "student" in text
    for words in ("100 k params", "MACs", "1 MB", "2 MB", "memory", "5 ms", "p90", "batch 64", "4 threads", "compiled"):
        assert words in " ".join(text.split()), words
    told = board.take({"event": "begin", "run": "r", "limits": {"trials": 3, "hours": None, "gpu_hours": 2.0}})
    assert told == "run r  (ends at 3 trials, 2 GPU hours)"


def test_the_board_fits_a_hundred_columns_and_says_elapsed_limit_and_counts(board: Board):
    board.take(trial("t2", ["any"], student="a_very_long_name_of_a_network_indeed", teacher="timm:some_other_long_name"))
    text = drawn(board)
    assert max(map(len, text.splitlines())) <= 100
    assert "0:30 / 6:00" in text and "2 running, 1 done" in text
    assert text.index("budget") < text.index("trial ")


def test_a_hundred_trials_do_not_fill_the_screen(board: Board):
    for number in range(100):
        board.take(trial(f"x{number}", ["any"]))
    text = drawn(board)
    assert len(text.splitlines()) < 30 and "more" in text


def test_past_events_are_taken_in_and_their_time_counts():
    clock = Clock()
    board = Board(clock)
    past = [
        {"event": "begin", "run": "runs/a", "budgets": ["any"], "elapsed": 0},
        {**trial("t0", ["any"]), "elapsed": 1.0},
        {"event": "end", "trial": "t0", "status": "done", "val_top1": 0.9, "elapsed": 60.0},
        {"event": "close", "status": "paused", "elapsed": 61.0},
    ]
    board.catch_up(past)
    clock.now = 4.0
    assert board.elapsed == 65.0
    assert board.counts()["done"] == 1 and board.ended == ""


def test_a_pipe_gets_a_line_an_event(capsys: pytest.CaptureFixture[str]):
    with follow() as watch:
        watch({"event": "begin", "run": "runs/digits-1", "budgets": ["any"]})
        watch(trial("t0", ["any"]))
        watch({"event": "end", "trial": "t0", "status": "failed", "reason": "the loss is not finite"})
        watch({"event": "something nobody thought of"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "t0 failed" in lines[-1] and "the loss is not finite" in lines[-1]


def test_a_program_gets_json_lines_and_quiet_gets_nothing(capsys: pytest.CaptureFixture[str]):
    with opened(["search", "--jsonl"]), follow(as_json=True) as watch:
        watch({"event": "report", "trial": "t0", "val_top1": float("nan")})
    assert json.loads(capsys.readouterr().out) == {"event": "report", "trial": "t0", "val_top1": None}
    with opened(["search", "--json"]), follow(as_json=True) as watch:
        watch(trial("t0", ["any"]))  # the one document comes at the end
    with follow(quiet=True) as watch:
        watch(trial("t0", ["any"]))
    assert capsys.readouterr().out == ""


def test_an_event_that_cannot_be_drawn_does_not_stop_the_search(capsys: pytest.CaptureFixture[str]):
    with follow() as watch:
        watch({"event": "trial"})  # says not which
    assert "could not be shown" in capsys.readouterr().out


def test_a_confirmation_has_a_table_of_its_own_with_the_mean_of_each_candidate_s_seeds(board: Board):
    board.take({**trial("t00000", ["tiny"]), "elapsed": 1.0})
    board.take({"event": "end", "trial": "t00000", "status": "done", "val_top1": 0.9})
    board.take({"event": "begin", "run": "runs/r/confirm", "what": "confirmation", "limits": {"trials": 4}})
    assert not board.trials and board.run != "runs/r/confirm"
    for number, (of, score) in enumerate([("t00000", 0.6), ("t00003", 0.7), ("t00000", 0.9)]):
        tags = {"role": "candidate", "of": of, "arm": f"{of} #{1 + number // 2}", "seed": "1"}
        line = board.take(trial(f"c{number}", ["tiny", "any"], tags=tags))
        assert line and f"c{number} ({tags['arm']}) starts" in line
        board.take({"event": "end", "trial": f"c{number}", "status": "done", "val_top1": score})
    leader = board.leader(BUDGETS[0])
    assert leader is not None and leader.trial == "t00000"
    assert leader.val_top1 == pytest.approx(0.75)  # of 0.6 and 0.9
    assert board.take({"event": "close", "status": "finished", "reason": "3 trainings"}) == "confirmation finished: 3 trainings"
