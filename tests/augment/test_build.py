"""What a person writes: a name with settings, or steps; and what is told where it is wrong."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autokd.augment import known
from autokd.augment.apply import apply
from autokd.augment.build import build_policy
from autokd.augment.draw import draw
from autokd.augment.policy import Step
from autokd.errors import AutokdError, Faults


def told(*arguments, **named) -> str:
    with pytest.raises((AutokdError, Faults)) as caught:
        build_policy(*arguments, **named)
    return str(caught.value)


def test_steps_read_from_a_yaml_file_make_a_chain():
    yaml = pytest.importorskip("ruamel.yaml")
    text = """
    steps:
      - {op: rotate, magnitude: 10, sign: true, probability: 0.3}
      - {op: invert, probability: 0.1}
      - op: posterize
        magnitude: 4
    """
    steps = yaml.YAML(typ="safe").load(text)["steps"]
    policy = build_policy("custom", steps=steps)
    assert policy.name == "custom" and policy.kind == "chain"
    assert policy.steps == (
        Step("rotate", 10.0, True, 0.3),
        Step("invert", None, False, 0.1),
        Step("posterize", 4.0, False, 1.0),
    )
    image = torch.tensor([[[[255, 31]]]], dtype=torch.uint8)
    made = apply(image, draw(build_policy("custom", steps=steps[2:]), torch.zeros(1), 0, 0))
    assert made.flatten().tolist() == [240, 16]


def test_an_unknown_op_is_told_with_the_one_that_was_meant():
    message = told("custom", steps=[{"op": "rotat", "magnitude": 10}])
    assert "no op 'rotat'" in message and "step 1" in message and "did you mean 'rotate'" in message


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"op": "rotate", "magnitude": 200}, "from -180 to 180"),
        ({"op": "rotate"}, "needs a magnitude"),
        ({"op": "rotate", "magnitude": "ten"}, "is a number"),
        ({"op": "rotate", "magnitude": True}, "is a number"),
        ({"op": "rotate", "magnitude": float("nan")}, "from -180 to 180"),
        ({"op": "invert", "magnitude": 1}, "takes no magnitude"),
        ({"op": "invert", "sign": True}, "has no sign"),
        ({"op": "posterize", "magnitude": 4.5}, "whole number"),
        ({"op": "posterize", "magnitude": 0}, "from 1 to 8"),
        ({"op": "posterize", "magnitude": 4, "sign": True}, "has no sign"),
        ({"op": "rotate", "magnitude": 10, "sign": "yes"}, "true"),
        ({"op": "invert", "probability": 1.5}, "from 0 to 1"),
        ({"op": "invert", "probability": "often"}, "from 0 to 1"),
        ({"op": "invert", "propability": 0.5}, "did you mean 'probability'"),
        ({"magnitude": 3}, "no op None"),
        ("invert", "a step is a mapping"),
    ],
)
def test_a_wrong_step_is_told_with_the_way_out(step, words):
    message = told("custom", steps=[{"op": "invert"}, step])
    assert words in message and "step 2" in message


def test_all_faults_are_told_at_once():
    with pytest.raises(Faults) as caught:
        build_policy(
            "custom", {"x": 1}, [{"op": "rotat"}, {"op": "invert", "probability": 2}, {"op": "shear_x", "magnitude": 9}]
        )
    message = str(caught.value)
    assert all(word in message for word in ("no setting 'x'", "step 1", "step 2", "step 3"))


def test_a_custom_policy_wants_steps_and_a_named_one_brings_its_own():
    assert "no steps" in told("custom")
    assert "brings its own steps" in told("jda_cifar100", steps=[{"op": "invert"}])


def test_a_wrong_name_or_setting_is_told():
    assert "did you mean 'jda_cifar100'" in told("jda_cifar_100")
    message = told("jda_cifar100", {"propability": 0.3})
    assert "no setting 'propability'" in message and "did you mean 'probability'" in message
    assert "at least 0 and at most 1" in told("jda_cifar100", {"probability": 1.2})
    assert "above 0" in told("jda_cifar100", {"strength": 0})
    assert "whole number" in told("randaugment", {"operations": 1.5})
    assert "all, half" in told("rotation", {"angles": "some"})
    assert "has no setting" in told("none", {"probability": 0.5})
    assert build_policy("randaugment", {"operations": 2.0}).picks == 2


@given(data=st.data())
def test_a_step_within_the_limits_has_no_fault_and_one_beyond_has(data):
    op = data.draw(st.sampled_from([name for name in known.names() if known.limits(name)]))
    low, high = known.limits(op)
    whole = op in known.entry(op).facts.get("WHOLE", ())
    inside = data.draw(st.integers(int(low), int(high)) if whole else st.floats(low, high))
    assert known.complaints(op, inside, False, data.draw(st.floats(0, 1))) == []
    beyond = data.draw(st.floats(min_value=0.001, max_value=1e6))
    assert known.complaints(op, high + beyond) and known.complaints(op, low - beyond)
