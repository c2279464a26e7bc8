from __future__ import annotations

import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from search_fakes import BUDGETS, FakeTrial, Space, divided, plan

from autokd.errors import AutokdError, TrialFailed
from autokd.search.brain import Brain
from autokd.search.plan import Mark, Plan, plan_of


class Notes(list):
    def emit(self, event):
        self.append(event)
        return event


def brain_of(notes, space=None, past=(), **settings):
    made = Brain(space or Space(), divided(), plan(**settings.pop("plan", {})), emit=notes.emit, **settings)
    made.start(past)
    return made


def run_one(brain, proposal, marks=None):
    """Run a proposal to its end or through so many marks."""
    trial = FakeTrial(proposal.config)
    for number, mark in list(enumerate(proposal.marks))[proposal.done :][:marks]:
        try:
            report = trial.advance(round(mark.epochs * 1000)).to_dict()
        except TrialFailed as fault:
            return brain.fail(proposal.trial, fault.reason)
        if (
            brain.report(proposal.trial, {**report, "mark": number, "checkpoint": f"{proposal.trial}/{number}"})
            == "stop"
        ):
            return


def drain(brain, limit=1000):
    for _ in range(limit):
        proposal = brain.propose()
        if proposal is None:
            return
        run_one(brain, proposal)


# --- marks and rungs


def test_the_numbers_of_a_search_section_become_a_plan():
    from types import SimpleNamespace

    from autokd.config.sections import SearchSettings

    search = SearchSettings(trials=7, hours=1.5, epochs=100.0, sampler="random", seed=3)
    made = plan_of(SimpleNamespace(search=search), gpus=0.25)
    assert (made.trials, made.hours, made.epochs, made.sampler, made.seed, made.gpus) == (
        7,
        1.5,
        100,
        "random",
        3,
        0.25,
    )
    # a factor of 0.15 ** (-1/3) from rung to rung: 15, 28.23, 53.13 and then 100
    assert made.rungs == pytest.approx((15.0, 28.2311, 53.1329), rel=1e-5)
    assert plan_of(SimpleNamespace(search=search.model_copy(update={"scheduler": "none"}))).rungs == ()


def test_a_trial_is_scored_at_its_rungs_at_its_end_and_at_looks_between():
    assert Plan(epochs=9, rungs=(1, 3)).marks(9) == (Mark(1, 0), Mark(3, 1), Mark(9, 2, True))
    assert Plan(epochs=9, rungs=(1, 3)).marks(2) == (Mark(1, 0), Mark(2, 1, True))
    looks = Plan(epochs=8, rungs=(2,), looks=3).marks(8)
    assert [(mark.epochs, mark.rung) for mark in looks] == [(2, 0), (4, None), (6, None), (8, 1)]


# --- proposals


def test_proposals_go_round_the_budgets_and_starting_points_come_first():
    notes = Notes()
    brain = brain_of(notes)
    made = [brain.propose() for _ in range(6)]
    assert [one.budget for one in made] == ["tiny", "mid", "free"] * 2
    assert [one.config.method.name for one in made] == ["kd"] * 3 + ["ccd"] * 3
    assert {one["source"] for one in notes} == {"start"}
    assert [one.trial for one in made] == [f"t{n:05d}" for n in range(6)]


def test_a_student_is_never_proposed_for_a_budget_it_does_not_keep():
    brain = brain_of(Notes(), plan={"trials": 60})
    drain(brain)
    assert {t.config.student.name for t in brain.trials.values() if t.budget == "tiny"} == {"small"}
    assert {t.config.student.name for t in brain.trials.values() if t.budget == "mid"} == {"small", "middle"}
    assert len(brain.trials) == 60


def test_a_finite_space_is_tried_once_and_then_the_search_is_finished():
    notes = Notes()
    brain = brain_of(notes, Space(coarse=True), plan={"trials": 100})
    drain(brain)
    assert len(brain.trials) == 3 * 2 * 2  # students, methods, learning rates
    keys = {(t.config.student.name, t.config.method.name, t.config.recipe.lr) for t in brain.trials.values()}
    assert len(keys) == 12
    assert brain.finished
    assert brain.close() == ("finished", "every configuration of the space has been tried")


