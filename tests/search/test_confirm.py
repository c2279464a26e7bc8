from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from confirm_fakes import IMAGES, QUALITY, TRAIN, right_of, space_of
from hypothesis import given
from hypothesis import strategies as st

from autokd.config.sections import ConfirmSettings
from autokd.config.trial import TrialConfig
from autokd.errors import AutokdError, SearchFailed
from autokd.search.confirm import confirm
from autokd.search.inline_engine import InlineEngine
from autokd.search.plan import plan_of
from autokd.search.run import Run, resume, search
from autokd.search.work import read_answers, write_answers
from autokd.seeds import derived
from autokd.select.best import best_of_run
from autokd.track.ledger import FILE, all_events, read_events
from autokd.track.table import read_table

FACTORY = "confirm_fakes:Bench"
FEW = ConfirmSettings(top=3, seeds=3)
SEEDS = [derived(3, "confirm", number) for number in range(5)]  # the space's seed is 3


class Cut(InlineEngine):
    """Stops for good after so many reports, as a kill would."""

    def __init__(self, reports: int) -> None:
        super().__init__({"factory": FACTORY})
        self.left = reports

    def run(self, brain, run, tick=lambda: None):
        def count() -> None:
            self.left -= 1
            if self.left < 0:
                self.cancel()

        super().run(brain, run, count)


