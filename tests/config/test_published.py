"""The published weights of a method around another one follow the one inside, whoever chose that."""

from __future__ import annotations

import pytest

from autokd.config.search_space import load_space
from autokd.config.trial import Term
from autokd.rooms import catalogue

AROUND = [name for name, entry in catalogue("methods").items() if "BASE_WEIGHTS" in entry.facts]


def weights(tree, method, **settings):
    """What a trial is given where a drawer takes `settings`, and priors else."""
    made = tree(method)
    _, loss = made.method_of(lambda path, node: settings.get(path.rsplit(".", 1)[-1], node.prior))
    return loss.ce_weight, loss.kd_weight


def test_the_methods_around_another_are_known_and_have_weights_for_every_base():
    assert set(AROUND) == {"logit_standardise", "high_energy"}
    for name in AROUND:
        entry = catalogue("methods")[name]
        assert set(entry.facts["BASE_WEIGHTS"]) == set(entry.setting("base").words)
        assert entry.facts["BASE_WEIGHTS"][entry.setting("base").default] == entry.facts["WEIGHTS"]
        assert all(set(one) == {"ce_weight", "kd_weight"} for one in entry.facts["BASE_WEIGHTS"].values())


def test_they_follow_a_base_that_is_named_and_one_that_is_drawn(tree):
    assert weights(tree, "{method: logit_standardise}") == (0.1, 9.0)
    assert weights(tree, "{method: {logit_standardise: {base: dkd}}}") == (1.0, 9.0)
    assert weights(tree, "{method: {logit_standardise: search}}", base="mlkd") == (0.2, 18.0)
    assert weights(tree, "{method: {high_energy: search}}", base="dist") == (1.0, 2.0)
    # a loss of plain views and one of augmented views are added there: mlkd's weights stand once for each
    assert weights(tree, "{method: {high_energy: {base: mlkd}}}") == (0.1, 0.9)


def test_what_is_said_counts_in_the_branch_and_for_all_methods(tree):
    assert weights(tree, "{method: {logit_standardise: {base: dkd, kd_weight: 4}}}") == (1.0, 4.0)
    assert weights(tree, "{method: {logit_standardise: {base: dkd}}, loss: {ce_weight: 0.5}}") == (0.5, 9.0)
    assert weights(tree, "{method: {high_energy: {base: dkd, ce_weight: {choose: [0.1, 1]}}}}", ce_weight=0.1) == (0.1, 1.0)
    assert weights(tree, "{method: {logit_standardise: {base: dkd, kd_weight: null}}}") == (1.0, 9.0)


def test_a_term_takes_the_weight_of_its_base(tree):
    made = tree("{method: {kd: {also: {logit_standardise: {base: mlkd}}}}}")
    method, _ = made.method_of(lambda path, node: node.prior)
    (term,) = method.also
    assert (term.name, term.weight) == ("logit_standardise", 18.0) and isinstance(term, Term)


def test_a_space_that_leaves_them_open_is_written_and_read_back(load):
    space = load({"method: kd": "method: {choose: {logit_standardise: search, high_energy: {base: dist}}}"})
    again = load_space(space.to_dict())
    assert again == space
    branch = space.to_dict()["space"]["method"]["choose"]["high_energy"]
    assert branch["ce_weight"] is None and branch["kd_weight"] is None


@pytest.mark.parametrize("key", ["ce_weight", "kd_weight"])
def test_another_method_has_a_weight_of_its_own_which_is_no_null(faults, key):
    (fault,) = faults({"method: kd": f"method: {{kd: {{{key}: null}}}}"})
    assert f"{key} needs a value" in fault