def test_without_scores_all_configurations_run_to_their_end_and_none_is_stopped_or_learned_from():
    settings = {"trials": 100, "rungs": (), "sampler": "random", "ranked": False, "repeats": 100, "looks": 1}
    notes = Notes()
    brain = brain_of(notes, Space(coarse=True), plan=settings)

    def run(brain, proposal):
        for number, mark in list(enumerate(proposal.marks))[proposal.done :]:
            told = {"mark": number, "images": round(mark.epochs * 1000), "epochs": mark.epochs, "seconds": 1.0, "val_top1": None}
            brain.report(proposal.trial, {**told, "checkpoint": f"{proposal.trial}/{number}"})

    for _ in range(5):
        run(brain, brain.propose())
    brain = brain_of(notes, Space(coarse=True), past=list(notes), plan=settings)  # as after a cut
    while (proposal := brain.propose()) is not None:
        run(brain, proposal)
    assert [trial.status for trial in brain.trials.values()] == ["done"] * 12
    assert brain.close() == ("finished", "every configuration of the space has been tried")
    ends = [event for event in notes if event["event"] == "end"]
    assert len(ends) == 12 and {event.get("reason") for event in ends} == {None}


def test_a_search_without_scores_draws_until_each_configuration_can_have_come():
    from autokd.config.search_space import load_space

    space = {"name": "x", "data": {"name": "digits", "validation": 0}, "students": ["resnet8"], "search": {"select": "last"}}
    space["space"] = {"method": "ce", "recipe": {"lr": {"choose": [0.1, 0.2, 0.3]}, "batch": {"choose": [32, 64, 128]}}}
    made = plan_of(load_space(space))
    assert (made.ranked, made.rungs, made.sampler, made.repeats) == (False, (), "random", 20 * 9)
    many = {"choose": [0.01 * number for number in range(1, 11)]}
    space["space"]["recipe"] |= {"momentum": many, "weight_decay": many}
    assert plan_of(load_space(space)).repeats == 10_000  # at the most


def test_the_resolved_teacher_takes_the_place_of_the_one_in_the_space():
    from autokd.config.trial import TeacherConfig

    brain = brain_of(Notes(), teachers={"teacher": TeacherConfig("teacher", "large", checkpoint="there.safetensors")})
    assert brain.propose().config.teacher.checkpoint == "there.safetensors"


# --- rungs


def at_rung(brain, proposal, value, mark=0):
    """Report a score at a mark, which is a rung."""
    told = {"mark": mark, "images": 1000 * (1, 3, 9)[mark], "epochs": (1.0, 3.0, 9.0)[mark], "val_top1": value, "seconds": 1.0}
    return brain.report(proposal.trial, {**told, "checkpoint": f"{proposal.trial}/{mark}"})


def only_tiny(notes, kept=lambda checkpoint: True, **changes):
    from autokd.search.feasible import feasible

    found = feasible([("t", "small")], BUDGETS[:1], {"small": divided().costs["small"]}, {})
    brain = Brain(Space(), found, plan(**changes), emit=notes.emit, kept=kept)
    brain.start()
    return brain


def test_the_first_third_of_those_at_a_rung_goes_on_and_the_others_wait_there():
    """One budget, eta 3. Of one or two trials a third is none. 0.3 is the last of three, and the first of them is 0.5, which goes
    on; 0.6 is the first of four and goes on at once; of six, two may: 0.55, the sixth, at once."""
    brain = only_tiny(Notes())
    first, second, third = (brain.propose() for _ in range(3))
    assert [at_rung(brain, one, value) for one, value in ((first, 0.5), (second, 0.4), (third, 0.3))] == ["stop"] * 3
    back = brain.propose()
    assert (back.trial, back.done, back.config) == (first.trial, 1, first.config)
    assert at_rung(brain, back, 0.52, mark=1) == "stop"  # the only one there
    fourth = brain.propose()
    assert fourth.trial not in (first.trial, second.trial, third.trial) and at_rung(brain, fourth, 0.6) == "go on"
    fifth, sixth = brain.propose(), brain.propose()
    assert [at_rung(brain, fifth, 0.35), at_rung(brain, sixth, 0.55)] == ["stop", "go on"]
    assert at_rung(brain, fourth, 0.61, mark=1) == "stop" and at_rung(brain, sixth, 0.5, mark=1) == "stop"
    assert brain.propose().trial == fourth.trial  # the first of the three at the second rung


