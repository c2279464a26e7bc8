"""What a search keeps for the next one to start sooner: costs that were counted, and teachers that were measured."""

from __future__ import annotations

import json

import pytest

from autokd.search import feasible as room
from autokd.search.feasible import Notes
from autokd.search.work import known_teacher, prepare_teacher

IMAGE = {"classes": 10, "channels": 1, "size": 8}
DATA = {"name": "digits", "validation": 0.2}
TEACHER = {"name": "wide", "model": "resnet8x0.5", "training": {"epochs": 0.2, "recipe": {"batch": 64, "lr": 0.05}}}


def test_a_cost_counted_once_is_read_from_the_notes(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "costs.json"
    notes = Notes(path)
    first = notes.cost("resnet8x0.5", {}, **IMAGE)
    notes.keep()
    monkeypatch.setattr("autokd.cost.count.count", lambda *_, **__: pytest.fail("counted again"))
    again = Notes(path).cost("resnet8x0.5", {}, **IMAGE)
    assert (again.params, again.macs) == (first.params, first.macs)


def test_notes_of_other_code_or_damaged_ones_are_left_aside(tmp_path, monkeypatch):
    path = tmp_path / "costs.json"
    notes = Notes(path)
    notes.cost("resnet8x0.5", {}, **IMAGE)
    notes.keep()
    monkeypatch.setattr(room, "_code", lambda: "another")
    assert Notes(path).known == {}
    path.write_text("{")
    assert Notes(path).known == {}


def test_own_networks_are_counted_every_time(tmp_path):
    notes = Notes(tmp_path / "costs.json")
    notes.cost("parallel_fakes:plain", {}, **IMAGE)
    assert notes.known == {}


def test_a_teacher_trained_here_is_known_as_long_as_its_weights_are_the_measured_ones(tmp_path):
    assert known_teacher(DATA, TEACHER, str(tmp_path)) is None
    told = prepare_teacher({"signals": "live"}, DATA, TEACHER, str(tmp_path))
    known = known_teacher(DATA, TEACHER, str(tmp_path))
    assert known is not None
    assert (known["val_top1"], known["trained"]) == (told["val_top1"], False)
    assert known["config"] == json.loads(json.dumps(told["config"]))
    assert known_teacher({**DATA, "validation": 0.3}, TEACHER, str(tmp_path)) is None  # other data, another teacher
    with open(told["checkpoint"], "ab") as file:
        file.write(b"x")
    assert known_teacher(DATA, TEACHER, str(tmp_path)) is None


def test_a_teacher_from_elsewhere_is_measured_every_time(tmp_path):
    assert known_teacher(DATA, {"name": "a", "model": "resnet8", "checkpoint": "a.pt"}, str(tmp_path)) is None