def engine(**bench):
    return InlineEngine({"factory": FACTORY, **bench})


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search of twelve trials."""
    runs = tmp_path_factory.mktemp("runs")
    return search(space_of(runs), runs=runs, engine=engine()).folder


@pytest.fixture
def run(searched, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(searched, tmp_path / searched.name))


def trainings(run):
    return [event for event in read_events(run / "confirm" / FILE) if event["event"] == "trial"]


def what_counts(told):
    return {key: told[key] for key in ("state", "seeds", "budgets")}


def test_the_numbers_of_a_confirmation_follow_from_the_files_it_leaves(run):
    told = confirm(run, settings=FEW, engine=engine())
    assert json.loads((run / "confirm.json").read_text()) == told
    assert told["state"] == "finished" and told["seeds"] == SEEDS[:3]
    events = list(read_events(run / "confirm" / FILE))
    final = {event["trial"]: event for event in events if event["event"] == "report" and event["final"]}
    by_arm = {}
    for event in trainings(run):
        path = run / "confirm" / final[event["trial"]]["answers"]
        assert path == run / "confirm" / "answers" / f"{event['trial']}.npy"
        bits = np.unpackbits(np.load(path))[:IMAGES].astype(bool)
        config = TrialConfig.from_dict(event["config"])
        assert (bits == right_of(config)).all()
        assert final[event["trial"]]["val_top1"] == bits.mean()
        by_arm.setdefault((event["tags"]["role"], event["tags"]["of"]), []).append(bits)
    for one in told["budgets"].values():
        first, *others = one["candidates"]
        assert one["search_best"] == first["trial"] and len(others) == 2
        for candidate in one["candidates"]:
            arm = np.array(by_arm["candidate", candidate["trial"]])
            assert candidate["scores"] == pytest.approx(arm.mean(axis=1))
            assert candidate["mean"] == pytest.approx(arm.mean())
            assert candidate["low"] < candidate["mean"] < candidate["high"]
        chosen = next(c for c in one["candidates"] if c["trial"] == one["chosen"])
        assert one["optimism"] == pytest.approx(chosen["search"] - chosen["mean"])
        for role, control in one["controls"].items():
            gain = np.mean(by_arm["candidate", one["chosen"]]) - np.mean(by_arm[role, one["chosen"]])
            assert control["gain"]["mean"] == pytest.approx(gain)


def test_seeds_are_fresh_and_length_and_settings_are_the_candidate_s(run):
    confirm(run, settings=FEW, engine=engine())
    rows = {row["trial"]: row for row in read_table(run).to_pylist()}
    for event in trainings(run):
        if event["tags"]["role"] == "candidate":
            config = TrialConfig.from_dict(json.loads(rows[event["tags"]["of"]]["config"]))
            assert TrialConfig.from_dict(event["config"]) == config.with_(seed=event["seed"], views_seed=event["seed"])
            assert event["seed"] in SEEDS[:3] and event["seed"] not in {row["seed"] for row in rows.values()}


def test_no_training_of_a_run_has_the_seed_of_another_purpose(tmp_path):
    run = search(space_of(tmp_path, search={"seed": 1000}), runs=tmp_path, engine=engine()).folder
    confirm(run, settings=ConfirmSettings(top=2, seeds=2, random=True), engine=engine())
    found = {}
    for place in (run, run / "confirm", run / "confirm" / "random"):
        found[place.name] = {event["seed"] for event in read_events(place / FILE) if event["event"] == "trial"}
    found["finalize"] = {derived(1000, "finalize", number) for number in range(5)}
    assert len(set().union(*found.values())) == sum(map(len, found.values()))
    assert len(found[run.name]) == 12 and len(found["confirm"]) == 2


def test_a_run_of_an_earlier_version_goes_on_with_the_seeds_that_it_counted(tmp_path):
    """Its ledger says nothing of a scheme, and its space fixed the views."""
    space = space_of(tmp_path, data={"views_seed": 0})
    run = search(space, runs=tmp_path, engine=Cut(4)).folder

    def as_before(event):
        event.pop("seeds", None)
        if event["event"] == "trial":
            event["seed"] = event["config"]["seed"] = 3 + event["number"]
        return event

    def rewrite(place):
        lines = [json.dumps(as_before(event)) + "\n" for event in all_events(place / FILE)]
        (place / FILE).write_text("".join(lines))

    def seeds(place):
        return [event["seed"] for event in read_events(place / FILE) if event["event"] == "trial"]

    rewrite(run)
    resume(run, engine=engine())
    assert seeds(run) == [3 + number for number in range(12)]
    settings = ConfirmSettings(top=2, seeds=2, controls=[])
    (run / "confirm").mkdir()
    (run / "confirm" / FILE).write_text(json.dumps({"event": "begin", "seed": 3, "time": 0.0}) + "\n")
    told = confirm(run, settings=settings, engine=engine())
    assert told["seeds"] == [500_001, 500_002] and set(seeds(run / "confirm")) == {500_001, 500_002}
    assert {event["config"].get("views_seed") for event in trainings(run)} == {None}
    shutil.rmtree(run / "confirm")
    assert confirm(run, settings=settings, engine=engine())["seeds"] == SEEDS[:2]  # not begun: its own
    configs = [TrialConfig.from_dict(event["config"]) for event in trainings(run)]
    assert {config.seed for config in configs} == set(SEEDS[:2])
    assert {config.seed_of_views for config in configs} == {0}  # the space says so


def test_controls_have_the_choice_s_student_length_recipe_and_seeds(run):
    told = confirm(run, settings=FEW, engine=engine())
    rows = {row["trial"]: row for row in read_table(run).to_pylist()}
    for budget in told["budgets"].values():
        config = TrialConfig.from_dict(json.loads(rows[budget["chosen"]]["config"]))
        assert list(budget["controls"]) == ["ce", "kd"]
        for role, one in budget["controls"].items():
            control = TrialConfig.from_dict(one["config"])
            assert one["seeds"] == told["seeds"]
            assert control.method.name == role and control.policy.name == "none" and control.ratio == 0
            same = ("data", "student", "recipe", "epochs")
            assert [getattr(control, key) for key in same] == [getattr(config, key) for key in same]
        ce, kd = (TrialConfig.from_dict(budget["controls"][role]["config"]) for role in ("ce", "kd"))
        assert ce.teacher is None and kd.teacher is not None
        assert kd.method.settings == {"temperature": 4.0}  # Hinton's, as published with the weights below
        assert (kd.loss.ce_weight, kd.loss.kd_weight) == (0.1, 0.9)


def test_a_control_that_is_the_choice_itself_is_not_trained_again(tmp_path):
    space = space_of(tmp_path, space={"policy": "none", "method": {"ce": {}}, "recipe": {"lr": {"choose": [0.05, 0.1]}}})
    run = search(space, runs=tmp_path, engine=engine()).folder
    told = confirm(run, settings=ConfirmSettings(top=1, seeds=2, controls=["ce"]), engine=engine())
    for one in told["budgets"].values():
        assert one["controls"]["ce"]["same"] and one["controls"]["ce"]["gain"]["high"] == 0
        assert one["verdict"] == "inconclusive" and "it is ce itself" in one["line"]
    assert {event["tags"]["role"] for event in trainings(run)} == {"candidate"}


def test_budgets_share_the_trainings_of_a_candidate_of_both(tmp_path):
    run = search(space_of(tmp_path), runs=tmp_path, engine=engine(), name="shared").folder
    confirm(run, settings=ConfirmSettings(top=12, seeds=2, controls=[]), engine=engine())
    arms = [(event["tags"]["of"], event["seed"]) for event in trainings(run)]
    assert len(arms) == len(set(arms)) == 2 * 12
    both = [event for event in trainings(run) if event["student"] == "resnet8x0.5"]
    assert both and all(event["budgets"] == ["tiny", "any"] for event in both)


@pytest.mark.parametrize("reports", [50, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 17, 80))])
def test_a_confirmation_that_was_cut_off_goes_on_and_ends_as_if_it_had_not_been(run, tmp_path, reports):
    other = Path(shutil.copytree(run, tmp_path / "other" / run.name))
    whole = confirm(run, settings=FEW, engine=engine())
    cut = confirm(other, settings=FEW, engine=Cut(reports))
    assert cut["state"] == "paused" or reports > 70
    before = len(trainings(other))
    again = confirm(other, engine=engine())  # its settings are kept
    assert what_counts(again) == what_counts(whole)
    assert [e["tags"]["arm"] for e in trainings(other)] == [e["tags"]["arm"] for e in trainings(run)]
    assert before <= len(trainings(other))


def test_a_finished_confirmation_trains_nothing_more_and_is_counted_once(run):
    first = confirm(run, settings=FEW, engine=engine())
    again = confirm(run, engine=Cut(0))
    assert what_counts(again) == what_counts(first)
    told = [event for event in read_events(run / FILE) if event["event"] == "confirm"]
    assert len(told) == 1
    assert told[0]["trainings"] == len(trainings(run)) and told[0]["images"] == 9 * TRAIN * len(trainings(run))
    assert told[0]["choices"] == {name: one["chosen"] for name, one in first["budgets"].items()}
    assert Run(run).status()["state"] == "finished"
    assert not (run / "confirm" / "ray" / "checkpoints").exists()


def test_more_seeds_may_be_asked_for_later_and_only_they_are_trained(run):
    few = confirm(run, settings=ConfirmSettings(top=2, seeds=2), engine=engine())
    made = len(trainings(run))
    more = confirm(run, settings=ConfirmSettings(top=2, seeds=3), engine=engine())
    seeds = [event["seed"] for event in trainings(run)]
    assert made < len(seeds) and set(seeds[:made]) == set(few["seeds"])
    assert {len(c["seeds"]) for one in more["budgets"].values() for c in one["candidates"] if not c["dropped"]} == {3}


def test_the_confirmed_choice_is_the_run_s_best_and_says_so(run):
    before = best_of_run(run)
    assert all("confirmed" not in row for row in before.values())
    told = confirm(run, settings=ConfirmSettings(top=12, seeds=2), engine=engine())
    for name, row in best_of_run(run).items():
        one = told["budgets"][name]
        chosen = next(c for c in one["candidates"] if c["trial"] == one["chosen"])
        assert row["trial"] == one["chosen"]
        assert row["confirmed"]["mean"] == chosen["mean"] and row["confirmed"]["seeds"] == 2
        assert row["confirmed"]["search_best"] == before[name]["trial"]


def test_a_search_that_went_on_and_found_better_ones_has_to_be_confirmed_again(run):
    settings = ConfirmSettings(top=1, seeds=2, controls=[])
    confirm(run, settings=settings, engine=engine())
    first = best_of_run(run)["any"]
    resume(run, overrides=["search.trials=60"], engine=engine())
    ranked = max(read_table(run).to_pylist(), key=lambda row: row["val_top1"] or 0)
    assert ranked["trial"] != first["trial"]  # else this test shows nothing
    found = best_of_run(run)["any"]
    assert found["trial"] == ranked["trial"] and "confirmed" not in found
    confirm(run, engine=engine())
    assert best_of_run(run)["any"]["confirmed"]["search_best"] == ranked["trial"]


def test_a_space_that_asks_for_it_is_confirmed_at_the_end_of_its_search(tmp_path):
    space = space_of(tmp_path, confirm={"top": 2, "seeds": 2})
    heard = []
    run = search(space, runs=tmp_path, engine=engine(), on_event=heard.append)
    told = json.loads((run.folder / "confirm.json").read_text())
    assert told["settings"]["top"] == 2 and told["state"] == "finished"
    assert [event["what"] for event in heard if event["event"] == "begin" and "what" in event] == ["confirmation"]
    assert not (search(space_of(tmp_path), runs=tmp_path, engine=engine()).folder / "confirm.json").exists()


def test_a_search_that_was_killed_in_its_confirmation_is_taken_up_there(tmp_path):
    space = space_of(tmp_path, confirm={"top": 2, "seeds": 2})
    whole = search(space, runs=tmp_path / "a", engine=engine()).folder
    reports = sum(event["event"] == "report" for event in read_events(whole / FILE)) + 7
    cut = search(space, runs=tmp_path / "b", engine=Cut(reports)).folder
    assert json.loads((cut / "confirm.json").read_text())["state"] == "paused"
    resume(cut, engine=engine())
    assert what_counts(json.loads((cut / "confirm.json").read_text())) == what_counts(
        json.loads((whole / "confirm.json").read_text())
    )


def test_a_share_of_the_limits_is_kept_for_the_confirmation_and_kept_to(tmp_path):
    limit = 40 * 9 * TRAIN  # forty trainings
    space = space_of(tmp_path, search={"trials": None, "images": limit}, confirm={"share": 0.25, "top": 4, "seeds": 5})
    assert plan_of(space).images == 0.75 * limit
    run = search(space, runs=tmp_path, engine=engine())
    told = json.loads((run.folder / "confirm.json").read_text())
    assert run.status()["images"] <= 0.75 * limit + 9 * TRAIN  # a training under way comes to its next mark
    assert told["cost"]["images"] <= 0.25 * limit + 9 * TRAIN
    rounds = {one["rounds"] for one in told["budgets"].values()}
    assert max(rounds) < 5


def test_a_race_ends_early_where_a_round_with_its_controls_is_more_than_is_left(run):
    from dataclasses import replace

    from autokd.config.search_space import load_space

    space = load_space(run / "space.yaml")
    # one budget's worth: 2 candidates each; two rounds, then two controls of two seeds, and nothing left for a third round
    space = replace(space, search=space.search.model_copy(update={"images": 17 * 9 * TRAIN}))
    settings = ConfirmSettings(top=2, seeds=5, share=0.999999)
    told = confirm(run, settings=settings, space=space, engine=engine(), reserve=True)
    assert told["state"] == "finished" and told["cost"]["trainings"] <= 17
    for one in told["budgets"].values():
        assert one["rounds"] == 2 and one["chosen"]
        assert {len(control["seeds"]) for control in one["controls"].values()} == {2}


def test_the_control_of_a_random_search_has_as_many_images_as_the_search(run):
    told = confirm(run, settings=ConfirmSettings(top=1, seeds=2, random=True), engine=engine())
    drawn = Run(run / "confirm" / "random")
    spent = told["cost"]["search_images"]
    assert spent == 12 * 9 * TRAIN
    assert spent <= drawn.status()["images"] <= spent + 9 * TRAIN
    sources = {event["source"] for event in read_events(drawn.folder / FILE) if event["event"] == "trial"}
    assert sources == {"random"}
    best = max((row for row in drawn.trials.to_pylist() if row["status"] == "done"), key=lambda row: row["val_top1"])
    one = told["budgets"]["any"]["controls"]["random"]
    assert one["student"] == best["student"]
    assert TrialConfig.from_dict(one["config"]) == TrialConfig.from_dict(json.loads(best["config"]))
    assert best_of_run(run)["any"]["trial"] == told["budgets"]["any"]["chosen"]  # of the search, never of the control


def test_a_diverging_seed_drops_a_candidate_and_a_failing_machine_is_tried_again(run):
    settings = ConfirmSettings(top=12, seeds=2, controls=["ce"])
    second = f"ce {SEEDS[1]}"
    told = confirm(run, settings=settings, engine=engine(machine=second))
    failed = [c for c in told["budgets"]["any"]["candidates"] if c["dropped"] and c["dropped"]["failed"]]
    assert failed and "disk is full" in failed[0]["dropped"]["failed"]
    assert told["budgets"]["any"]["verdict"] == "inconclusive" and "not trained: ce" in told["budgets"]["any"]["why"]
    again = confirm(run, engine=engine())
    assert not [c for c in again["budgets"]["any"]["candidates"] if c["dropped"] and c["dropped"]["failed"]]
    assert again["budgets"]["any"]["controls"]["ce"]["gain"] is not None


def test_every_candidate_may_fail_and_then_the_search_s_best_stays(run):
    with pytest.raises(SearchFailed, match="nothing was confirmed: both trials failed with: the loss is not finite") as fault:
        confirm(run, settings=ConfirmSettings(top=1, seeds=2), engine=engine(broken=f"kd {SEEDS[0]}"))
    assert fault.value.exit_code == 4
    told = json.loads((run / "confirm.json").read_text())
    assert told["state"] == "failed"
    for name, one in told["budgets"].items():
        if one["chosen"] is None:
            assert one["verdict"] == "inconclusive" and "not finite at step 7" in one["line"]
            assert best_of_run(run)[name]["trial"] == one["search_best"]
    assert any(one["chosen"] is None for one in told["budgets"].values())


def test_answers_that_are_gone_are_told_of(run):
    confirm(run, settings=FEW, engine=engine())
    next((run / "confirm" / "answers").iterdir()).write_bytes(b"no array")
    with pytest.raises(AutokdError, match="answers cannot be read") as fault:
        confirm(run, settings=ConfirmSettings(top=3, seeds=4), engine=engine())
    assert "confirm again" in (fault.value.fix or "")


def test_a_run_without_a_finished_trial_cannot_be_confirmed(tmp_path):
    run = search(space_of(tmp_path), runs=tmp_path, engine=Cut(1)).folder
    before = sorted(run.rglob("*"))
    for settings in (None, ConfirmSettings(random=True)):
        with pytest.raises(AutokdError, match="no trial has finished for tiny, any .tiny: of 1 trial 1 not ended"):
            confirm(run, settings=settings, engine=engine())
    assert sorted(run.rglob("*")) == before  # refused before anything is written


PLACES = ["confirm/ledger.jsonl", "confirm.json"]
MORE_PLACES = ["confirm/space.yaml", "confirm/environment.json", "confirm/trials.parquet", "mark-0000"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the names of open files")
@pytest.mark.parametrize("place", [*PLACES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_PLACES)])
def test_a_full_disk_is_told_in_words_and_the_next_confirmation_ends_as_if_there_had_been_room(run, tmp_path, monkeypatch, place):
    expected = confirm(Path(shutil.copytree(run, tmp_path / "whole" / run.name)), settings=FEW, engine=engine())
    real, name = os.fsync, place.replace("/", "/.") if place.endswith(("yaml", "json")) else place
    name = f"/.{place}" if place == "confirm.json" else name

    def full(handle):
        if name in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch, pytest.raises(AutokdError) as fault:
        patch.setattr(os, "fsync", full)
        confirm(run, settings=FEW, engine=engine())
    assert "disk is full" in str(fault.value) and fault.value.fix.endswith(f"make room, then go on: autokd confirm {run}")
    assert not (run / "confirm.json").exists()
    made = confirm(run, settings=FEW, engine=engine())
    assert made["budgets"] == expected["budgets"] and made["state"] == "finished"


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_answers_are_read_back_as_they_were_written(tmp_path_factory, right):
    path = tmp_path_factory.mktemp("answers") / "deeper" / "c.npy"
    assert write_answers(path, np.array(right)) == len(right)
    assert read_answers(path, len(right)).tolist() == right
    assert np.load(path).nbytes == -(-len(right) // 8)
    with pytest.raises(AutokdError):
        read_answers(path, len(right) + 8)


SCRIPT = """
import sys
from autokd.config.sections import ConfirmSettings
from autokd.search.confirm import confirm
from autokd.search.inline_engine import InlineEngine

