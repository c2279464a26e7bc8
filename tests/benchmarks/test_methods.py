"""The table of methods: who is in it, in which order, and its intervals by hand."""

from __future__ import annotations

import pytest

from autokd.config.trial import DataConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.rooms import catalogue
from benchmarks import methods
from benchmarks.methods import Found, arms, page_table
from benchmarks.rows import Form

BASE = TrialConfig(DataConfig("digits"), StudentConfig("resnet8"), TeacherConfig("big", "resnet14", checkpoint="x"), epochs=2)


def test_every_method_of_the_catalogue_is_an_arm_with_its_published_weights_and_as_many_images():
    made = arms(BASE, 1.0)
    assert set(catalogue("methods")) | {"kd + crd", "kd + spkd"} == set(made)
    for arm in made.values():
        same = (arm.epochs, arm.recipe, arm.policy, arm.ratio, arm.student, arm.data)
        assert same == (BASE.epochs, BASE.recipe, BASE.policy, BASE.ratio, BASE.student, BASE.data)
    assert (made["kd"].loss.ce_weight, made["kd"].loss.kd_weight) == (0.1, 0.9)
    assert made["ce"].teacher is None and made["kd"].teacher == BASE.teacher
    assert made["kd + crd"].method.also[0].weight == 0.8


def test_the_table_is_sorted_keeps_its_losers_and_pairs_gains_by_seed():
    """Student's t with 2 degrees of freedom is 4.303. 60, 61, 62: deviation 1, so 4.303 / sqrt 3 = 2.48."""
    found = [
        Found("ce", "1", [50.0, 50.0, 50.0], [3.0, 4.0, 5.0]),
        Found("good", "1 1", [60.0, 61.0, 62.0], [9.0, 9.0, 9.0]),
        Found("bad", "1 1", [40.0, 40.0, 40.0], [1.0, 1.0, 1.0]),
        Found("broken", "1 1", failed="the loss is not finite"),
    ]
    lines = page_table(found, "told").splitlines()
    assert lines[4] == "| good | 1 1 | 61.00 ± 2.48 | +11.00 ± 2.48 | 9 |"
    assert lines[5] == "| ce | 1 | 50.00 ± 0.00 | - | 4 |"
    assert lines[6] == "| bad | 1 1 | 40.00 ± 0.00 | -10.00 ± 0.00 | 1 |"
    assert lines[7] == "| broken | 1 1 | the loss is not finite | - | - |"


def test_a_training_that_was_kept_is_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "arms", lambda base, head: {"ce": arms(base, head)["ce"]})
    monkeypatch.setattr(methods, "_digits", lambda bench, folder, made=methods._digits: made(bench, str(tmp_path)))
    first = methods.measure(Form.SHORT, keep=tmp_path / "kept.jsonl")
    monkeypatch.setattr("autokd.train.trial.run", lambda *_, **__: pytest.fail("trained again"))
    text = (tmp_path / "kept.jsonl").read_text()
    assert text.count("\n") == 1
    assert methods.measure(Form.SHORT, keep=tmp_path / "kept.jsonl") == first
