"""Sections without ranges: what they hold, and what is told where they cannot be."""

from __future__ import annotations

import pytest

from autokd.config.limits import Budget, Deployment
from autokd.config.search_space import load_space
from autokd.config.sections import Rungs
from autokd.errors import Faults
from autokd.space.document import Document

HELD_OUT = {"{name: digits}": "{name: digits, validation: 0}"}

# (what is changed in the base, what is added, the line told, words of the message)
FAULTS = [
    ({"name: base": "nmae: base"}, "", 1, ["unknown key 'nmae'", "did you mean 'name'?"]),
    ({"name: base": "name: a b"}, "", 1, ["'a b' cannot be a name", "letters"]),
    ({"name: base": "name: 3"}, "", 1, ["name is a word, not 3", "quotes"]),
    ({"{name: digits}": "{name: digit}"}, "", 2, ["unknown data set 'digit'", "did you mean 'digits'?"]),
    ({"{name: digits}": "{name: digits, validaton: 0.1}"}, "", 2, ["unknown key 'validaton'", "did you mean 'validation'?"]),
    ({"{name: digits}": "{name: digits, validation: 0}"}, "", 2, ["no image is held out", "write search: {select: last}"]),
    ({"{name: digits}": "{name: digits, validation: 1}"}, "", 2, ["data.validation must be below 1, not 1"]),
    ({"{name: digits}": "{name: digits, fraction: 0}"}, "", 2, ["data.fraction must be above 0, not 0"]),
    ({"{name: digits}": "{name: digits, flip: yes}"}, "", 2, ["data.flip is true or false, not 'yes'", "YAML 1.2"]),
    ({"{name: digits}": "{name: digits, split_seed: 1.5}"}, "", 2, ["data.split_seed is a whole number, not 1.5"]),
    ({"{name: digits}": "{name: digits, split_seed: -1}"}, "", 2, ["data.split_seed must be from 0 to 9223372036854775807"]),
    ({"{name: digits}": "{name: digits, views_seed: -1}"}, "", 2, ["data.views_seed must be from 0 to", "not -1"]),
    ({"{name: digits}": "{name: digits, mean: [0.5]}"}, "", 2, ["mean and std go together"]),
    ({"{name: digits}": "{name: digits, mean: [0.5], std: [0]}"}, "", 2, ["a standard deviation is above 0"]),
    ({"{name: digits}": "{name: digits, mean: [0.5], std: [1, 1]}"}, "", 2, ["mean has 1 numbers and std 2"]),
    ({"{name: digits}": "{name: digits, options: {size: 3}}"}, "", 2, ["digits has no option 'size'"]),
    ({"{name: digits}": "{name: folder, options: {siez: 3}}"}, "", 2, ["no option 'siez'", "did you mean 'size'?"]),
    ({"{name: digits}": "{name: folder, options: {size: 0}}"}, "", 2, ["size must be at least 1, not 0"]),
    ({"{name: digits}": "{name: torchvision}"}, "", 2, ["torchvision needs dataset"]),
    ({"{name: digits}": "{name: digits, split_file: nosuch.json}"}, "", 2, ["the split file nosuch.json does not exist"]),
    ({"data: {name: digits}": "data: digits"}, "", 2, ["data is a mapping, not 'digits'"]),
    ({"data: {name: digits}\n": ""}, "", 1, ["a search space needs 'data'"]),
    ({"model: wrn_16_2": "model: wrn_16"}, "", 4, ["unknown model 'wrn_16'"]),
    ({"model: wrn_16_2": "modle: wrn_16_2"}, "", 4, ["unknown key 'modle'", "did you mean 'model'?"]),
    ({"model: wrn_16_2": "model: resnet21"}, "", 4, ["'resnet21' cannot be built", "8, 14, 20"]),
    ({"train: {epochs: 3}": "saw_validation: true"}, "", 4, ["nothing says where the weights of 'big' come from", "checkpoint"]),
    ({"train: {epochs: 3}": "weights: V1"}, "", 4, ["wrn_16_2 has no published weights"]),
    ({"train: {epochs: 3}": "train: {epochs: 3}, weights: V1", "wrn_16_2": "timm:x"}, "", 4, ["weights and train exclude"]),
    ({"train: {epochs: 3}": "checkpoint: nosuch.safetensors"}, "", 4, ["nosuch.safetensors does not exist", "train it"]),
    ({"{epochs: 3}": "{epochs: 0}"}, "", 4, ["teachers.big.train.epochs must be at least 1, not 0"]),
    ({"{epochs: 3}": "{seed: 9223372036854775808}"}, "", 4, ["teachers.big.train.seed must be", "not 9223372036854775808"]),
    ({"{epochs: 3}": "{epohcs: 3}"}, "", 4, ["unknown key 'epohcs'", "did you mean 'epochs'?"]),
    ({"{epochs: 3}": "{lr: 0}"}, "", 4, ["lr must be above 0, not 0"]),
    ({"{epochs: 3}": "{lr: {log: [0.1, 1]}}"}, "", 4, ["lr is fixed here: a teacher is trained once"]),
    ({"{epochs: 3}": "{policy: {choose: [none, cutmix]}}"}, "", 4, ["the policy is fixed here"]),
    ({"{epochs: 3}": "{schedule: cosin}"}, "", 4, ["schedule is one of", "did you mean 'cosine'?"]),
    ({"[resnet8, resnet14]": "[resnet8, resnte14]"}, "", 5, ["unknown model 'resnte14'", "did you mean 'resnet14'?"]),
    ({"[resnet8, resnet14]": "[resnet8, resnet8]"}, "", 5, ["the student 'resnet8' stands here twice"]),
    ({"[resnet8, resnet14]": "[]"}, "", 5, ["the list of students is empty"]),
    ({"[resnet8, resnet14]": "resnet8"}, "", 5, ["students is a list of names, not 'resnet8'"]),
    ({"[resnet8, resnet14]": "[{model: resnet8, optoins: {}}]"}, "", 5, ["unknown key 'optoins'", "'options'?"]),
    ({"[resnet8, resnet14]": "{allow: [resnet*], dney: []}"}, "", 5, ["unknown key 'dney'", "did you mean 'deny'?"]),
    ({"[resnet8, resnet14]": "{allow: [renset*]}"}, "", 5, ["no model of the zoo matches 'renset*'"]),
    ({"[resnet8, resnet14]": "{allow: [resnet8], deny: [vgg8]}"}, "", 5, ["'vgg8' is not among the students"]),
    ({"[resnet8, resnet14]": "{allow: [resnet8], deny: ['*']}"}, "", 5, ["no student is left"]),
    ({"students: [resnet8, resnet14]\n": ""}, "", 1, ["nothing says which students to try", "students: ["]),
    ({}, "pairs: []\n", 11, ["pairs is a list of [teacher, student]"]),
    ({}, "pairs: [[big]]\n", 11, ["['big'] is no [teacher, student]"]),
    ({}, "pairs: [[bgi, resnet8], [big, resnet14]]\n", 11, ["there is no teacher 'bgi'", "did you mean 'big'?"]),
    ({}, "pairs: [[big, resnet8], [big, resnet14], [big, vgg8]]\n", 11, ["there is no student 'vgg8'"]),
    ({}, "pairs: [[big, resnet8], [big, resnet8], [big, resnet14]]\n", 11, ["[big, resnet8] stands here twice"]),
    ({}, "pairs: [[big, resnet8]]\n", 5, ["the student 'resnet14' stands in no pair"]),
    ({"params: 100 k": "parms: 100 k"}, "", 10, ["unknown key 'parms'", "did you mean 'params'?"]),
    ({"params: 100 k": "params: lots"}, "", 10, ["'lots' is not an amount", "45 M"]),
    ({"params: 100 k": "params: 0"}, "", 10, ["params must be above 0, not 0"]),
    ({"params: 100 k": "params: -1 M"}, "", 10, ["params must be above 0"]),
    ({"params: 100 k": "params: 90 MFLOPs"}, "", 10, ["parameters are not counted in FLOPs"]),
    ({"params: 100 k": "macs: 1 M, flops: 2 M"}, "", 10, ["macs and flops say the same thing twice"]),
    ({"name: tiny, ": ""}, "", 10, ["budgets needs 'name'"]),
    ({}, "  - {name: tiny, macs: 1 M}\n", 11, ["there are two budgets 'tiny'", ":10: rename one"]),
    ({}, "search: {seed: -1}\n", 11, ["search.seed must be from 0 to 9223372036854775807, not -1"]),
    ({}, "search: {trials: 0}\n", 11, ["search.trials must be at least 1, not 0"]),
    ({}, "search: {trials: many}\n", 11, ["search.trials is a whole number, not 'many'"]),
    ({}, "search: {trials: null}\n", 11, ["nothing ends this search", "gpu_hours"]),
    ({}, "search: {trails: 3}\n", 11, ["unknown key 'trails'", "did you mean 'trials'?"]),
    ({}, "search: {sampler: tep}\n", 11, ["sampler is one of tpe, random", "did you mean 'tpe'?"]),
    ({}, "search: {select: last}\n", 11, ["images are held out to rank them by", "validation: 0"]),
    (HELD_OUT, "search: {select: last, scheduler: strata}\n", 11, ["a scheduler compares trials", "none has a score"]),
    (HELD_OUT, "search: {select: last, rungs: {count: 1}}\n", 11, ["rungs compare trials", "take it out"]),
    (HELD_OUT, "search: {select: last, sampler: tpe}\n", 11, ["a sampler learns from the scores", "take it out"]),
    (HELD_OUT, "search: {select: last}\nconfirm: {}\n", 12, ["a confirmation compares students", "several seeds"]),
    ({}, "search: {select: lats}\n", 11, ["select is one of validation, last", "did you mean 'last'?"]),
    ({}, "search: {epochs: 0}\n", 11, ["search.epochs must be above 0, not 0"]),
    ({}, "search:\n  rungs: {grace: 1}\n", 12, ["search.rungs.grace must be below 1, not 1"]),
    ({}, "search:\n  rungs: {eta: 1}\n", 12, ["search.rungs.eta must be above 1, not 1"]),
    ({}, "search: {rungs: {cuont: 1}}\n", 11, ["unknown key 'cuont'", "keys of search.rungs", "did you mean 'count'?"]),
    ({}, "resources: {cpus: 0}\n", 11, ["resources.cpus must be above 0, not 0"]),
    ({}, "resources: {gpus: -1}\n", 11, ["resources.gpus must be at least 0, not -1"]),
    ({}, "resources: {gpus: 1, workers: 4}\n", 11, ["4 workers of a trial cannot share 1 GPUs", "write gpus: 4"]),
    ({}, "resources: {gpus: 1.5}\n", 11, ["1 worker of a trial cannot share 1.5 GPUs"]),
    ({}, "tracking: {mlflow: maybe}\n", 11, ["tracking.mlflow is true or false, not 'maybe'"]),
    ({}, "finalize: {seeds: 0}\n", 11, ["finalize.seeds must be at least 1, not 0"]),
    ({}, "finalize: {train_on: test}\n", 11, ["train_on is one of train, train+validation, not 'test'"]),
    ({}, "signals: {max_gb: .inf}\n", 11, ["signals.max_gb is a finite number"]),
    ({}, "signals: {mode: chached}\n", 11, ["mode is one of auto, cached, live", "did you mean 'cached'?"]),
]