folder, slow = sys.argv[1:]
engine = InlineEngine({"factory": "confirm_fakes:Bench", "slow": float(slow)})
confirm(folder, settings=ConfirmSettings(top=3, seeds=3), engine=engine)
"""


@pytest.mark.slow
def test_a_confirmation_whose_process_is_killed_goes_on_from_its_ledger(run, tmp_path):
    other = Path(shutil.copytree(run, tmp_path / "other" / run.name))
    whole = confirm(run, settings=FEW, engine=engine())
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}

    def start(slow):
        command = [sys.executable, "-c", SCRIPT, str(other), str(slow)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    for ended in (3, 9):
        process = start(0.05)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            assert process.poll() is None, process.stderr.read()
            ledger = other / "confirm" / FILE
            events = list(read_events(ledger)) if ledger.exists() else []
            if sum(event["event"] == "end" for event in events) >= ended:
                break
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    done = {event["trial"] for event in read_events(other / "confirm" / FILE) if event["event"] == "end"}
    lines = len(list(read_events(other / "confirm" / FILE)))
    process = start(0)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    later = list(read_events(other / "confirm" / FILE))[lines:]
    assert not done & {event.get("trial") for event in later}  # what had ended was not trained again
    assert what_counts(json.loads((other / "confirm.json").read_text())) == what_counts(whole)
    assert set(QUALITY) >= {event["student"] for event in trainings(other)}


@pytest.mark.slow
@pytest.mark.ray
def test_rounds_of_two_at_a_time_on_a_real_ray_come_to_the_same_end(run, tmp_path, monkeypatch):
    from autokd.search.ray_engine import RayEngine

    other = Path(shutil.copytree(run, tmp_path / "other" / run.name))
    whole = confirm(run, settings=FEW, engine=engine())
    here = Path(__file__).resolve()
    monkeypatch.setenv("PYTHONPATH", f"{here.parent}{os.pathsep}{here.parents[2]}")  # for the workers
    told = confirm(other, settings=FEW, engine=RayEngine({"factory": FACTORY}))
    assert what_counts(told) == what_counts(whole)
