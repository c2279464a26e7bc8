from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autokd.config.search_space import load_space
from autokd.errors import AutokdError
from autokd.search.study import FINDINGS, Study, kept_study, plan_study
from autokd.seeds import derived

SPACE = """
name: made
data: {name: digits, validation: 0.2}
teachers:
  rich: {model: resnet14, train: {epochs: 3, policy: jda_cifar100, ratio: 0.5}}
  bare: {model: resnet14, train: {epochs: 3, lr: 0.02}}
  loaded: {model: resnet8, checkpoint: there.safetensors, saw_validation: true}
students: [resnet8x0.5, resnet8]
space:
  policy:
    choose:
      none: {}
      jda_cifar100: {probability: {choose: [0.1, 0.2, 0.4], prior: 0.2}, strength: 0.5}
  ratio: {choose: [0.25, 0.4], prior: 0.4}
  method: {choose: {kd: {temperature: {log: [1, 20], prior: 3}}, ce: {}}}
  recipe: {lr: {log: [0.01, 0.2], prior: 0.03}}
budgets: [{name: any}]
search: {trials: 5, epochs: 4}
"""


@pytest.fixture
def space(tmp_path):
    (tmp_path / "there.safetensors").write_bytes(b"")
    (tmp_path / "space.yaml").write_text(SPACE.replace("there.", f"{tmp_path}/there."), encoding="utf-8")
    return load_space(tmp_path / "space.yaml")


def finding(study: Study, letter: str, number: int = 0):
    return [one for one in study.findings if one.letter == letter][number]


def test_the_base_is_the_published_point_of_the_space(space):
    study = plan_study(space)
    base = study.arms["kd · jda_cifar100"]
    assert (base.policy.settings, base.ratio) == ({"probability": 0.2, "strength": 0.5}, 0.4)
    assert (base.method.settings, base.recipe.lr, base.epochs) == ({"temperature": 3.0}, 0.03, 4)
    assert (study.policy, study.seeds) == ("jda_cifar100", (0, 1, 2))
    plain = study.arms["kd · none"]
    assert (plain.policy.name, plain.ratio) == ("none", 0.0)
    assert plain.with_(policy=base.policy, ratio=base.ratio) == base


def test_the_teacher_is_one_that_never_saw_augmented_views_where_there_is_a_choice(space):
    assert plan_study(space).teacher == "bare"
    rich = plan_study(space, teacher="rich")
    assert rich.teacher == "rich"
    assert any("was trained with jda_cifar100" in note for note in finding(rich, "a").notes)


def test_all_arms_but_those_with_little_data_process_equally_many_views(space):
    study = plan_study(space, images=1000)
    assert study.validation_images == 200
    views = {arm: study.views(arm) for arm in study.arms}
    assert {views[arm] for arm in study.arms if "of the data" not in arm} == {3200}  # 4 x 800
    assert views["kd · none · 5% of the data"] == 160


def test_an_arm_that_several_findings_need_is_one_arm(space):
    study = plan_study(space)
    points = [point.arm for one in study.findings for point in one.points]
    assert len(points) > len(study.arms) == len(set(points)) == len({arm.key for arm in study.arms.values()})
    assert study.findings_of("kd · jda_cifar100") == "abcde"
    assert len(study.trials()) == 3 * len(study.arms)
    assert len({config.key for config in study.trials().values()}) == len(study.trials())


def test_every_difference_names_arms_of_its_finding_and_every_claim_its_differences(space):
    for form in ("small", "full"):
        for one in plan_study(space, form=form).findings:
            arms = {point.arm for point in one.points}
            assert all(arm in arms for difference in one.differences for arm, _ in difference.terms)
            assert all(sum(weight for _, weight in difference.terms) == 0 for difference in one.differences)
            labels = [difference.label for difference in one.differences]
            assert len(set(labels)) == len(labels)
            assert all(part in labels for claim in one.claims for part in claim.parts)
            assert one.claims or one.skipped


def test_ccd_is_compared_with_kd_of_its_own_temperature_and_weights(space):
    study = plan_study(space)
    terms = dict(next(d for d in finding(study, "e").differences if d.label.startswith("ccd against kd")).terms)
    (ccd,), (kd,) = ([study.arms[arm] for arm, weight in terms.items() if weight == sign] for sign in (1, -1))
    assert (ccd.method.name, kd.method.name) == ("ccd", "kd")
    assert ccd.loss == kd.loss and ccd.method.settings["temperature"] == kd.method.settings["temperature"]
    assert (ccd.policy, ccd.ratio, ccd.recipe, ccd.epochs) == (kd.policy, kd.ratio, kd.recipe, kd.epochs)


def test_the_two_teachers_of_b_differ_in_their_views_alone(space):
    study = plan_study(space)
    bare, rich = (study.teachers[name].training for name in ("bare", "bare-jda_cifar100"))
    assert (bare.policy, bare.ratio) == ("none", 0.0)
    assert (rich.policy, rich.policy_settings, rich.ratio) == ("jda_cifar100", {"probability": 0.2, "strength": 0.5}, 0.4)
    assert (bare.epochs, bare.recipe, bare.seed) == (rich.epochs, rich.recipe, rich.seed)
    student = next(d for d in finding(study, "b").differences if d.of == "student")
    assert student.sign == -1
    assert [study.arms[arm].policy.name for arm, _ in student.terms] == ["jda_cifar100", "jda_cifar100"]


