"""Terms beside a method and weights that adapt, in a space file: searched like any knob, faults told at their line."""

from __future__ import annotations

import pytest

from autokd.config.search_space import load_space
from autokd.config.terms import candidates
from autokd.config.tree import LOSS
from autokd.config.trial import LossConfig, Term, TrialConfig
from autokd.methods.build import build_method
from autokd.rooms import catalogue
from autokd.space.domains import Log
from autokd.train.weights import SCHEMES

KD = "{method: {kd: {also: {spkd: {weight: {log: [100, 10000]}, layer: pooled}, crd: {}}}}}"


class Asked:
    """A drawer that takes the top of every range and remembers what it was asked for."""

    def __init__(self):
        self.paths = []

    def choose(self, path, options):
        self.paths.append(path)
        return options[-1]

    def log(self, path, low, high):
        self.paths.append(path)
        return high

    uniform = integer = log


def test_a_term_is_drawn_like_any_knob_and_its_weight_is_the_published_one_where_nothing_is_said(tree):
    made = tree(KD)
    asked = []

    def pick(path, node):
        asked.append(path)
        return 5000.0 if isinstance(node, Log) else node.prior

    method, _ = made.method_of(pick)
    assert method.settings == {"temperature": 4.0}
    assert method.also[0] == Term("spkd", {"layer": "pooled"}, 5000.0)
    assert (method.also[1].name, method.also[1].weight) == ("crd", 0.8)
    assert method.also[1].settings["negatives"] == 16384
    assert "method.kd.also.spkd.weight" in asked
    assert [knob.path for knob in made.knobs()] == ["method.kd.also.spkd.weight"]


def test_a_drawn_trial_holds_the_terms_and_survives_its_dictionary(load):
    space = load({"method: kd": "method: {kd: {also: {spkd: {weight: {log: [100, 10000]}}}}}"})
    asked = Asked()
    config = space.sample(asked, [("big", "resnet8")], 0)
    assert config.method.also == (Term("spkd", {"layer": "last"}, 10000),)
    assert TrialConfig.from_dict(config.to_dict()) == config


def test_a_term_drawn_with_weight_zero_is_left_out(tree):
    made = tree("{method: {kd: {also: {spkd: {weight: {choose: [0, 3000]}}}}}}")
    method, _ = made.method_of(lambda path, node: 0.0 if path.endswith("spkd.weight") else node.prior)
    assert method.also == () and method.settings == {"temperature": 4.0}


@pytest.mark.parametrize("space", [KD, "{method: {kd: {adapt: uncertainty}}, loss: {ce_weight: 0.5}}"])
def test_what_is_written_out_is_read_back_as_the_same_space(load, tmp_path, space):
    first = load({"space:\n  policy: none\n  method: kd": f"space: {space}"})
    (tmp_path / "again.yaml").write_text(first.to_yaml(), encoding="utf-8")
    assert load_space(tmp_path / "again.yaml").tree == first.tree


def test_adapting_is_a_choice_of_the_loss_or_of_one_branch(tree):
    made = tree("{method: {choose: [kd, ce]}, loss: {adapt: {choose: [fixed, loss_ratio]}}}")
    assert [(k.path, k.condition) for k in made.knobs()] == [("method", ""), ("loss.adapt", "method is kd")]
    drawn = {name: name for name in ("kd", "ce")}
    for name in drawn:
        _, loss = made.method_of(
            lambda path, node, name=name: {"method": name, "loss.adapt": "loss_ratio"}.get(path, node.prior)
        )
        assert loss.adapt == ("loss_ratio" if name == "kd" else "fixed")
    method, loss = tree("{method: {kd: {adapt: uncertainty, adapt_memory: 0.5}}}").method_of(lambda _, node: node.prior)
    assert loss == LossConfig(0.1, 0.9, adapt="uncertainty", adapt_memory=0.5)
    assert "adapt" not in method.settings


FAULTS = [
    ("{method: {kd: {also: {spkdd: {}}}}}", ["unknown method 'spkdd'", "did you mean 'spkd'?"]),
    ("{method: {kd: {also: {spkd: {lyaer: last}}}}}", ["spkd has no setting 'lyaer'", "did you mean 'layer'?"]),
    ("{method: {kd: {also: {spkd: {weight: -1}}}}}", ["weight must be at least 0, not -1"]),
    ("{method: {kd: {also: {spkd: {weight: {log: [10, 1]}}}}}}", ["the range 10 to 1 is empty"]),
    ("{method: {kd: {also: {kd: {}}}}}", ["kd is the method itself"]),
    ("{method: {kd: {also: {sskd: {}}}}}", ["sskd cannot be a term", "whole batch"]),
    ("{method: {kd: {also: {ce: {}}}}}", ["ce cannot be a term", "has no teacher"]),
    ("{method: {kd: {also: spkd}}}", ["also is a mapping"]),
    ("{method: {ce: {also: {kd: {}}}}}", ["also cannot matter: ce has no teacher"]),
    ("{method: kd, loss: {adapt: gradnorm}}", ["adapt is one of fixed, gradient_cosine"]),
    ("{method: kd, loss: {adapt_memory: 0.5}}", ["adapt_memory cannot matter for kd"]),
    ("{method: ce, loss: {adapt: uncertainty}}", ["adapt cannot matter: no method here has a teacher"]),
    ("{method: kd, loss: {adapt: gradient_cosine, ce_weight: {uniform: [0, 1]}}}", ["whose weight may be 0"]),
    ("{method: {choose: [kd, ce]}, policy: attention}", ["attention follows the teacher's", "ce has no teacher"]),
    (
        "{method: ce, policy: {custom: {steps: [{op: attention_drop, magnitude: 0.2}]}}}",
        ["custom follows the teacher's attention"],
    ),
]


@pytest.mark.parametrize(("space", "words"), FAULTS, ids=[space for space, _ in FAULTS])
def test_a_fault_is_told_at_its_line_with_the_way_out(faults, space, words):
    told = faults({"space:\n  policy: none\n  method: kd": f"space: {space}"})
    assert len(told) == 1, told
    assert told[0].startswith("6:") and all(word in told[0] for word in words), told[0]


def test_a_teacher_cannot_be_trained_on_what_it_looks_at(faults):
    told = faults({"{epochs: 3}": "{epochs: 3, policy: attention}"})
    assert len(told) == 1 and "a teacher has no teacher" in told[0]


@pytest.mark.parametrize("name", list(catalogue("methods")))
def test_the_files_say_of_themselves_what_the_methods_are(name):
    """ALONE is read without torch; the method knows."""
    assert (name in candidates()) == (not build_method(name).alone)


def test_a_space_offers_every_way_of_adapting_that_there_is():
    assert next(setting for setting in LOSS if setting.name == "adapt").words == SCHEMES
