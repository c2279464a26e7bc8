from autokd.select.empty import why_empty

BUDGETS = [{"name": "tiny"}, {"name": "any"}]


def row(trial, status, reason=None, epochs=0.0, score=None):
    return {"trial": trial, "status": status, "reason": reason, "epochs": epochs, "images": epochs, "val_top1": score}


def of_tiny(*rows):
    return why_empty(rows, BUDGETS, {one["trial"]: ["tiny"] for one in rows}).get("tiny")


def test_a_budget_with_a_finished_trial_is_not_empty_and_one_without_any_says_so():
    assert why_empty([row("a", "done", score=0.5)], BUDGETS, {"a": ["tiny"]}) == {"any": "no trial was tried for it"}


def test_where_all_failed_the_commonest_reason_is_told_by_its_first_line():
    assert of_tiny(row("a", "failed", "NaN\nat step 3")) == "its only trial failed: NaN"
    assert of_tiny(row("a", "failed", "NaN"), row("b", "failed", "NaN")) == "both trials failed: NaN"
    some = [row("a", "failed", "NaN"), row("b", "failed", "memory"), row("c", "failed", "memory")]
    assert of_tiny(*some) == "all 3 trials failed; 2 of them: memory"


def test_trials_that_were_stopped_or_have_not_ended_are_counted():
    stopped = [row("a", "stopped", "rung 0", 2.0, 0.4), row("b", "stopped", "rung 1", 4.0, 0.5)]
    assert of_tiny(*stopped) == "of 2 trials 2 stopped before full length (at 4 epochs at most)"
    assert of_tiny(row("a", "stopped", "limit")) == "of 1 trial 1 stopped before full length (none reached a rung)"
    mixed = of_tiny(*stopped, row("c", "failed", "NaN"), row("d", "running"))
    assert mixed == "of 4 trials 1 failed: NaN, 2 stopped before full length (at 4 epochs at most), 1 not ended"