@pytest.mark.parametrize(("changes", "more", "line", "told"), FAULTS, ids=[" ".join(case[3])[:50] for case in FAULTS])
def test_a_fault_is_told_at_its_line_with_the_way_out(faults, changes, more, line, told):
    (fault,) = faults(changes, more)
    assert fault.startswith(f"{line}: ")
    assert all(words in fault for words in told), fault
    assert "\n  " in fault  # the way out


def test_all_faults_of_a_file_are_told_at_once_in_the_order_of_its_lines(faults):
    found = faults(
        {
            "{name: digits}": "{name: digits, validation: 2}",
            "epochs: 3": "epochs: 0",
            "resnet14": "resnet15",
            "method: kd": "method: kdd",
            "100 k": "lots",
        },
        "search: {trials: 0}\nfinalise: {seeds: 3}\n",
    )
    assert [int(fault.split(":")[0]) for fault in found] == [2, 4, 5, 8, 10, 11, 12]


@pytest.mark.parametrize("values", [{}, {"name": "x"}, {"name": "x", "data": None}])
def test_a_space_of_too_little_names_what_it_lacks(values):
    with pytest.raises(Faults) as told:
        load_space(values)
    assert "data" in str(told.value)


@pytest.mark.parametrize("text", ["# nothing\n", "- a\n- b\n", "word\n"])
def test_a_file_that_is_no_mapping_lists_the_sections(faults, text):
    (fault,) = faults(text)
    assert "name, data, teachers, students" in fault