def test_a_search_that_has_begun_its_last_trial_brings_three_of_each_budget_to_their_end():
    notes = Notes()
    brain = only_tiny(notes, trials=5)
    drain(brain)
    assert brain.finished and brain.close() == ("finished", "5 trials")
    assert sum(one.status == "done" for one in brain.trials.values()) == 3
    assert sum(one.status == "stopped" for one in brain.trials.values()) == 2
    assert any(event["event"] == "again" and event["leads"] for event in notes)


def test_a_stopped_trial_whose_checkpoint_is_gone_does_not_go_on():
    notes, gone = Notes(), set()
    brain = only_tiny(notes, kept=lambda checkpoint: checkpoint not in gone)
    first, second, third = (brain.propose() for _ in range(3))
    for one, value in ((first, 0.5), (second, 0.4), (third, 0.3)):
        at_rung(brain, one, value)
    gone.add(f"{first.trial}/0")
    assert brain.propose().trial not in (first.trial, second.trial, third.trial)  # a new one: the others are no third of three


@pytest.mark.parametrize(("limit", "amount"), [("images", 30_000), ("gpu_hours", 0.0299 / 3600), ("hours", 0.0299 / 3600)])
def test_what_a_limit_leaves_is_kept_for_the_leaders(limit, amount):
    """A trial is 9,000 images and 0.009 s (FakeTrial), and stops at 1,000 and 3,000: without the reserve the views would go to
    new trials up to the end of them."""
    clock = [0.0]
    brain = brain_of(Notes(), plan={"trials": 500, limit: amount, "gpus": 1.0}, elapsed=lambda: clock[0])
    for _ in range(500):
        proposal = brain.propose()
        if proposal is None:
            break
        before = brain.seconds
        run_one(brain, proposal)
        clock[0] += brain.seconds - before
    brain.close()
    assert 3 < len(brain.trials) < 30
    for budget in ("tiny", "mid", "free"):
        assert sum(budget in one.budgets and one.status == "done" for one in brain.trials.values()) >= 1
    assert brain.images <= 30_000


def test_without_rungs_every_trial_reaches_its_end():
    brain = brain_of(Notes(), plan={"rungs": ()})
    drain(brain)
    assert {t.status for t in brain.trials.values()} <= {"done", "failed"}


def test_a_small_student_is_compared_with_those_that_cost_as_little():
    """Last among all but first of the three tiny ones: it goes on. The two before it were too few for a third of them."""
    notes = Notes()
    brain = brain_of(notes)
    trials = {}
    while len(trials) < 9:
        proposal = brain.propose()
        trials[proposal.trial] = proposal
    by_student = {}
    for proposal in trials.values():
        by_student.setdefault(proposal.config.student.name, []).append(proposal.trial)

    def tell(trial, value):
        return brain.report(trial, {"mark": 0, "images": 1000, "epochs": 1.0, "val_top1": value, "seconds": 1.0})

    others = [t for name in ("middle", "large") for t in by_student.get(name, [])]
    small = by_student["small"]
    assert len(small) >= 3
    for number, trial in enumerate(others):
        tell(trial, 0.9 + number / 1000)
    assert [tell(trial, value) for trial, value in zip(small[:3], (0.3, 0.2, 0.4), strict=True)] == ["stop", "stop", "go on"]


