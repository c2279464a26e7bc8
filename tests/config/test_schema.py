"""The JSON Schema: what is shipped is valid under it, what is wrong is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autokd.config.schema import schema
from autokd.config.search_space import load_space
from autokd.config.sections import SpaceFile
from autokd.rooms import catalogue
from autokd.space.document import Document

SPACES = sorted((Path(__file__).resolve().parents[2] / "search_spaces").rglob("*.yaml"))


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return json.loads(json.dumps(schema()))  # it is printed as JSON


def test_every_section_and_every_entry_of_the_catalogues_is_in_it(made):
    assert set(made["properties"]) == set(SpaceFile.model_fields)
    for room, word in (("methods", "method"), ("augment.policies", "policy")):
        for name, entry in catalogue(room).items():
            body = made["$defs"][f"{word}.{name}"]
            told = json.dumps(body)
            assert all(f'"{setting.name}"' in told for setting in entry.settings if setting.name != "label_smoothing")
    assert made["$defs"]["DataSection"]["properties"]["name"]["enum"] == list(catalogue("data.sets"))


def test_every_reference_leads_somewhere(made):
    def references(value: Any):
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    found = set(references(made))
    assert found and all(name.removeprefix("#/$defs/") in made["$defs"] for name in found)


@pytest.fixture(scope="module")
def validator(made):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_what_is_shipped_is_valid_as_written_and_written_out(validator, path):
    assert [error.message for error in validator.iter_errors(Document.read(path).values)] == []
    written = Document.from_text(load_space(path).to_yaml()).values
    assert [error.message for error in validator.iter_errors(written)] == []


GOOD = {
    "name": "x",
    "data": {"name": "digits"},
    "teachers": {"t": {"model": "wrn_16_2", "train": {"epochs": 3}}},
    "students": ["resnet8"],
    "space": {"method": {"kd": {"temperature": {"log": [1, 20]}}}},
    "budgets": [
        {"name": "a", "macs": "45 M"},
        {"name": "b", "file_size": "1 MB", "memory": "2 MiB", "latency": "5 ms"},
        {"name": "c", "memory": 1e6, "latency": {"max": "10 % of teacher", "statistic": "p90", "batch": 8}},
    ],
}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("nmae",), "x"),
        (("name",), 3),
        (("data", "name"), "digit"),
        (("data", "validation"), 1.5),
        (("data", "flip"), "yes"),
        (("students",), []),
        (("pairs",), [["t"]]),
        (("space", "mehtod"), "kd"),
        (("space", "method"), "kdd"),
        (("space", "method"), {"kd": {"temprature": 4}}),
        (("space", "method"), {"kd": {"temperature": 0}}),
        (("space", "method"), {"kd": {}, "ce": {}}),
        (("space", "policy"), {"none": {"ratio": 0.5}}),
        (("space", "ratio"), 2),
        (("space", "ratio"), {"uniform": [0]}),
        (("space", "recipe"), {"batch": 0.5}),
        (("space", "loss"), {"ce_weight": -1}),
        (("budgets",), [{"macs": "45 M"}]),
        (("budgets",), [{"name": "a", "macs": "lots"}]),
        (("budgets",), [{"name": "a", "macs": 0}]),
        (("budgets",), [{"name": "a", "file_size": "5 ms"}]),
        (("budgets",), [{"name": "a", "memory": -1}]),
        (("budgets",), [{"name": "a", "latency": 5}]),
        (("budgets",), [{"name": "a", "latency": {"batch": 2}}]),
        (("budgets",), [{"name": "a", "latency": {"max": "5 ms", "runtime": "onnxruntime"}}]),
        (("search",), {"sampler": "tep"}),
        (("search",), {"rungs": {"grace": 1}}),
        (("finalize",), {"train_on": "test"}),
    ],
)
def test_the_schema_refuses_what_reading_refuses(validator, place, value):
    assert not list(validator.iter_errors(GOOD)) and load_space(GOOD)
    bad = json.loads(json.dumps(GOOD))
    here = bad
    for key in place[:-1]:
        here = here.setdefault(key, {})
    here[place[-1]] = value
    assert list(validator.iter_errors(bad))
    with pytest.raises(Exception, match="."):
        load_space(bad)
