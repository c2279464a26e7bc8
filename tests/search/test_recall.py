"""Configurations of a ledger as points of a study."""

from __future__ import annotations

from itertools import chain

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autokd.config.trial import DataConfig, MethodConfig, RecipeConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.search.recall import Asking, Point, Recall, alike

PAIRS = {"tiny": [(None, "small")], "free": [(None, "small"), (None, "large")]}


class Space:
    """A student where there are several, a method, and what only that method has. `drawn` counts."""

    def __init__(self):
        self.drawn = 0

    def sample(self, draw, pairs, seed):
        self.drawn += 1
        students = [student for _, student in pairs]
        student = draw.choose("student", students) if len(students) > 1 else students[0]
        method = draw.choose("method", ["kd", "fitnet"])
        options = {"temperature": draw.uniform("method.kd.temperature", 1.0, 8.0)} if method == "kd" else {}
        batch = draw.integer("recipe.batch", 8, 64, log=True)
        recipe = RecipeConfig(lr=draw.log("recipe.lr", 0.001, 1.0), batch=batch)
        data = DataConfig("digits")
        return TrialConfig(data, StudentConfig(student), method=MethodConfig(method, options), recipe=recipe, epochs=9, seed=seed)


class Given:
    """A drawer of settled values, which notes them."""

    def __init__(self, values):
        self.values, self.asked = values, {}

    def _give(self, path, *about, **more):
        self.asked[path] = self.values[path]
        return self.values[path]

    choose = uniform = log = integer = _give


def proposal(space, budget, **values):
    """A configuration with what was drawn for it and whose it is."""
    names = {"student": "small", "method": "kd", "kd_temperature": 4.0, "batch": 16, "lr": 0.1, **values}
    paths = {"kd_temperature": "method.kd.temperature", "batch": "recipe.batch", "lr": "recipe.lr"}
    drawer = Given({paths.get(name, name): value for name, value in names.items()})
    config = space.sample(drawer, PAIRS[budget], seed=3)
    return drawer.asked, (None, config.student.name), config


@pytest.fixture
def space():
    return Space()


@pytest.fixture
def recall(space):
    return Recall(space, PAIRS, lambda config: config.key)


def test_a_configuration_is_the_point_that_optuna_was_asked_for(space, recall):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(10):
        asked = study.ask()
        config = space.sample(Asking(asked), PAIRS["free"], seed=5)
        made = recall.point("free", asked.params, (None, config.student.name), lambda config=config: config)
        assert made == Point(asked.params, asked.distributions)


def test_the_space_is_drawn_once_for_all_that_differ_in_numbers_alone(space, recall):
    made = [proposal(space, "free", lr=lr, batch=batch) for lr, batch in ((0.1, 16), (0.5, 8), (0.02, 64))]
    drawn = space.drawn
    points = [recall.point("free", values, pair, lambda config=config: config) for values, pair, config in made]
    assert space.drawn == drawn + 1
    assert [(p.params["recipe.lr"], p.params["recipe.batch"]) for p in points] == [(0.1, 16), (0.5, 8), (0.02, 64)]
    assert points[2].distributions == {
        "student": CategoricalDistribution(("small", "large")),
        "method": CategoricalDistribution(("kd", "fitnet")),
        "method.kd.temperature": FloatDistribution(1.0, 8.0),
        "recipe.batch": IntDistribution(8, 64, log=True),
        "recipe.lr": FloatDistribution(0.001, 1.0, log=True),
    }
    values, pair, config = proposal(space, "free", method="fitnet")
    drawn = space.drawn
    assert "method.kd.temperature" not in recall.point("free", values, pair, lambda: config).params
    assert space.drawn == drawn + 1, "another branch is drawn anew"


def test_a_known_configuration_is_never_built(space, recall):
    values, pair, config = proposal(space, "free")
    recall.point("free", values, pair, lambda: config)

    def never():
        raise AssertionError("asked for a configuration of a known shape")

    assert recall.point("free", {**values, "recipe.lr": 0.7}, pair, never).params["recipe.lr"] == 0.7


@pytest.mark.parametrize("path, value", [("recipe.lr", 2.0), ("recipe.lr", 0.0), ("recipe.batch", 65), ("recipe.batch", 7)])
def test_a_number_outside_its_range_is_no_point_whether_the_branch_is_known_or_not(space, recall, path, value):
    values, pair, config = proposal(space, "free")
    for _ in range(2):
        assert recall.point("free", {**values, path: value}, pair, lambda: config) is None
        recall.point("free", values, pair, lambda: config)


def test_a_choice_that_was_none_where_it_was_proposed_is_found(space, recall):
    for lr in (0.1, 0.3):  # the second by the shape of the first
        values, pair, config = proposal(space, "tiny", lr=lr)
        assert "student" not in values
        found = recall.point("free", values, pair, lambda config=config: config)
        assert (found.params["student"], found.params["recipe.lr"]) == ("small", lr)
    assert recall.point("tiny", values, pair, lambda: config).params == values, "each budget has its own shapes"
    values, pair, config = proposal(space, "free", student="large")
    assert recall.point("tiny", values, pair, lambda: config) is None


def test_a_space_that_makes_something_else_of_the_same_values_is_noticed(space, recall):
    values, pair, config = proposal(space, "free")
    assert recall.point("free", values, pair, lambda: config.with_(recipe=RecipeConfig(lr=0.1, momentum=0.5))) is None


@pytest.mark.filterwarnings("ignore:Choices for a categorical")
def test_an_option_that_cannot_be_hashed_is_drawn_each_time():
    class Lists(Space):
        def sample(self, draw, pairs, seed):
            return super().sample(draw, pairs, seed).with_(epochs=len(draw.choose("layers", [[1], [1, 2]])))

    space = Lists()
    recall = Recall(space, PAIRS, lambda config: config.key)
    values = {"student": "small", "method": "fitnet", "recipe.batch": 16, "recipe.lr": 0.1, "layers": [1, 2]}
    config = space.sample(Given(values), PAIRS["free"], seed=3)
    for _ in range(2):
        assert recall.point("free", values, (None, "small"), lambda: config).params == values


def test_alike_are_those_that_differ_in_where_the_teachers_weights_lie():
    base = TrialConfig(DataConfig("digits"), StudentConfig("small"), TeacherConfig("t", "wide", checkpoint="a"))
    others = [
        base.with_(teacher=TeacherConfig("t", "wide", checkpoint="b")),
        base.with_(teacher=TeacherConfig("u", "wide", checkpoint="a")),
        base.with_(teacher=TeacherConfig("t", "deep", checkpoint="a")),
        base.with_(teacher=None),
        base.with_(seed=1),
    ]
    assert [alike(base, other) for other in others] == [True, False, False, False, False]
    assert [alike(other, base) for other in others] == [True, False, False, False, False]
    assert all(alike(one, one) for one in chain([base], others))
