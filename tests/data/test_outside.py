"""Images from elsewhere, matched to the student's classes by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autokd.data.outside import image_files, open_outside
from autokd.errors import AutokdError


def test_a_folder_is_read_whole_with_labels_in_the_students_own_order(tmp_path: Path, write_folder):
    written = write_folder(tmp_path / "photos", {"ant": 2, "cat": 3})
    images = open_outside(tmp_path / "photos", ("cat", "dog", "ant"), channels=3, size=8)
    assert images.labels.tolist() == [2, 2, 0, 0, 0] and images.classes == ("cat", "dog", "ant")
    expected = np.stack([pixels.transpose(2, 0, 1) for pixels in written.values()])
    assert (images.pixels == expected).all()


def test_a_table_of_words_and_one_of_numbers_are_matched_by_name(tmp_path: Path, random_pixels, png):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pixels = random_pixels(3, 8, 8)
    encoded = [png(one) for one in pixels]
    pq.write_table(pa.table({"image": encoded, "label": ["dog", "cat", "dog"]}), tmp_path / "words.parquet")
    images = open_outside(tmp_path / "words.parquet", ("cat", "dog"), channels=3, size=None)
    assert images.labels.tolist() == [1, 0, 1] and (images.pixels == pixels.transpose(0, 3, 1, 2)).all()
    pq.write_table(pa.table({"image": encoded, "kind": [2, 0, 2]}), tmp_path / "numbers.parquet")
    found = open_outside(tmp_path / "numbers.parquet", ("2", "1", "0"), channels=1, size=4, label="kind")
    assert found.labels.tolist() == [0, 2, 0] and found.pixels.shape == (3, 1, 4, 4)
    with pytest.raises(AutokdError, match="does not know the class '0' \\(and 1 more of 2\\)"):
        open_outside(tmp_path / "numbers.parquet", ("cat", "dog"), channels=3, size=8, label="kind")


def test_a_class_the_student_does_not_know_is_told_with_those_it_knows(tmp_path: Path, write_folder):
    write_folder(tmp_path / "photos", {"cat": 1, "dogs": 1})
    with pytest.raises(AutokdError) as fault:
        open_outside(tmp_path / "photos", ("cat", "dog"), channels=3, size=8)
    assert "does not know the class 'dogs' (did you mean 'dog'?)" in str(fault.value) and "it knows: cat, dog" in str(
        fault.value
    )


def test_what_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(AutokdError, match="no such folder or table"):
        open_outside(tmp_path / "nothing", ("a",), channels=3, size=8)
    with pytest.raises(AutokdError, match="1 or 3 channels, not 4"):
        open_outside(tmp_path, ("a",), channels=4, size=8)


def test_a_word_that_is_a_folder_means_all_images_in_it(tmp_path: Path, write_folder):
    write_folder(tmp_path / "photos", {"b": 1, "a": 2})
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    found, passed = image_files([tmp_path / "photos", "else.png"])
    assert [(one.why, one.count, one.suffixes) for one in passed] == [("no images by their suffix", 1, ((".txt", 1),))]
    assert [path.name for path in found] == ["000.png", "001.png", "000.png", "else.png"]
    assert [path.parent.name for path in found[:3]] == ["a", "a", "b"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(AutokdError, match="no images in this folder") as caught:
        image_files([tmp_path / "empty"])
    assert "passed over: 1 no images by their suffix; images end in" in caught.value.fix and ".avif" in caught.value.fix