# -- what is understood ----------------------------------------------------------------------------------------------------


def test_a_space_of_little_has_defaults_for_the_rest(load):
    space = load("name: little\ndata: {name: digits}\nstudents: [resnet8]\nspace: {method: ce}\n")
    assert [budget.name for budget in space.budgets] == ["any"] and space.budgets[0].limits() == {}
    assert (space.search.trials, space.search.epochs, space.search.rungs.count) == (50, 240, 3)
    assert space.pairs() == [(None, "resnet8")]
    assert space.data.validation == 0.1 and space.signals.mode == "auto"


def test_without_a_validation_split_nothing_is_compared_and_a_file_may_say_the_same(load, tmp_path):
    space = load(HELD_OUT, "search: {select: last, trials: 2}\n")
    assert (space.search.scheduler, space.search.sampler, space.search.rungs.count) == ("none", "random", 0)
    assert any("none is ranked" in note for note in space.notes)
    assert load_space(space.to_dict()) == space
    rows = tmp_path / "rows.json"
    rows.write_text('{"train": [0, 1], "validation": []}', encoding="utf-8")
    named = {"{name: digits}": f"{{name: digits, split_file: {rows}}}"}
    assert load(named, "search: {select: last}\n").search.select == "last"
    with pytest.raises(Faults, match="no image is held out"):
        load(named)
    rows.write_text('{"train": [0], "validation": [1]}', encoding="utf-8")
    with pytest.raises(Faults, match="images are held out to rank them by"):
        load(named, "search: {select: last}\n")


