from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

import autokd.data.decode
from autokd.data.held_out import open_test
from autokd.data.reading import FaultyImages
from autokd.data.sets.table import table
from autokd.data.training import describe, open_training
from autokd.errors import AutokdError

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def names_of(labels, metadata=None):
    told = {"info": {"features": {"label": {"names": metadata, "_type": "ClassLabel"}}}}
    return {"huggingface": json.dumps(told)} if metadata else None


def write_stream(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def write_arrow(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


WRITERS = {
    "parquet": lambda table, path: pq.write_table(table, path, row_group_size=3),
    "arrow": write_arrow,
    "stream.arrow": write_stream,
    "feather": lambda table, path: feather.write_feather(table, path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file(tmp_path, random_pixels, png, kind):
    pixels = random_pixels(10, 8, 8)
    cells = pa.array([{"bytes": png(p), "path": None} for p in pixels], STRUCT)
    table = pa.table({"photo": cells, "label": pa.array(list("dacbabcdab"))})
    path = tmp_path / f"flowers.{kind}"
    WRITERS[kind](table, path)
    training = open_training("table", root=str(path), validation=0, options={"test": 0.0})
    assert np.array_equal(training.train.pixels, pixels.transpose(0, 3, 1, 2))
    assert training.train.classes == ("a", "b", "c", "d")
    assert training.train.labels.tolist() == [3, 0, 2, 1, 0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize("kind", ["struct", "bytes", "large", "paths", "struct of paths"])
def test_every_kind_of_image_column(tmp_path, random_pixels, png, kind):
    pixels = random_pixels(4, 8, 8)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    paths = [f"images/{number}.png" for number in range(3)] + [str(tmp_path / "images" / "3.png")]
    column = {
        "struct": lambda: pa.array([{"bytes": png(p), "path": "nowhere"} for p in pixels], STRUCT),
        "bytes": lambda: pa.array([png(p) for p in pixels]),
        "large": lambda: pa.array([png(p) for p in pixels], pa.large_binary()),
        "paths": lambda: pa.array(paths),
        "struct of paths": lambda: pa.array([{"bytes": None, "path": p} for p in paths], STRUCT),
    }[kind]()
    pq.write_table(pa.table({"image": column, "word": ["x"] * 4, "kind": [10, 2, 10, 2]}), tmp_path / "train.parquet")
    options = {"label": "kind", "test": 0.0}
    training = open_training("table", root=str(tmp_path), validation=0, options=options)
    assert np.array_equal(training.train.pixels, pixels.transpose(0, 3, 1, 2))
    assert training.train.classes == ("2", "10")  # numbers in their order, not the alphabet's
    assert training.train.labels.tolist() == [1, 0, 1, 0]
    if "path" in kind:  # a changed image is noticed though the table is the same
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "1.png")
        again = open_training("table", root=str(tmp_path), validation=0, options=options)
        assert again.train.pixels[1].max() == 0 and again.train.pixels[0].max() > 0


def flowers(path, pixels, png, labels, metadata=None):
    table = pa.table({"image": pa.array([png(p) for p in pixels]), "label": pa.array(labels)})
    pq.write_table(table.replace_schema_metadata(names_of(labels, metadata)), path)


def test_names_in_the_metadata_count_in_both_parts(tmp_path, random_pixels, png):
    flowers(tmp_path / "train.parquet", random_pixels(3, 8, 8), png, [2, 0, 2], ["rose", "lily", "tulip"])
    flowers(tmp_path / "other.parquet", random_pixels(2, 8, 8), png, [1, 2])
    training = open_training("table", root=str(tmp_path), validation=0, options={"test_file": "other.parquet"})
    assert training.train.classes == ("rose", "lily", "tulip") and training.train.labels.tolist() == [2, 0, 2]
    assert open_test("table", root=str(tmp_path), options={"test_file": "other.parquet"}).labels.tolist() == [1, 2]


def test_a_test_file_keeps_to_the_training_classes(tmp_path, random_pixels, png):
    flowers(tmp_path / "train.parquet", random_pixels(3, 8, 8), png, ["z", "b", "k"])
    flowers(tmp_path / "test.parquet", random_pixels(2, 8, 8), png, ["k", "z"])
    held = open_test("table", root=str(tmp_path))
    assert held.classes == ("b", "k", "z") and held.labels.tolist() == [1, 2]
    flowers(tmp_path / "test.parquet", random_pixels(2, 8, 8), png, ["k", "q"])
    with pytest.raises(AutokdError, match="row 1 has the label 'q'"):
        open_test("table", root=str(tmp_path))


def test_without_a_test_file_a_share_is_held_out(tmp_path, random_pixels, png):
    pixels = random_pixels(40, 8, 8)
    flowers(tmp_path / "all.parquet", pixels, png, [n % 4 for n in range(40)])
    root = str(tmp_path / "all.parquet")
    training, held = open_training("table", root=root, validation=0.25), open_test("table", root=root)
    assert np.bincount(held.labels).tolist() == [2, 2, 2, 2] and held.index.tolist() == list(range(8))
    rest = np.concatenate([training.train.pixels, training.validation.pixels])
    assert len(rest) == 32 == training.card.train_images
    apart = {p.tobytes() for p in held.pixels}
    assert not apart & {p.tobytes() for p in rest}
    scaled = rest.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert training.card.mean == pytest.approx(scaled.mean(axis=1), abs=1e-12)  # held-out rows are not in it


def test_what_cannot_be_is_told(tmp_path, random_pixels, png):
    path = tmp_path / "train.parquet"
    with pytest.raises(AutokdError, match="no train"):
        open_training("table", root=str(tmp_path))
    with pytest.raises(AutokdError, match="no such file"):
        open_training("table", root=str(path))
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(AutokdError, match="neither Parquet nor Arrow"):
        open_training("table", root=str(path))
    path.write_bytes(b"not a table at all")
    with pytest.raises(AutokdError, match="neither Parquet nor Arrow"):
        open_training("table", root=str(path))
    flowers(path, random_pixels(3, 8, 8), png, ["a", None, "b"])
    with pytest.raises(AutokdError, match="row 1 has no label"):
        open_training("table", root=str(path))
    with pytest.raises(AutokdError, match="no column 'lable'") as caught:
        open_training("table", root=str(path), options={"label": "lable"})
    assert "did you mean 'label'" in caught.value.fix
    with pytest.raises(AutokdError, match="no column 'foto'"):
        open_training("table", root=str(path), options={"image": "foto"})
    flowers(path, random_pixels(3, 8, 8), png, [0.5, 1.0, 2.0])
    with pytest.raises(AutokdError, match="words or whole numbers"):
        open_training("table", root=str(path))
    pq.write_table(pa.table({"one": [b"x"], "two": [b"y"], "label": [0]}), path)
    with pytest.raises(AutokdError, match="not clear"):
        open_training("table", root=str(path))
    with pytest.raises(AutokdError, match="holds int64, not images"):
        open_training("table", root=str(path), options={"image": "label"})


def test_a_broken_row_is_named(tmp_path, random_pixels, png):
    cells = [png(p) for p in random_pixels(8, 8, 8)]
    for broken, told in ((b"junk", "cannot be read"), (None, "there is no image")):
        cells[5] = broken
        pq.write_table(pa.table({"image": cells, "label": [0] * 8}), tmp_path / "train.parquet", row_group_size=3)
        with pytest.raises(AutokdError, match=told) as caught:
            open_training("table", root=str(tmp_path), validation=0, options={"test": 0.0})
        assert caught.value.where == f"{tmp_path / 'train.parquet'}: row 5"


def test_describing_a_big_table_is_cheap(tmp_path, png, monkeypatch):
    cell = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    table = pa.table({"image": pa.array([cell] * 4000), "label": pa.array([n % 7 for n in range(4000)])})
    path = tmp_path / "train.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, write_batch_size=64)  # one group, many pages
    assert path.stat().st_size > 40e6

    decoded = []
    real = autokd.data.decode.decode
    monkeypatch.setattr("autokd.data.decode.decode", lambda *a, **k: decoded.append(1) or real(*a, **k))
    with open("/proc/self/io") as file:
        before = int(file.readline().split()[1])  # rchar: bytes this process asked to read
    card = describe("table", root=str(path), options={"test": 0.25})
    with open("/proc/self/io") as file:
        asked = int(file.readline().split()[1]) - before
    assert (card.classes, card.height, card.train_images) == (7, 64, 3000)
    assert card.mean == () and len(decoded) == 1
    assert asked < path.stat().st_size / 10


@pytest.mark.slow
def test_tiny_imagenet_as_it_lies_in_the_shared_data(shared_data):
    root = shared_data / "tiny_imagenet_10"
    training = open_training("table", root=str(root), options={"test_file": "val.parquet", "size": 32})
    assert training.train.pixels.shape == (1800, 3, 32, 32)
    assert training.train.classes[1] == "black stork"
    assert len(open_test("table", root=str(root), options={"test_file": "val.parquet", "size": 32})) == 500


def test_the_files_of_the_parts_are_known_in_any_case_and_as_shards(tmp_path, random_pixels, png):
    pixels = random_pixels(12, 8, 8)
    flowers(tmp_path / "Train.PARQUET", pixels[:6], png, list("aabbcc"))
    flowers(tmp_path / "validation-00000-of-00002.parquet", pixels[6:8], png, ["a", "b"])
    flowers(tmp_path / "validation-00001-of-00002.parquet", pixels[8:10], png, ["c", "a"])
    flowers(tmp_path / "TEST.parquet", pixels[10:], png, ["a", "c"])
    flowers(tmp_path / "extra.parquet", pixels[:2], png, ["a", "c"])
    training = open_training("table", root=str(tmp_path), validation=0.5)
    assert np.array_equal(training.train.pixels, pixels[:6].transpose(0, 3, 1, 2))
    assert np.array_equal(training.validation.pixels, pixels[6:10].transpose(0, 3, 1, 2))
    assert training.validation.labels.tolist() == [0, 1, 2, 0] and training.validation.index.tolist() == [6, 7, 8, 9]
    assert (training.card.train_images, training.card.validation_images) == (10, 4)
    assert open_test("table", root=str(tmp_path)).labels.tolist() == [0, 2]
    reading = table("train", root=str(tmp_path)).reading
    assert reading.where(7) == f"{tmp_path / 'validation-00000-of-00002.parquet'}: row 1"
    assert [(one.why, one.examples) for one in reading.passed_over] == [
        ("outside the folders that are read", (str(tmp_path / "extra.parquet"),))
    ]
    joined = open_training("table", root=str(tmp_path), validation=0.2, options={"join_validation": True})
    assert (len(joined.train), len(joined.validation), joined.card.validation_images) == (8, 2, None)
    imagenet = {"test_file": "extra.parquet"}
    assert len(open_test("table", root=str(tmp_path), options=imagenet)) == 2
    flowers(tmp_path / "valid.parquet", pixels[:2], png, ["a", "c"])
    flowers(tmp_path / "val.parquet", pixels[:2], png, ["a", "c"])
    with pytest.raises(AutokdError, match="'val.parquet' and 'valid.parquet' both look like the validation part"):
        open_training("table", root=str(tmp_path))
    named = {"validation_file": "val.parquet", "train_file": "valid.parquet"}
    assert len(open_training("table", root=str(tmp_path), options=named).validation) == 2


def test_a_validation_file_beside_a_share_that_is_cut_for_the_test(tmp_path, random_pixels, png):
    pixels = random_pixels(30, 8, 8)
    flowers(tmp_path / "train.parquet", pixels[:20], png, [n % 2 for n in range(20)])
    flowers(tmp_path / "val.parquet", pixels[20:], png, [n % 2 for n in range(10)])
    training, held = open_training("table", root=str(tmp_path)), open_test("table", root=str(tmp_path))
    assert np.array_equal(training.validation.pixels, pixels[20:].transpose(0, 3, 1, 2))
    seen = {p.tobytes() for p in (*training.train.pixels, *held.pixels)}
    assert (len(training.train), len(held)) == (16, 4)
    assert seen == {np.ascontiguousarray(p.transpose(2, 0, 1)).tobytes() for p in pixels[:20]}


def test_every_row_without_a_label_or_of_another_class_is_named(tmp_path, random_pixels, png):
    flowers(tmp_path / "train.parquet", random_pixels(6, 8, 8), png, ["a", None, "b", None, "a", None])
    with pytest.raises(AutokdError, match="3 rows have no label: 1, 3, 5"):
        open_training("table", root=str(tmp_path))
    flowers(tmp_path / "train.parquet", random_pixels(6, 8, 8), png, list("aabbab"))
    flowers(tmp_path / "test.parquet", random_pixels(5, 8, 8), png, ["a", "q", None, "z", "q"])
    told = r"row 2 has no label; 3 rows have labels that are none of the classes \('q', 'z'\): 1, 3, 4"
    with pytest.raises(AutokdError, match=told):
        open_test("table", root=str(tmp_path))


def test_every_broken_row_is_named_with_its_file(tmp_path, random_pixels, png):
    (tmp_path / "images").mkdir()
    for number, image in enumerate(random_pixels(4, 8, 8)):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "1.png").write_bytes(b"")
    paths = ["images/0.png", "images/1.png", "images/gone.png", None, "images/3.png"]
    pq.write_table(pa.table({"image": paths, "label": list("abaab")}), tmp_path / "train.parquet")
    options = {"test": 0.0}
    with pytest.raises(FaultyImages) as caught:
        open_training("table", root=str(tmp_path), validation=0, options=options)
    place = tmp_path / "train.parquet"
    assert [(one.file, one.reason.split(": ")[0]) for one in caught.value.faulty] == [
        (f"{place}: row 1", "the image cannot be read"),
        (f"{place}: row 2", "there is no such image file"),
        (f"{place}: row 3", "there is no image"),
    ]
    assert str(tmp_path / "images" / "gone.png") in caught.value.faulty[1].reason
    training = open_training("table", root=str(tmp_path), validation=0, options=options, faulty="skip")
    assert training.train.index.tolist() == [0, 4] and training.train.labels.tolist() == [0, 1]
    Image.fromarray(random_pixels(1, 8, 8)[0]).save(tmp_path / "images" / "1.png")  # mended: another file is missing still
    again = open_training("table", root=str(tmp_path), validation=0, options=options, faulty="skip")
    assert again.train.index.tolist() == [0, 1, 4]