def test_of_a_loaded_teacher_there_is_no_twin_unless_both_are_trained(space):
    study = plan_study(space, teacher="loaded")
    assert "--train-teachers" in finding(study, "b").skipped and not finding(study, "b").points
    assert any("saw the validation images" in note for note in study.notes)
    study = plan_study(space, teacher="loaded", train_teachers=7)
    assert not finding(study, "b").skipped
    assert study.teachers["loaded"].training is None
    made = [study.teachers[name] for name in ("loaded-plain", "loaded-jda_cifar100")]
    assert [(one.model, one.training.epochs, one.checkpoint) for one in made] == [("resnet8", 7, None)] * 2


def test_teachers_of_several_seeds_teach_in_turn(space):
    study = plan_study(space, findings="ab", seeds=3, teacher_seeds=2)
    assert study.copies == {"bare": ("bare", "bare-1"), "bare-jda_cifar100": ("bare-jda_cifar100", "bare-jda_cifar100-1")}
    assert [study.trial("kd · none", seed).teacher.name for seed in range(3)] == ["bare", "bare-1", "bare"]
    first, second = (study.teachers[name].training for name in ("bare", "bare-1"))
    assert (first.seed, first.views_seed) == (0, None)
    assert second.seed == second.views_seed == derived(0, "teacher", 1)


def test_every_repetition_has_a_seed_and_views_of_its_own_and_its_number_in_its_name(space):
    study = plan_study(replace(space, search=space.search.model_copy(update={"seed": 7})), findings="a", seeds=3)
    for arm in study.arms:
        made = [study.trials()[f"{arm} #{number}"] for number in range(3)]
        assert [config.seed for config in made] == [derived(7, "study", number) for number in range(3)]
        assert [config.seed_of_views for config in made] == [config.seed for config in made]
    shared = plan_study(replace(space, data=replace(space.data, views_seed=4)), findings="a", seeds=2)
    assert {config.seed_of_views for config in shared.trials().values()} == {4}


def test_a_study_of_an_earlier_version_goes_on_with_its_seeds(space):
    old = json.loads(plan_study(replace(space, data=replace(space.data, views_seed=0)), findings="a", seeds=2).to_json())
    del old["seed"]
    trials = Study.from_json(json.dumps(old)).trials()
    assert {config.seed for config in trials.values()} == {0, 1}
    assert {config.seed_of_views for config in trials.values()} == {0}


def test_rotation_is_left_out_where_images_are_not_square(space):
    study = plan_study(space, square=False)
    assert not any("rotation" in arm for arm in study.arms)
    assert any("not square" in note for note in finding(study, "a").notes)
    assert len(finding(study, "a").claims) == 1


def test_a_policy_whose_ops_have_no_probability_has_no_curve_of_it(space):
    study = plan_study(space, policy="trivialaugment")
    assert "no probability" in finding(study, "c", 1).skipped
    assert study.policy == "trivialaugment"


def test_the_screen_takes_each_policy_once_and_nothing_but_policies(space):
    study = plan_study(space)
    arms = [study.arms[arm] for arm in study.screened]
    assert len({repr(arm.policy) for arm in arms}) == len(arms) >= 6
    assert {(arm.method.name, arm.data.fraction, arm.teacher.name) for arm in arms} == {("kd", 1.0, "bare")}


def test_a_study_is_read_back_as_it_was_written_and_builds_the_same_grid(space, tmp_path):
    study = plan_study(space, teacher_seeds=2, images=1797)
    assert Study.from_json(study.to_json()) == study
    made = study.grid(space)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "space.yaml").write_text(made.to_yaml(), encoding="utf-8")
    for name, text in made.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    kept, again = kept_study(folder)
    assert kept == study
    assert again.arms == made.arms and again.name == made.name == "made-study" and again.pairs() == made.pairs()


def test_findings_can_be_asked_for_one_by_one(space):
    for letter in FINDINGS:
        assert {one.letter for one in plan_study(space, findings=letter).findings} == {letter}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"teacher": "bar"}, "no teacher 'bar' \\(did you mean 'bare'"),
        ({"student": "resnet9"}, "no student 'resnet9'"),
        ({"policy": "jda"}, "no policy 'jda'"),
        ({"policies": ["nothing"]}, "no policy 'nothing'"),
        ({"methods": ["ce"]}, "no method with a teacher 'ce'"),
        ({"form": "huge"}, "no form 'huge'"),
        ({"findings": "x"}, "no finding 'x'"),
        ({"seeds": 0}, "at least one seed"),
        ({"teacher": "loaded", "findings": "b"}, "nothing of this study can be run"),
    ],
)
def test_what_the_space_does_not_have_is_told(space, asked, told):
    with pytest.raises(AutokdError, match=told):
        plan_study(space, **asked)


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(AutokdError, match="no study"):
        kept_study(tmp_path)
    (tmp_path / "study.json").write_text("{}", encoding="utf-8")
    with pytest.raises(AutokdError, match="cannot be read"):
        kept_study(tmp_path)
