"""What a search keeps for the next one to start sooner: costs that were counted."""

from __future__ import annotations

import pytest

from autokd.search import feasible as room
from autokd.search.feasible import Counted, Notes

IMAGE = {"classes": 10, "channels": 1, "size": 8}


def test_a_cost_counted_once_is_read_from_the_notes(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "costs.json"
    notes = Notes(path)
    first = notes.cost("resnet8x0.5", {}, **IMAGE)
    notes.keep()
    monkeypatch.setattr("autokd.cost.count.count", lambda *_, **__: pytest.fail("counted again"))
    again = Notes(path).cost("resnet8x0.5", {}, **IMAGE)
    assert (again.params, again.macs) == (first.params, first.macs)
    changes = ({"classes": 11}, {"channels": 3}, {"size": 16})
    asked = [("resnet8", {}, {}), *(("resnet8x0.5", {}, change) for change in changes)]
    monkeypatch.setattr("autokd.search.feasible._counted", lambda *_, **__: Counted(1, 1, 1, 1))
    assert all(Notes(path).cost(name, options, **{**IMAGE, **change}).params == 1 for name, options, change in asked)


def test_notes_of_other_code_or_damaged_ones_are_left_aside(tmp_path, monkeypatch):
    path = tmp_path / "costs.json"
    notes = Notes(path)
    notes.cost("resnet8x0.5", {}, **IMAGE)
    notes.keep()
    with monkeypatch.context() as patch:
        patch.setattr(room, "_code", lambda: "another")
        assert Notes(path).known == {}
    assert Notes(path).known
    with monkeypatch.context() as patch:
        patch.setattr(room.metadata, "version", lambda name: "another torch")
        assert Notes(path).known == {}
    path.write_text("{")
    assert Notes(path).known == {}


def test_own_networks_are_counted_every_time(tmp_path):
    notes = Notes(tmp_path / "costs.json")
    notes.cost("parallel_fakes:plain", {}, **IMAGE)
    assert notes.known == {}
