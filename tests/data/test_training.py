from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from autokd.data.training import describe, open_training
from autokd.errors import AutokdError, Faults


def test_both_splits_come_from_the_training_part():
    training = open_training("digits", validation=0.1, split_seed=3)
    index = np.concatenate([training.train.index, training.validation.index])
    assert np.array_equal(np.sort(index), np.arange(1438))
    assert len(training.validation) == 144
    assert training.train.pixels.flags.writeable and training.train.pixels.flags.c_contiguous


def test_the_same_question_has_the_same_answer():
    first, second, third = (open_training("digits", validation=0.1, split_seed=seed) for seed in (0, 0, 1))
    assert first.train.fingerprint() == second.train.fingerprint() != third.train.fingerprint()
    assert first.card == describe("digits")


def test_a_fraction_keeps_the_validation_split():
    whole, few = (open_training("digits", fraction=share) for share in (1.0, 0.1))
    assert whole.validation.fingerprint() == few.validation.fingerprint()
    assert len(few.train) == 129 and set(few.train.index) <= set(whole.train.index)


@pytest.mark.parametrize("function", [describe, open_training])
def test_a_name_or_option_that_is_not_there_is_told(function):
    with pytest.raises(AutokdError, match="no data set 'cifar_100'") as caught:
        function("cifar_100")
    assert "did you mean 'cifar100'" in caught.value.fix
    with pytest.raises(AutokdError, match="no option 'lable'") as caught:
        function("cifar100", options={"lable": "fine"})
    assert "did you mean 'label'" in caught.value.fix
    with pytest.raises(AutokdError, match="label is one of fine, coarse, not 'fin'"):
        function("cifar100", options={"label": "fin"})
    with pytest.raises(AutokdError, match="no option 'root'"):
        function("cifar100", options={"root": "data"})
    with pytest.raises(Faults) as caught:
        function("folder", options={"size": 0, "fit": "tight", "color": "rgb"})
    assert len(caught.value.faults) == 3


def test_describing_imports_neither_torch_nor_the_readers(tmp_path):
    code = (
        "import sys; from autokd.data.training import describe; describe('digits'); describe('cifar100', root='none')\n"
        "print([m for m in ('torch', 'torchvision', 'pyarrow', 'sklearn', 'PIL', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_set_that_says_nothing_of_itself_is_read(tmp_path, monkeypatch):
    import autokd.data._sets as sets
    from autokd.data.images import Images
    from autokd.rooms import Entry

    def bare(part):
        pixels = np.arange(2 * 3 * 16 * 16, dtype=np.int64).reshape(2, 3, 16, 16).astype(np.uint8)
        return Images(pixels, np.array([0, 1]), ("x", "y"), np.arange(2))

    entry = Entry("bare", "autokd.data.images", "", "made up", ("part",), ())
    monkeypatch.setattr(sets, "catalogue", lambda room: {"bare": entry})
    monkeypatch.setattr(sets, "load", lambda entry: bare)
    card = describe("bare")
    assert (card.classes, card.channels, card.height, card.width, card.train_images) == (2, 3, 16, 16, 2)
    assert (card.padding, card.flip, card.source, card.mean) == (2, True, "made up", ())
    training = open_training("bare", validation=0)
    assert training.card.mean == pytest.approx(bare("train").pixels.mean(axis=(0, 2, 3)) / 255)
