"""Damaged input is refused in words, never with another exception: spaces, checkpoints, tables, pictures, command lines."""

from __future__ import annotations

import copy
import io
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import save_file

from autokd.cli.main import main
from autokd.config.search_space import load_space
from autokd.data.training import open_training
from autokd.errors import AutokdError
from autokd.models.checkpoint import load_weights

SPACES = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml"))
ODD: list[Any] = [
    None, True, "", " ", "x", "choose", "\u202eabc", "\u00e9\u0301\U0001f600", "a" * 5000, "../../x",
    "1e999", "nan", "5 Q", "-3 M",
    0, -1, 1, 10**30, -(10**30), 10**400, -(10**400), 1e308, -0.0, 0.5, float("nan"), float("inf"), float("-inf"),
    [], {}, [[]], [None], [1, 2, 3], {"choose": []}, {"choose": {}}, {"uniform": [1, 0]}, {"log": [0, 1]}, {"int": [1, "b"]},
    {"uniform": [float("nan"), 1]}, {"choose": [1, 1]}, {"": 1}, {"log": [1, float("inf")]}, {"int": [0, 10**30]},
]  # fmt: skip
TEXT = [
    "\x00", "\ufeff", "\t", "\u2028", "&a [*a]", "*nowhere",
    "!!python/object/apply:os.system ['true']", "!x y", "%YAML 9.9\n---\n",
    "---\n", "...\n", "{{{{", "]]]]", "'", '"', "|\n", "<<: 3\n", "? [a, b]\n: c\n", "!!binary x", "!!int abc", "!!float q",
    "2026-99-99", "0o9", "1_000", "0x", "!!timestamp 1", "!!set {a}", "!!omap [a]", "!!null x",
]  # fmt: skip


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*here, key)
        yield from places(below, (*here, key))


def changed(values: Any, chance: random.Random) -> Any:
    """The values with one to three of them deleted, doubled, renamed, moved or replaced."""
    values = copy.deepcopy(values)
    for _ in range(chance.randint(1, 3)):
        known = list(places(values))
        if not known:
            break
        *way, key = chance.choice(known)
        parent = values
        for step in way:
            parent = parent[step]
        how = chance.choice(("delete", "rename", "odd", "odd", "odd", "wrap", "move"))
        if how == "delete":
            del parent[key]
        elif how == "rename" and isinstance(parent, dict):
            parent[chance.choice((f"{key}x", str(key)[:-1], "", "\u00df", "choose", str(key).upper()))] = parent.pop(
                key
            )
        elif how == "wrap":
            parent[key] = chance.choice(([parent[key]], {"choose": [parent[key]]}, {str(key): parent[key]}))
        elif how == "move":
            other = values
            for step in chance.choice(known):
                other = other[step] if isinstance(other, dict) and step in other else other
            parent[key] = copy.deepcopy(other)
        else:
            parent[key] = copy.deepcopy(chance.choice(ODD))
    return values


def damaged_text(text: str, chance: random.Random) -> bytes:
    how = chance.randrange(5)
    at = chance.randrange(len(text))
    if how == 0:
        return text[:at].encode()
    if how == 1:
        return (text[:at] + chance.choice(TEXT) + text[at:]).encode()
    if how == 2:
        line = chance.choice(text.splitlines(keepends=True))
        return text.replace(line, line + line, 1).encode()
    if how == 3:
        data = bytearray(text.encode())
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data)
    colons = [i for i, letter in enumerate(text) if letter == ":"]
    at = chance.choice(colons) + 1
    return (text[:at] + " " + chance.choice(TEXT) + text[at:]).encode()


def refused_in_words(what: Callable[[], Any]) -> bool:
    """True where it was refused. Anything but an AutokdError, or one without words, is the test's failure."""
    try:
        what()
    except AutokdError as error:
        assert len(str(error)) > 10
        return True
    return False


def spaces(count: int, seed: int, folder: Path) -> int:
    chance = random.Random(seed)
    texts = [path.read_text(encoding="utf-8") for path in SPACES]
    values = [YAML(typ="safe").load(text) for text in texts]
    refused = 0
    for number in range(count):
        pick = chance.randrange(len(texts))
        if number % 2:
            path = folder / "space.yaml"
            path.write_bytes(damaged_text(texts[pick], chance))
            source: Any = path
        else:
            source = changed(values[pick], chance)
        try:
            refused += refused_in_words(lambda source=source: load_space(source))
        except Exception as error:
            shown = source.read_bytes() if isinstance(source, Path) else source
            raise AssertionError(f"seed {seed}, number {number}, {SPACES[pick].name}: {error!r}\n{shown!r}") from error
    return refused


def test_a_changed_space_is_read_or_refused_in_words(tmp_path):
    assert spaces(200, 1, tmp_path) > 100


@pytest.mark.slow
def test_five_thousand_changed_spaces_are_read_or_refused_in_words(tmp_path):
    assert spaces(5000, 2, tmp_path) > 2500


