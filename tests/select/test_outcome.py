"""What a confirmation says of a budget where next to every image is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from autokd.select.outcome import INCONCLUSIVE, verdict_of
from autokd.select.race import Choice, Standing

SQUARE = stats.norm.ppf(0.975) ** 2
ROW = {"student": "resnet8", "macs": 1, "params": 1, "val_top1": 1.0}


def told(arm: np.ndarray, **controls: dict) -> dict:
    standing = Standing(("t1",), (), len(arm), ())
    facts = {"student": "resnet8", "config": {}, "seeds": list(range(len(arm)))}
    return verdict_of(
        "tiny",
        rows={"t1": ROW},
        arms={"t1": (range(len(arm)), arm)},
        standing=standing,
        choice=Choice("t1", "t1", ("t1",), {}),
        controls={role: {**facts, **one} for role, one in controls.items()},
        asked=tuple(controls),
    )


def test_three_seeds_that_are_right_on_all_of_fifty_images_are_not_certain():
    (one,) = told(np.ones((3, 50), dtype=bool))["candidates"]
    assert (one["mean"], one["high"]) == (1.0, 1.0)
    assert one["low"] == pytest.approx(50 / (50 + SQUARE))  # Wilson's of 50 of 50


def test_a_gain_of_three_images_shows_nothing_and_a_control_that_is_the_choice_itself_gains_nothing_for_certain():
    arm = np.ones((2, 100), dtype=bool)
    control = np.tile(np.arange(100) >= 3, (2, 1))
    made = told(arm, ce={"arm": list(control), "same": False}, kd={"arm": list(arm), "same": True})
    gain = made["controls"]["ce"]["gain"]
    assert gain["mean"] == pytest.approx(0.03) and gain["low"] < 0 < 0.08 < gain["high"]
    assert gain["p"] == pytest.approx(1 / 2**3, abs=0.01)  # that all three images speak for one side
    assert {made["controls"]["kd"]["gain"][end] for end in ("low", "high", "se")} == {0.0}
    assert made["verdict"] == INCONCLUSIVE