def test_ended_trials_tell_the_study_of_every_budget_that_admits_the_student(tmp_path):
    notes = Notes()
    brain = brain_of(notes, journal=tmp_path / "study.journal")
    drain(brain)
    brain.close()
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    assert {one.study_name for one in optuna.get_all_study_summaries(storage)} == {"tiny", "mid", "free"}
    for name in ("tiny", "mid", "free"):
        told = optuna.load_study(study_name=name, storage=storage).trials
        expected = [t for t in brain.trials.values() if name in t.budgets]
        ends = [e["trial"] for e in notes if e["event"] == "end" and name in brain.trials[e["trial"]].budgets]
        assert len(told) == len(ends) and set(ends) == {t.trial for t in expected}
        states = {state.name: sum(one.state is state for one in told) for state in optuna.trial.TrialState}
        assert states["COMPLETE"] == sum(t.status == "done" for t in expected)
        assert states["PRUNED"] == len(ends) - states["COMPLETE"]  # a stop is told when it comes, also of one that goes on later
        assert states["FAIL"] == states["RUNNING"] == states["WAITING"] == 0


def test_a_stopped_trial_is_pruned_with_its_scores_by_rung(tmp_path):
    brain = brain_of(Notes(), plan={"trials": 40}, journal=tmp_path / "study.journal")
    drain(brain)
    stopped = next(t for t in brain.trials.values() if t.status == "stopped")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    told = optuna.load_study(study_name=stopped.budget, storage=storage).trials[stopped.asked]
    assert told.state is optuna.trial.TrialState.PRUNED
    assert told.intermediate_values == stopped.scores
    assert told.params == stopped.values


# --- failures


@pytest.mark.parametrize("score", [math.nan, math.inf, None])
def test_a_score_that_is_no_number_fails_the_trial_and_the_search_goes_on(score):
    notes = Notes()
    brain = brain_of(notes)
    proposal = brain.propose()
    assert brain.report(proposal.trial, {"mark": 0, "images": 1000, "val_top1": score}) == "stop"
    assert notes[-1]["status"] == "failed"
    assert "score" in notes[-1]["reason"]
    assert brain.propose() is not None


def test_a_crash_of_the_machine_teaches_the_sampler_nothing(tmp_path):
    brain = brain_of(Notes(), journal=tmp_path / "study.journal")
    proposal = brain.propose()
    brain.fail(proposal.trial, "the worker died", machine=True)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    assert optuna.load_study(study_name="tiny", storage=storage).trials[0].state is optuna.trial.TrialState.FAIL
    assert optuna.load_study(study_name="mid", storage=storage).trials == []


def failing(outcomes, **changes):
    """A search whose trials fail (f) or end (e), in this order."""
    brain = brain_of(Notes(), plan={"rungs": (), "eta": 99, "trials": 100, **changes})
    for number, outcome in enumerate(outcomes):
        proposal = brain.propose()
        if proposal is None:
            return brain, number
        if outcome == "f":
            brain.fail(proposal.trial, f"no luck {'at all' if number else 'yet'}")
        else:
            last = len(proposal.marks) - 1
            brain.report(proposal.trial, {"mark": last, "images": 9000, "val_top1": 0.5, "seconds": 1.0})
    return brain, len(outcomes)


def test_a_search_in_which_nothing_works_ends_after_five_trials_and_says_the_reason():
    brain, ran = failing("f" * 9)
    assert ran == 5
    status, reason = brain.close()
    assert status == "failed"
    assert reason == "5 of 5 trials failed, t00000 first; 4 of them with: no luck at all"


def test_one_trial_that_works_lets_a_search_go_on_until_most_of_twenty_failed():
    assert failing("e" + "f" * 9)[1] == 10
    brain, ran = failing("e" + "f" * 25)
    assert ran == 20
    assert brain.close()[0] == "failed"
    assert failing("ef" * 20)[1] == 40  # half, not more
    assert failing("ef" * 20, failures=0.4)[1] == 20  # ten of them


# --- limits


