"""The searched part of a space: methods, policies, losses and recipes, checked against the files they go to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autokd import rooms
from autokd.config.tree import count, needs_teacher, searched
from autokd.config.trial import LossConfig
from autokd.rooms import catalogue
from autokd.space.domains import Choose, Constant, Int, Log, Uniform

FAULTS = [  # the section `space` in flow style, words of the message
    ("{mehtod: kd}", ["space has no 'mehtod'", "did you mean 'method'?"]),
    ("{students: [resnet8]}", ["space has no 'students'", "sections of their own"]),
    ("{lr: 0.1}", ["space has no 'lr'", "lr belongs in recipe"]),
    ("{ce_weight: 1}", ["space has no 'ce_weight'", "ce_weight belongs in loss"]),
    ("[kd]", ["space is a mapping of policy, ratio, method, loss, recipe"]),
    ("{method: kdd}", ["unknown method 'kdd'", "did you mean 'kd'?"]),
    ("{method: {choose: [kd, spkdd]}}", ["unknown method 'spkdd'", "did you mean 'spkd'?"]),
    ("{method: {chose: {kd: {}}}}", ["unknown method 'chose'", "did you mean 'choose'?"]),
    ("{method: {kd: {}, ce: {}}}", ["method has several branches and no choose", "{choose: {kd, ce}}"]),
    ("{method: {choose: {kd: {}}, ce: {}}}", ["method takes no 'ce' beside choose", "move it into the list"]),
    ("{method: {choose: [kd, kd]}}", ["method 'kd' stands here twice"]),
    ("{method: {choose: [kd, ce], prior: ccd}}", ["the prior 'ccd' is none of the options", "kd, ce"]),
    ("{method: {choose: []}}", ["method needs a name"]),
    ("{method: {uniform: [0, 1]}}", ["method is chosen by name"]),
    ("{method: {kd: 4}}", ["the settings of kd are a mapping, not 4"]),
    ("{method: {kd: {temprature: 4}}}", ["kd has no setting 'temprature'", "did you mean 'temperature'?"]),
    ("{method: {kd: {normalise_weight: true}}}", ["kd has no setting 'normalise_weight'", "belongs to ccd"]),
    ("{method: {kd: {temperature: 0}}}", ["temperature must be above 0, not 0"]),
    ("{method: {kd: {temperature: warm}}}", ["temperature is a number, not 'warm'"]),
    ("{method: {kd: {temperature: true}}}", ["temperature is a number, not True"]),
    ("{method: {kd: {temperature: {uniform: [0, 4]}}}}", ["temperature must be above 0, not 0"]),
    ("{method: {kd: {temperature: {log: [20, 1]}}}}", ["the range 20 to 1 is empty"]),
    ("{method: {ccd: {normalise_weight: {uniform: [0, 1]}}}}", ["normalise_weight has no range of numbers", "true, false"]),
    ("{method: {logit_standardise: {base: kd, beta: 2}}}", ["beta of logit_standardise cannot matter", "kd has no such"]),
    ("{method: {high_energy: {base: {choose: [kd, ccd]}, gamma: 2}}}", ["gamma of high_energy", "kd and ccd has no such"]),
    ("{method: {kd: {also: {high_energy: {beta: 2}}}}}", ["beta of the term high_energy cannot matter"]),
    ("{method: {spkd: {layer: lats}}}", ["layer is one of", "did you mean 'last'?"]),
    ("{method: {kd: {kd_weight: -1}}}", ["kd_weight must be at least 0, not -1"]),
    ("{method: {ce: {kd_weight: 1}}}", ["kd_weight cannot matter: ce has no teacher"]),
    ("{method: {ce: {label_smoothing: 0.1}}}", ["label_smoothing is part of the recipe, not of ce", "recipe: {"]),
    ("{method: ce, loss: {kd_weight: 2}}", ["kd_weight cannot matter: no method here has a teacher"]),
    ("{loss: {ce_on_plian: true}}", ["loss has no setting 'ce_on_plian'", "did you mean 'ce_on_plain'?"]),
    ("{loss: {ce_on_plain: 1}}", ["ce_on_plain is true or false, not 1"]),
    ("{policy: jda_cifar10000}", ["unknown policy 'jda_cifar10000'", "did you mean 'jda_cifar100'?"]),
    ("{policy: {jda_cifar100: {probability: 1.5}}}", ["probability must be at least 0 and at most 1, not 1.5"]),
    ("{policy: {jda_cifar100: {probability: {uniform: [-0.1, 1]}}}}", ["probability must be at least 0"]),
    ("{policy: {jda_cifar100: {alpha: 1}}}", ["jda_cifar100 has no setting 'alpha'", "belongs to cutmix, mixup"]),
    ("{policy: {trivialaugment: search}}", ["trivialaugment recommends no ranges"]),
    ("{policy: {none: {ratio: 0.5}}}", ["none has no setting"]),
    ("{policy: {custom: {}}}", ["custom needs a list of steps", "op: rotate"]),
    ("{policy: {custom: {steps: [{op: rotat, magnitude: 3}]}}}", ["there is no op 'rotat'", "did you mean 'rotate'?"]),
    ("{policy: {custom: {steps: [{magnitude: 3}]}}}", ["a step needs op"]),
    ("{policy: {custom: {steps: [{op: rotate, magnitude: 3, probability: 2}]}}}", ["probability must be"]),
    ("{policy: {custom: {steps: [{op: rotate}]}}}", ["rotate needs a magnitude"]),
    ("{policy: cutmix, ratio: 1.2}", ["ratio must be at least 0 and at most 1, not 1.2"]),
    ("{policy: cutmix, ratio: {choose: [0.5, 1.2]}}", ["ratio must be at least 0 and at most 1, not 1.2"]),
    ("{policy: none, ratio: {choose: [0.25, 0.5]}}", ["ratio cannot matter: the only policy is none"]),
    ("{recipe: fast}", ["recipe is a mapping"]),
    ("{recipe: {learning_rate: 0.1}}", ["recipe has no setting 'learning_rate'", "settings of recipe: lr"]),
    ("{recipe: {batch: 64.5}}", ["batch is a whole number, not 64.5"]),
    ("{recipe: {batch: {uniform: [32, 64]}}}", ["batch is a whole number", "{int: [32, 64]}"]),
    ("{recipe: {ema: 1}}", ["ema must be above 0 and below 1, not 1"]),
    ("{recipe: {lr: null}}", ["lr needs a value"]),
    ("{recipe: {lr: search}}", ["there is no recommended range for lr"]),
    ("{recipe: {optimizer: adam}}", ["unknown optimizer 'adam'", "did you mean 'adamw'?"]),
    ("{recipe: {optimizer: adamw, momentum: 0.9}}", ["momentum belongs to sgd"]),
    ("{recipe: {optimizer: {adamw: {momentum: 0.9}}}}", ["adamw has no setting 'momentum'", "belongs to sgd"]),
    ("{recipe: {momentum: 0}}", ["nesterov needs a momentum above 0"]),
    ("{recipe: {cooldown: 0.2}}", ["cooldown belongs to trapezoid"]),
    ("{recipe: {schedule: {step: {milestones: [0.5, 0.25]}}}}", ["milestones cannot be [0.5, 0.25]", "rising"]),
    ("{recipe: {schedule: {step: {milestones: [150, 180]}}}}", ["milestones cannot be [150, 180]", "150, 180 and 210"]),
    ("{recipe: {lr: 0.1, optimizer: {choose: {sgd: {lr: 0.1}, adamw: {lr: 0.001}}}}}", ["lr is given here and in a branch"]),
    ("{recipe: {optimizer: {choose: {sgd: {lr: 0.1}, adamw: {}}}}}", ["adamw has no lr", "in every branch"]),
]


@pytest.mark.parametrize(("space", "told"), FAULTS, ids=[case[0] for case in FAULTS])
def test_a_setting_that_cannot_be_is_told_with_the_way_out(faults, space, told):
    (fault,) = faults({"space:\n  policy: none\n  method: kd": f"space:\n  {space}"})
    assert fault.startswith(("6: ", "7: ")) and "\n  " in fault
    assert all(words in fault for words in told), fault


# -- what is understood ----------------------------------------------------------------------------------------------------


def test_every_way_to_name_a_branch(tree):
    for written in ("kd", "{kd: {}}", "{choose: [kd]}", "{choose: {kd: {}}}", "{choose: [{kd: {}}]}", "{kd: null}"):
        assert tree(f"{{method: {written}}}").method == tree("{method: kd}").method
    mixed = tree("{method: {choose: [ce, {kd: {temperature: 2}}], prior: kd}}").method
    assert mixed.names == ("ce", "kd") and mixed.prior == "kd"
    assert mixed.settings("kd")["temperature"] == Constant(2.0)  # a float, as the signature says


def test_what_is_not_said_comes_from_the_method_s_own_file(tree):
    settings = tree("{method: {choose: [kd, ccd]}}").method.settings("kd")
    entry = catalogue("methods")["kd"]
    assert settings["temperature"] == Constant(entry.setting("temperature").default) == Constant(4.0)
    # the published weights, METHODS' and STYLE's: 0.1 and 0.9
    assert (settings["ce_weight"], settings["kd_weight"]) == (Constant(0.1), Constant(0.9))


def test_a_method_s_own_setting_may_have_the_name_of_a_recipe_s(tree):
    made = tree("{method: {reviewkd: {warmup: 5}}, recipe: {warmup: 0.1}}")
    method, _ = made.method_of(lambda path, node: node.prior)
    assert method.settings["warmup"] == 5.0
    assert made.recipe_of(lambda path, node: node.prior).warmup == 0.1


def test_every_setting_of_every_method_and_policy_can_be_given_and_every_recommended_range_holds(tree):
    for room, word in (("methods", "method"), ("augment.policies", "policy")):
        for name, entry in catalogue(room).items():
            own = {s.name for s in entry.settings} - {"label_smoothing"}
            made = getattr(tree(f"{{{word}: {{{name}: {'search' if set(entry.search) & own else '{}'}}}}}"), word)
            assert own <= set(made.settings(name)), name
            assert {key for key in own if key in entry.search} <= {
                key for key, node in made.settings(name).items() if searched(node)
            }, name


def test_a_weight_in_loss_holds_for_every_method_that_does_not_say_otherwise(tree):
    made = tree("{method: {choose: {kd: {ce_weight: 0.3}, ccd: {}}}, loss: {ce_weight: {uniform: [0, 1]}}}")
    assert made.method.settings("kd")["ce_weight"] == Constant(0.3)
    assert "ce_weight" not in made.method.settings("ccd")
    (knob,) = made.knobs()[-1:]
    assert [k.path for k in made.knobs()] == ["method", "loss.ce_weight"]
    assert (knob.path, knob.domain, knob.condition) == ("loss.ce_weight", Uniform(0, 1, 1.0), "method is ccd")


def test_the_word_search_stands_for_the_ranges_a_file_recommends(tree):
    made = tree("{method: {kd: search}, policy: {cutmix: {alpha: search}}, ratio: 0.5}")
    assert made.method.settings("kd")["temperature"] == Log(1, 20, 4.0)
    recommended = catalogue("augment.policies")["cutmix"].search
    alpha = made.policy.settings("cutmix")["alpha"]
    assert isinstance(alpha, Choose) and list(alpha.options) == recommended["alpha"]["choose"]
    assert isinstance(made.policy.settings("cutmix")["probability"], Constant)


def test_a_prior_that_is_not_given_is_the_default_where_the_range_holds_it_else_the_middle(tree):
    assert tree("{method: {kd: {temperature: {log: [1, 20]}}}}").method.settings("kd")["temperature"].prior == 4.0
    middle = tree("{method: {kd: {temperature: {log: [5, 20]}}}}").method.settings("kd")["temperature"].prior
    assert middle == pytest.approx(10)  # sqrt(5 x 20)
    assert dict(tree("{recipe: {batch: {choose: [32, 128]}}}").recipe)["batch"].prior == 32


def test_placements_of_the_losses_reach_the_trial_and_may_be_searched(load):
    space = load({"method: kd": "method: kd\n  loss: {ce_on_augmented: false, kd_on_plain: {choose: [true, false]}}"})
    assert [knob.path for knob in space.tree.knobs()] == ["loss.kd_on_plain"]
    _, loss = space.tree.method_of(lambda path, node: False if path == "loss.kd_on_plain" else node.prior)
    assert loss == LossConfig(0.1, 0.9, ce_on_plain=True, ce_on_augmented=False, kd_on_plain=False, kd_on_augmented=True)


def test_without_a_teacher_there_is_nothing_to_weigh_but_the_cross_entropy(tree):
    _, loss = tree("{method: ce}").method_of(lambda path, node: node.prior)
    assert (loss.ce_weight, loss.kd_weight) == (1.0, 0.0)


TAUGHT = "teachers:\n  big: {model: wrn_16_2, train: {epochs: 3}}\n"


@pytest.mark.parametrize("space", ["", "space: {recipe: {lr: 0.1}}\n", "space: {policy: cutmix}\n"])
def test_without_teachers_a_space_that_names_no_method_has_ce(load, faults, space):
    written = "space:\n  policy: none\n  method: kd\n"
    alone = load({TAUGHT: "", written: space})
    assert alone.methods == ("ce",) and alone.pairs() == [(None, "resnet8"), (None, "resnet14")]
    config = alone.sample(None, [(None, "resnet8")], 0)
    assert config.teacher is None and config.method.name == "ce" and config.loss.kd_weight == 0
    assert load({written: space}).methods == ("kd",)
    (fault,) = faults({TAUGHT: ""})  # a method that is named is meant
    assert "kd needs a teacher and there is none" in fault


def test_a_policy_of_none_augments_nothing_and_a_policy_may_have_a_ratio_of_its_own(tree):
    made = tree(
        "{policy: {choose: {none: {}, rotation: {ratio: {choose: [0.5, 0.75], prior: 0.75}}, cutmix: {}}},"
        " ratio: {choose: [0.25, 0.5]}}"
    )

    def first(name):
        return made.policy_of(lambda path, node: name if path == "policy" else node.prior)

    assert first("none")[1] == 0.0
    assert first("rotation")[1] == 0.75
    assert first("cutmix")[1] == 0.5
    (ratio,) = [knob for knob in made.knobs() if knob.path == "ratio"]
    assert ratio.condition == "policy is cutmix"


def test_steps_may_be_spelled_out_with_ranges(tree):
    made = tree(
        "{policy: {custom: {steps: [{op: rotate, magnitude: {choose: [5, 10]}, sign: true, probability: 0.3},"
        " {op: brightness, magnitude: 0.2}]}}}"
    )
    policy, _ = made.policy_of(lambda path, node: 10.0 if path.endswith("0.magnitude") else node.prior)
    assert policy.steps == (
        {"op": "rotate", "magnitude": 10.0, "sign": True, "probability": 0.3},
        {"op": "brightness", "magnitude": 0.2, "sign": False, "probability": 1.0},
    )
    assert [knob.path for knob in made.knobs()] == ["policy.custom.steps.0.magnitude"]


def test_settings_of_the_one_optimizer_or_schedule_may_stand_in_the_recipe(tree):
    assert tree("{recipe: {schedule: trapezoid, cooldown: 0.4}}") == tree("{recipe: {schedule: {trapezoid: {cooldown: 0.4}}}}")


def test_optimizers_may_have_rates_of_their_own(tree):
    made = tree("{recipe: {optimizer: {choose: {sgd: {lr: {log: [0.01, 0.4]}}, adamw: {lr: {log: [1e-4, 1e-2]}}}}}}")

    def rate(name):
        return made.recipe_of(lambda path, node: name if path == "recipe.optimizer" else node.prior)

    assert rate("sgd").lr == 0.05  # the default, which lies in the range
    assert rate("adamw").lr == pytest.approx(1e-3)  # sqrt(1e-4 x 1e-2)
    assert "lr" not in dict(made.recipe)


def test_how_many_values_a_node_has_and_whether_it_is_searched():
    assert [count(node) for node in (Constant(1), Choose((1, 2, 3)), Int(2, 5), Uniform(0, 1))] == [1, 3, 4, 1]
    assert not any(searched(node) for node in (None, Constant(1), Choose((1,))))
    assert all(searched(node) for node in (Choose((1, 2)), Log(1, 2)))


def test_points_are_counted_branch_by_branch(tree):
    made = tree(
        "{method: {choose: {kd: {temperature: {choose: [1, 2, 4]}}, ce: {}}},"
        " policy: {choose: {none: {}, cutmix: {alpha: {choose: [0.5, 1]}}, rotation: {ratio: 0.75}}},"
        " ratio: {choose: [0.25, 0.5, 0.75]}, recipe: {lr: {log: [0.01, 0.1]}, batch: {choose: [64, 128]}}}"
    )
    # methods: kd 3 with 5 pairs, ce 1 with 2; policies: none 1, cutmix 2 alphas x 3 ratios, rotation 1; batches 2
    assert made.points(lambda method: 5 if method == "kd" else 2) == (3 * 5 + 2) * (1 + 6 + 1) * 2


# -- the catalogue ---------------------------------------------------------------------------------------------------------

NEW = '''\
"""A method that nobody has heard of."""
from nothing_that_exists import Tensor
__all__ = ["brandnew"]
SEARCH = {"brandnew": {"depth": {"int": [1, 5]}}}
WEIGHTS = {"ce_weight": 0.25, "kd_weight": 3.0}
def brandnew(student_logits: Tensor, teacher_logits: Tensor, *, depth: Count = 2, mode: Literal["a", "b"] = "a") -> Tensor:
    """Short."""
'''


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The package's files beside a new method, read but never imported."""
    package = Path(rooms.__file__).parent
    copy = tmp_path / "package"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "methods" / "brandnew.py").write_text(NEW, encoding="utf-8")
    monkeypatch.setattr(rooms, "__file__", str(copy / "rooms.py"))
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def test_a_new_file_in_the_room_is_known_with_its_limits_and_ranges_and_nothing_else_is_edited(room, tree, faults, load):
    made = tree("{method: {choose: {brandnew: search, ce: {}}}}")
    settings = made.method.settings("brandnew")
    assert settings["depth"] == Int(1, 5, 2)
    assert (settings["ce_weight"], settings["kd_weight"]) == (Constant(0.25), Constant(3.0))
    assert needs_teacher("brandnew")
    whole = "space:\n  policy: none\n  method: kd"
    (fault,) = faults({whole: "space: {method: {brandnew: {depth: 0}}}"})
    assert "depth must be at least 1, not 0" in fault
    (fault,) = faults({whole: "space: {method: {brandnew: {mode: c}}}"})
    assert "mode is one of a, b, not 'c'" in fault
    (fault,) = faults({whole: "space: {method: brandnewer}"})
    assert "did you mean 'brandnew'?" in fault
    from autokd.config.schema import schema

    assert "method.brandnew" in schema()["$defs"]