@pytest.mark.parametrize("depth", [50, pytest.param(1500, marks=pytest.mark.slow)])
def test_deep_nesting_and_alias_bombs_are_refused_in_words(tmp_path, depth: int):
    path = tmp_path / "space.yaml"
    for text in ("a: " + "[" * depth + "]" * depth, "a: " + "{b: " * depth + "1" + "}" * depth):
        path.write_text(text)
        assert refused_in_words(lambda: load_space(path))
    bomb = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path.write_text("\n".join(bomb))
    assert refused_in_words(lambda: load_space(path))


def damaged(data: bytes, chance: random.Random) -> bytes:
    how = chance.randrange(4)
    if how == 0:
        return data[: chance.randrange(len(data))]
    if how == 1:
        return data + bytes(chance.randrange(256) for _ in range(9))
    changed = bytearray(data)
    for _ in range(1 if how == 2 else 40):
        at = chance.randrange(min(len(data), 400) if chance.random() < 0.5 else len(data))
        changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_would_run_code_is_refused_and_nothing_of_it_runs(tmp_path):
    model, sign, path = torch.nn.Linear(3, 2), tmp_path / "ran", tmp_path / "bomb.pt"
    content = {"state_dict": model.state_dict(), "more": Bomb(sign)}
    torch.save(content, path)
    assert refused_in_words(lambda: load_weights(model, path))
    path.write_bytes(pickle.dumps(content))
    assert refused_in_words(lambda: load_weights(model, path))
    assert not sign.exists()
    torch.load(
        io.BytesIO(b"".join([_saved(content)])), weights_only=False
    )  # the bomb is one: unsafe loading sets it off
    assert sign.exists()


def _saved(content: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def files(count: int, seed: int, folder: Path) -> int:
    """Damage a .pt, a .safetensors, a Parquet table and a picture in turn; returns how many were refused."""
    chance = random.Random(seed)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(model.state_dict(), folder / "a.pt")
    save_file(model.state_dict(), str(folder / "a.safetensors"))
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)
    pictures = []
    for image in pixels:
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        pictures.append(out.getvalue())
    table = pa.table({"image": [{"bytes": one, "path": None} for one in pictures], "label": [0, 1] * 3})
    place = folder / "table"
    place.mkdir()
    for name in ("train.parquet", "test.parquet"):
        pq.write_table(table, place / name)
    tree = folder / "tree"
    for part in ("train", "test"):
        for number, one in enumerate(pictures):
            target = tree / part / "ab"[number % 2]
            target.mkdir(parents=True, exist_ok=True)
            (target / f"{number}.png").write_bytes(one)
    kinds: list[tuple[Path, Callable[[], Any]]] = [
        (folder / "a.pt", lambda: load_weights(model, folder / "a.pt")),
        (folder / "a.safetensors", lambda: load_weights(model, folder / "a.safetensors")),
        (place / "train.parquet", lambda: open_training("table", root=str(place), split_seed=0, validation=0.34)),
        (
            tree / "train" / "a" / "0.png",
            lambda: open_training("folder", root=str(tree), split_seed=0, validation=0.34),
        ),
    ]
    refused = 0
    for _, read in kinds:  # whole, each of them is read: a refusal is of the damage
        read()
    for number in range(count):
        path, read = kinds[number % len(kinds)]
        good = path.read_bytes()
        bad = damaged(good, chance)
        path.write_bytes(bad)
        try:
            refused += refused_in_words(read)
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}, {path.name}: {error!r}") from error
        finally:
            path.write_bytes(good)
    return refused


def test_a_damaged_file_is_read_or_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    assert files(60, 3, tmp_path) > 15


@pytest.mark.slow
def test_a_thousand_damaged_files_are_read_or_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    assert files(1000, 4, tmp_path) > 250


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path):
    torch.save(torch.nn.Linear(4, 2).state_dict(), tmp_path / "a.pt")
    assert refused_in_words(lambda: load_weights(torch.nn.Linear(3, 2), tmp_path / "a.pt"))


ARGUMENTS = [
    "search", "status", "report", "show", "validate", "evaluate", "predict",
    "--set", "--set=", "--set=a", "--set=.=1", "--set=space=[",
    "--runs", "--json", "--trials", "-1", "nan", "1e99", "--hours", "", "\u202e", "--", "--name", "../x", "no.yaml",
    "--port", "0",
    "/", "~", "\ud800", "--seed", "--top", "99999999999999999999", "--device", "quantum",
]  # fmt: skip


def test_a_command_line_of_chance_words_ends_with_zero_or_two_and_makes_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(5)
    for number in range(80):
        words = [chance.choice(ARGUMENTS) for _ in range(chance.randint(1, 4))]
        try:
            main(words)
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        except Exception as error:
            raise AssertionError(f"number {number}: autokd {words!r}: {error!r}") from error
        assert code in (0, 2), (words, code)
    assert list(tmp_path.iterdir()) == []