@pytest.mark.parametrize("gpus", ["0", "0.25", "1", "4", "null", "4, workers: 4", "0, workers: 4", "null, workers: 4"])
def test_a_trial_has_a_share_of_a_gpu_or_one_for_each_worker(load, gpus):
    assert load(more=f"resources: {{gpus: {gpus}}}\n").resources


def test_counts_may_be_written_with_units(load):
    space = load(more="search: {trials: 1e2, images: 3 M}\n")
    assert (space.search.trials, space.search.images) == (100, 3_000_000)


def test_flops_are_halved_into_macs_and_the_file_is_told_so(load):
    space = load({"params: 100 k": "flops: 90 M"})
    assert space.budgets[0].macs == 45e6
    assert any(":10: 90 M FLOPs are 45 M MACs" in note for note in space.notes)
    assert load({"params: 100 k": "macs: 90 MFLOPs"}).budgets == space.budgets


def cost(params, macs):
    return {"params": params, "macs": macs}


def test_sizes_and_times_are_read_with_their_units_and_conditions_have_defaults(load):
    """1 MB is a million bytes, 2 MiB are 2 x 1024 x 1024."""
    (budget,) = load({"params: 100 k": "file_size: 1 MB, memory: 2 MiB, latency: 800 us"}).budgets
    assert budget.limits() == {"file_size": 1_000_000, "memory": 2_097_152, "latency_ms": 0.8}
    assert budget.conditions == "median, batch 1, cpu, 1 thread, torch, float32"
    latency = "{max: 0.2 s, statistic: p90, batch: 8, device: cuda, threads: 2, runtime: compiled, dtype: bfloat16}"
    (budget,) = load({"params: 100 k": f"latency: {latency}"}).budgets
    assert budget.limits() == {"latency_ms": 200.0}
    assert (budget.statistic, budget.deployment) == ("p90", Deployment(8, "cuda", 2, "compiled", "bfloat16"))


