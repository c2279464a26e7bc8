from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from autokd.data.held_out import open_test
from autokd.data.reading import FaultyImages
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


def broken(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_skipped_image_moves_no_other_one_and_comes_back_to_its_place(tmp_path, write_folder):
    """Sides of the split, positions and pixels of all others are what they are where every image can be read."""
    write_folder(tmp_path, {"cat": 60, "dog": 60})
    how = {"root": str(tmp_path), "validation": 0.25, "faulty": "skip", "faulty_limit": 0.1}
    whole = open_training("folder", **how)
    before = {(side, int(i)): p.tobytes() for side in ("train", "validation")
              for i, p in zip(getattr(whole, side).index, getattr(whole, side).pixels)}  # fmt: skip
    kept = {name: (tmp_path / name).read_bytes() for name in ("cat/003.png", "cat/040.png", "dog/017.png")}
    broken(tmp_path, *kept)
    with pytest.raises(FaultyImages) as caught:
        open_training("folder", **{**how, "faulty": "stop"})
    parts = {one.file for one in caught.value.faulty}
    try:
        parts |= {one.file for one in open_test("folder", root=str(tmp_path), faulty="skip").reading.faulty}
    except FaultyImages:
        raise AssertionError("three images are fewer than five") from None
    assert parts == {str(tmp_path / name) for name in kept}
    less = open_training("folder", **how)
    after = {(side, int(i)): p.tobytes() for side in ("train", "validation")
             for i, p in zip(getattr(less, side).index, getattr(less, side).pixels)}  # fmt: skip
    assert len(after) == len(before) - len(caught.value.faulty) and after.items() <= before.items()
    assert less.card.train_images == len(after) == describe("folder", root=str(tmp_path)).train_images
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    again = open_training("folder", **how)
    assert again.train.fingerprint() == whole.train.fingerprint()


def test_a_split_file_means_the_same_rows_where_some_are_skipped(tmp_path, write_folder):
    write_folder(tmp_path, {"cat": 4, "dog": 4})
    broken(tmp_path, "cat/001.png")
    (tmp_path / "split.json").write_text('{"train": [0, 1, 2, 5, 6], "validation": [3, 7]}')
    training = open_training(
        "folder", root=str(tmp_path), options={"test": 0.0}, split_file=tmp_path / "split.json", faulty="skip"
    )
    assert training.train.index.tolist() == [0, 2, 5, 6] and training.validation.index.tolist() == [3, 7]
    assert training.train.labels.tolist() == [0, 0, 1, 1]


def test_no_more_are_skipped_than_the_limit_or_five(tmp_path, write_folder):
    write_folder(tmp_path / "train", {"cat": 40, "dog": 40})
    write_folder(tmp_path / "test", {"cat": 2, "dog": 2}, seed=1)
    broken(tmp_path / "train" / "cat", *(f"{number:03}.png" for number in range(5)))
    how = {"root": str(tmp_path), "faulty": "skip"}
    assert open_training("folder", **how).card.train_images == 75
    with pytest.raises(FaultyImages, match="5 of 80 images of the training part cannot be read") as caught:
        open_training("folder", faulty_limit=0, **how)
    assert "data.faulty_limit is 0" in caught.value.fix
    broken(tmp_path / "train" / "dog", "000.png")
    with pytest.raises(FaultyImages, match="6 of 80") as caught:
        open_training("folder", **how)
    assert "data.faulty_limit is 0.01, and they are 0.075 of the part" in caught.value.fix
    assert open_training("folder", faulty_limit=0.075, **how).card.train_images == 74
