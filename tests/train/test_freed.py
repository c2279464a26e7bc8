"""A worker runs hundreds of trials: each must leave its memory to the next without a search for garbage."""

import gc
import weakref

import pytest

from autokd.config.trial import DataConfig, MethodConfig, RecipeConfig, StudentConfig, TrialConfig
from autokd.train.workshop import Workshop


@pytest.mark.parametrize("optimizer, ema", [("sgd", None), ("adamw", 0.9)])
def test_a_trial_that_is_let_go_frees_its_weights_at_once(optimizer, ema):
    config = TrialConfig(
        data=DataConfig("digits"),
        student=StudentConfig("resnet8x0.5"),
        method=MethodConfig("ce"),
        recipe=RecipeConfig(optimizer=optimizer, ema=ema),
        epochs=1,
    )
    trial = Workshop(signals="live").trial(config)
    trial.advance(128)
    held = [weakref.ref(trial.student), weakref.ref(next(trial.scored.parameters())), weakref.ref(trial.optimizer)]
    gc.disable()
    try:
        del trial
        assert [one() for one in held] == [None, None, None]
    finally:
        gc.enable()