@pytest.mark.parametrize(
    "written",
    ["file_size: 123456 B", "file_size: 1.5 kB", "memory: 0.5 MiB", "latency: 5 ms", "latency: {max: 1.23456789 ms, batch: 3}",
     "latency: {max: 10 % of teacher, threads: 4}", "file_size: 33.3 %", "memory: 10 % of the teacher", "latency: 7 %"],
)  # fmt: skip
def test_a_budget_written_out_and_read_again_is_the_same(load, written):
    space = load({"params: 100 k": written})
    assert load_space(Document.from_text(space.to_yaml()).values).budgets == space.budgets


@pytest.mark.parametrize(
    ("written", "what", "fix"),
    [
        ("latency: 5", "5 has no unit of time", "write 5 ms"),
        ("latency: {max: 5}", "5 has no unit of time", "write 5 ms"),
        ("latency: 5 minutes", "'5 minutes' is not a time", "write 5 ms"),
        ("latency: 0 ms", "must be above 0", "leave the limit out"),
        ("latency: {batch: 2}", "budgets.latency needs 'max'", "add max"),
        ("latency: [5 ms]", "budgets.latency is a mapping", "key: value"),
        ("latency: {max: 5 ms, statistic: mean}", "statistic is one of median, p90", "median"),
        ("latency: {max: 5 ms, batch: 0}", "must be at least 1", "change"),
        ("latency: {max: 5 ms, device: gpu}", "device is one of cpu, cuda", "cpu"),
        ("latency: {max: 5 ms, runtime: onnxruntime}", "runtime is one of torch, compiled", "one of them"),
        ("latency: {max: 5 ms, thread: 2}", "unknown key 'thread'", "did you mean 'threads'?"),
        ("file_size: 1 Mb", "'1 Mb' is not a size", "1 MB"),
        ("file_size: 5 ms", "'5 ms' is not a size", "1 MB"),
        ("file_size: -1 MB", "must be above 0", "leave the limit out"),
        ("memory: 0", "memory must be above 0", "leave the limit out"),
        ("memory: 5 MFLOPs", "'5 MFLOPs' is not a size", "1 MB"),
        ("params: 1 MB", "'1 MB' is not an amount", "300 k"),
    ],
)
def test_a_bad_limit_is_one_fault_with_its_line_and_the_way_out(faults, written, what, fix):
    (fault,) = faults({"params: 100 k": written})
    assert fault.startswith("10: ") and what in fault.splitlines()[0] and fix in fault.splitlines()[1]


def test_all_bad_limits_are_told_at_once(faults):
    found = faults({"params: 100 k": "file_size: 1 Mb, memory: 0, latency: {max: 5, batch: 0, runtime: onnx}"})
    assert len(found) == 5 and all(fault.startswith("10: ") for fault in found)


def test_a_budget_admits_up_to_its_limits():
    budget = Budget("b", params=100, macs=1000, of_teacher={"macs": 0.5})
    assert budget.admits(cost(100, 1000)) and not budget.admits(cost(101, 1000)) and not budget.admits(cost(100, 1001))
    teacher = cost(10, 500)
    assert budget.limits(teacher) == {"params": 100, "macs": 250}  # a share of the pair's own teacher
    assert budget.admits(cost(100, 250), teacher) and not budget.admits(cost(100, 251), teacher)


def test_a_share_of_the_teacher_needs_a_teacher(load, faults):
    assert load({"params: 100 k": "params: 10 % of teacher"}).budgets[0].of_teacher == {"params": 0.1}
    alone = "name: x\ndata: {name: digits}\nstudents: [resnet8]\nspace: {method: ce}\n"
    (fault,) = faults(f"{alone}budgets: [{{name: b, macs: 5 %}}]\n")
    assert fault.startswith("5: a share of the teacher, and there is no teacher")