def test_the_trials_limit_lets_running_trials_end():
    brain = brain_of(Notes(), plan={"trials": 2, "rungs": ()})
    first, second = brain.propose(), brain.propose()
    assert brain.propose() is None
    assert not brain.finished
    run_one(brain, first)
    run_one(brain, second)
    assert brain.finished
    assert brain.close() == ("finished", "2 trials")


def test_the_limit_of_images_counts_what_was_trained_and_ends_running_trials():
    notes = Notes()
    brain = brain_of(notes, plan={"images": 12_000, "rungs": (1,), "eta": 1})
    run_one(brain, brain.propose())
    assert brain.images == 9000
    run_one(brain, brain.propose(), marks=1)
    assert brain.images == 10_000
    run_one(brain, brain.propose(), marks=1)
    run_one(brain, brain.propose(), marks=1)
    assert brain.images == 12_000
    assert brain.propose() is None
    assert brain.close() == ("finished", "the limit of 12,000 images")
    assert all(t.status != "running" for t in brain.trials.values())


def test_the_time_limit_is_read_from_the_clock_of_the_search():
    now = [0.0]
    brain = brain_of(Notes(), plan={"hours": 1}, elapsed=lambda: now[0])
    assert brain.propose() is not None
    now[0] = 3600.0
    assert brain.over
    assert brain.propose() is None


def test_a_pause_stops_running_trials_at_their_next_mark_and_leaves_them_unfinished():
    notes = Notes()
    brain = brain_of(notes, plan={"eta": 1})
    proposal = brain.propose()
    brain.pause()
    assert brain.propose() is None
    run_one(brain, proposal)
    brain.release(proposal.trial)
    assert brain.finished
    assert brain.trials[proposal.trial].done == 1
    assert brain.close()[0] == "paused"
    assert [event["event"] for event in notes] == ["trial", "report", "close"]


# --- resume is replay


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("cut", [1, 7, 23, 60, 61, 62, 63])
def test_a_search_killed_after_any_event_goes_on_as_if_nothing_had_happened(cut, sampler):
    whole = Notes()
    drain(brain_of(whole, plan={"trials": 30, "sampler": sampler}))
    notes = Notes(whole[:cut])
    brain = brain_of(notes, past=list(notes), plan={"trials": 30, "sampler": sampler})
    drain(brain)
    assert notes == whole


def test_an_unfinished_trial_is_issued_first_from_its_last_checkpoint():
    notes = Notes()
    brain = brain_of(notes, plan={"eta": 1})
    first, second = brain.propose(), brain.propose()
    run_one(brain, second, marks=2)
    again = brain_of(Notes(), past=list(notes), plan={"eta": 1})
    assert again.propose().trial == first.trial
    taken = again.propose()
    assert (taken.trial, taken.done, taken.checkpoint) == (second.trial, 2, f"{second.trial}/1")
    assert taken.config == second.config


def test_a_trial_decided_but_not_written_down_is_ended_by_the_resume():
    notes = Notes()
    brain = brain_of(notes, plan={"eta": 1})
    run_one(brain, brain.propose())
    assert notes[-1]["event"] == "end"
    again = brain_of(Notes(), past=notes[:-1], plan={"eta": 1})
    assert again.trials["t00000"].status == "done"
    assert again.propose().trial == "t00001"


def test_a_ledger_of_another_space_is_refused():
    notes = Notes()
    drain(brain_of(notes, plan={"trials": 3}))
    for event in notes:
        if event["event"] == "trial":
            event["values"] = {**event["values"], "method": "gone"}
    with pytest.raises(AutokdError, match="does not allow"):
        brain_of(Notes(), past=notes)


def test_a_failed_trial_is_taken_up_again_when_asked():
    notes = Notes()
    brain = brain_of(notes, plan={"eta": 1})
    proposal = brain.propose()
    brain.fail(proposal.trial, "the worker died", machine=True)
    brain.take_up(proposal.trial)
    again = brain.propose()
    assert (again.trial, again.config) == (proposal.trial, proposal.config)
    run_one(brain, again)
    assert brain.trials[again.trial].status == "done"
    assert brain.failed == 0
    replayed = brain_of(Notes(), past=list(notes), plan={"eta": 1})
    assert replayed.trials[again.trial].status == "done"
    assert replayed.ended == 1