def test_rungs_rise_by_equal_factors_from_grace_to_the_end():
    # grace 1/8 and three rungs: 1/8, 1/4, 1/2, and the end at 1
    assert Rungs(count=3, grace=0.125).shares() == pytest.approx((0.125, 0.25, 0.5))
    assert Rungs(count=1, grace=0.25).shares() == (0.25,)
    assert Rungs(count=0).shares() == ()


def test_students_by_pattern_without_those_denied(load):
    space = load({"[resnet8, resnet14]": "{allow: ['resnet[13]*', vgg8], deny: ['*x4', resnet110]}"})
    from autokd.models import zoo

    meant = [n for n in zoo.names() if n.startswith(("resnet1", "resnet3")) and not n.endswith("x4") and n != "resnet110"]
    assert list(space.students) == [*meant, "vgg8"] and "resnet32" in meant
    assert space.cheaper_than_teacher  # every student cheaper than its teacher, unless the file says otherwise
    assert not load({"[resnet8, resnet14]": "{allow: [vgg8], cheaper_than_teacher: false}"}).cheaper_than_teacher


def test_pairs_by_name_bring_their_students(load):
    space = load({"students: [resnet8, resnet14]": "pairs: [[big, resnet20], [big, vgg8]]"})
    assert space.pairs() == [("big", "resnet20"), ("big", "vgg8")] and list(space.students) == ["resnet20", "vgg8"]


def test_without_pairs_every_teacher_meets_every_student_and_a_method_without_a_teacher_meets_them_alone(load):
    more = {"train: {epochs: 3}}": "train: {epochs: 3}}\n  deep: {model: resnet20, train: {}}"}
    assert load(more).pairs() == [
        ("big", "resnet8"),
        ("deep", "resnet8"),
        ("big", "resnet14"),
        ("deep", "resnet14"),
    ]
    both = load({"method: kd": "method: {choose: [kd, ce]}"})
    assert both.pairs() == [("big", "resnet8"), ("big", "resnet14"), (None, "resnet8"), (None, "resnet14")]


def test_a_teacher_that_stands_in_no_pair_is_noted(load):
    space = load(
        {"train: {epochs: 3}}": "train: {epochs: 3}}\n  deep: {model: resnet20, train: {}}"},
        "pairs: [[big, resnet8], [big, resnet14]]\n",
    )
    assert any(":5: the teacher 'deep' stands in no pair" in note for note in space.notes)


def test_a_method_that_needs_a_teacher_and_has_none_is_a_fault(faults):
    (fault,) = faults("name: x\ndata: {name: digits}\nstudents: [resnet8]\nspace:\n  method: {choose: [kd, ce]}\n")
    assert fault.startswith("5: kd needs a teacher and there is none")


def test_a_file_beside_the_space_is_found_and_made_absolute(load, tmp_path):
    (tmp_path / "mine.py").write_text("def small(classes, channels=3, **_):\n    return None\n")
    (tmp_path / "t.safetensors").write_bytes(b"x")
    space = load({"model: wrn_16_2, train: {epochs: 3}": "model: mine.py:small, checkpoint: t.safetensors"})
    assert space.teachers["big"].model == f"{tmp_path}/mine.py:small"
    assert space.teachers["big"].checkpoint == str(tmp_path / "t.safetensors")


def test_a_function_that_its_file_does_not_define_is_a_fault(faults, tmp_path):
    (tmp_path / "mine.py").write_text("def small(classes):\n    return None\n")
    (fault,) = faults({"model: wrn_16_2": "model: mine.py:smal"})
    assert "defines no 'smal'" in fault and "did you mean 'small'?" in fault
    (fault,) = faults({"model: wrn_16_2": "model: mien.py:small"})
    assert fault.startswith("4: there is no file mien.py")


def test_a_teacher_s_training_has_the_recipe_it_names(load):
    written = "{epochs: 5, lr: 0.1, schedule: step, policy: jda_cifar100, ratio: 0.25}"
    training = load({"{epochs: 3}": written}).teachers["big"].training
    assert (training.epochs, training.recipe.lr, training.recipe.schedule) == (5, 0.1, "step")
    assert (training.policy, training.ratio) == ("jda_cifar100", 0.25)
    assert load().teachers["big"].training.ratio == 0.0  # no policy: plain views alone