def test_nsga2_breeds_later_generations_from_what_every_budget_learned(tmp_path):
    notes = Notes()
    drain(brain_of(notes, plan={"trials": 60, "sampler": "nsga2", "rungs": ()}, journal=tmp_path / "study.journal"))
    generations = [e["generation"] for e in notes if e["event"] == "trial" and e["source"] == "nsga2"]
    assert max(generations) >= 2
    assert any("parents" in event for event in notes)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    free = optuna.load_study(study_name="free", storage=storage)  # admits every student
    bred = [t for t in free.trials if "NSGAIISampler:generation" in t.system_attrs]
    own = sum(e["event"] == "trial" and e["budget"] == "free" for e in notes)
    assert len(bred) > own  # trials of the other budgets are among its population


@pytest.mark.parametrize("cut", [31, 101, 131, 170])
def test_nsga2_resumes_with_its_generations_and_their_parents(cut):
    settings = {"trials": 60, "sampler": "nsga2", "rungs": ()}
    whole = Notes()
    drain(brain_of(whole, plan=settings))
    assert cut < len(whole)
    notes = Notes(whole[:cut])
    drain(brain_of(notes, past=list(notes), plan=settings))
    assert notes == whole


@pytest.mark.slow
def test_a_gaussian_process_proposes_and_resumes():
    settings = {"trials": 14, "sampler": "gp"}
    whole = Notes()
    drain(brain_of(whole, plan=settings))
    notes = Notes(whole[:25])
    drain(brain_of(notes, past=list(notes), plan=settings))
    assert notes == whole


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_no_budget_is_left_without_a_finished_trial(sampler):
    """The cheap students score lowest of all, and each stratum still brings one of its own to full length."""
    for seed in range(3):
        brain = brain_of(Notes(), plan={"trials": 18, "sampler": sampler, "seed": seed})
        drain(brain)
        for budget in ("tiny", "mid", "free"):
            finished = [t for t in brain.trials.values() if budget in t.budgets and t.status == "done"]
            assert finished, f"{budget} is empty with seed {seed}"
        assert any(t.status == "stopped" for t in brain.trials.values())


def test_ranked_on_accuracy_alone_the_cheap_students_would_all_be_stopped():
    """The control of the test above: one budget that admits all, and no small student is trained to its end."""
    from autokd.search.feasible import feasible

    one = feasible([("teacher", "large"), ("teacher", "small")], BUDGETS[2:], divided().costs, {})
    brain = Brain(Space(), one, plan(trials=4, eta=3), emit=Notes().emit)
    brain.start()
    proposals = [brain.propose() for _ in range(4)]
    large = [0.8, 0.81, 0.82]
    for proposal, value in zip(proposals, [*large, 0.5], strict=True):
        told = brain.report(proposal.trial, {"mark": 0, "images": 1000, "val_top1": value, "seconds": 1.0})
    assert told == "stop"


def test_a_grace_period_lets_every_trial_reach_it():
    notes = Notes()
    brain = brain_of(notes, plan={"trials": 30, "rungs": (4.5, 6)})
    drain(brain)
    stopped = [e for e in notes if e["event"] == "report" and e["decision"] == "stopped"]
    assert stopped
    assert min(event["images"] for event in stopped) >= 4500


def test_proposals_improve_on_chance():
    """Twenty proposals of TPE after forty: their mean score beats that of as many drawn at random."""

    def late(sampler):
        notes = Notes()
        brain = brain_of(notes, plan={"trials": 60, "sampler": sampler, "rungs": ()})
        drain(brain)
        found = [t.scores[0] for t in brain.trials.values() if t.number >= 40 and t.status == "done"]
        return sum(found) / len(found)

    assert late("tpe") > late("random")
