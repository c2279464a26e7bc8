"""The YAML reader: what a value means, where it stands, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autokd.errors import Faults, SpaceError
from autokd.space.document import Document, dump


def read(text: str, name: str = "space.yaml") -> Document:
    return Document.from_text(text, name)


def refused(text: str) -> list[str]:
    with pytest.raises(Faults) as told:
        read(text)
    return [str(fault) for fault in told.value.faults]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),  # a word in YAML 1.1, where a number needs a dot
        ("1e3", 1000.0),
        ("5", 5),
        ("+5", 5),
        ("010", 10),  # octal in YAML 1.1
        ("0o17", 15),
        ("0x1f", 31),
        ("1_000", 1000),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("45 M", "45 M"),
        ("0.3 k", "0.3 k"),
        ("50 % of teacher", "50 % of teacher"),
        ("true", True),
        ("False", False),
        ("yes", "yes"),  # YAML 1.2 has no other words for true and false
        ("off", "off"),
        ("n", "n"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("12:30:45", "12:30:45"),  # a number of base 60 in YAML 1.1
        ("2020-01-01", "2020-01-01"),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(written, value):
    found = read(f"key: {written}").values["key"]
    assert found == value and type(found) is type(value)


def test_not_a_number_is_read_as_such():
    assert math.isnan(read("key: .nan").values["key"])


NESTED = """\
# a comment
name: nested
teachers:
  big:
    model: wrn_40_2

  small: {model: resnet20,
          options: {width: 2}}
budgets:
  - {name: a, macs: 1 M}
  - name: b
    params:
      3 k
pairs: [[big, x],
        [small,
         y]]
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((), 2),
        (("name",), 2),
        (("teachers",), 3),
        (("teachers", "big"), 4),
        (("teachers", "big", "model"), 5),
        (("teachers", "small", "model"), 7),
        (("teachers", "small", "options", "width"), 8),
        (("budgets", 0), 10),
        (("budgets", 0, "macs"), 10),
        (("budgets", 1), 11),
        (("budgets", 1, "name"), 11),
        (("budgets", 1, "params"), 12),  # the line of the key, where a person looks
        (("pairs", 0, 1), 14),
        (("pairs", 1, 0), 15),
        (("pairs", 1, 1), 16),
        (("teachers", "big", "checkpoint"), 4),  # not written: its nearest ancestor's
        (("search", "trials"), 2),
    ],
)
def test_every_place_knows_its_file_and_line(place, line):
    assert read(NESTED, "a/b.yaml").where(place) == f"a/b.yaml:{line}"


def test_a_place_inside_an_alias_stands_where_it_was_first_used_and_one_merged_in_where_it_was_written():
    document = read("base: &base\n  lr: 1\n  batch: 2\nmore:\n  <<: *base\n  batch: 3\n")
    assert document.values["more"] == {"batch": 3, "lr": 1}  # what stands beside << counts
    assert document.where(("more", "lr")).endswith(":2")
    assert document.where(("more", "batch")).endswith(":6")


def test_duplicate_keys_are_refused_at_any_depth_and_all_at_once():
    faults = refused("a: 1\nb: {c: 1, c: 2}\na: 3\nd:\n  - e: 1\n    e: 2\n")
    assert [fault.split(":")[1] for fault in faults] == ["2", "3", "6"]
    assert all("stands here twice" in fault for fault in faults)
    assert "line 1 has it too" in faults[1]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [ls]",
        "a: !!python/name:os.system ''",
        "a: !own b",
        "a: !!binary aGk=",
    ],
)
def test_tags_that_make_objects_are_not_followed(text):
    try:
        value = read(text).values["a"]
    except Faults as told:
        assert "the tag" in str(told) and "space.yaml:1" in str(told)
    else:  # ruamel gives the nodes below a tagged list or mapping: plain values
        assert value == ["ls"]


@pytest.mark.parametrize("text", ["a: !!int x", "a: !!float x", "a: !!bool maybe", "%YAML 1.1\n---\na: yes"])
def test_a_tag_that_says_more_than_its_text_is_a_fault(text):
    (fault,) = refused(text)
    assert "is no" in fault and fault.startswith("space.yaml:")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\n\tb: 2\n", 2),
        ("a:\n\tb: 2\n", 2),
        ("a: [1, 2\nb: 3\n", 2),
        ("a: 'open\n", 2),
        ("a: 1\nb: *nothing\n", 2),
        ("a: b: c\n", 1),
        ("a: 1\n  b: 2\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text, line):
    (fault,) = refused(text)
    assert "not YAML" in fault
    assert fault.startswith(f"space.yaml:{line}:") or fault.startswith(f"space.yaml:{line + 1}:")


def test_a_key_that_is_a_list_and_an_alias_without_an_end_are_faults():
    assert "a key is a word" in refused("? [a]\n: 1\n")[0]
    assert "contains itself" in refused("a: &x [*x]\n")[0]


def test_aliases_that_grow_without_bound_end_soon():
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi")
    ]  # 9^9 values
    assert any("too much for one file" in fault for fault in refused("\n".join(lines)))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_nothing(text):
    assert read(text).values is None


def test_a_missing_file_names_the_nearest(tmp_path: Path):
    (tmp_path / "digits.yaml").write_text("name: x")
    with pytest.raises(Faults) as told:
        Document.read(tmp_path / "digit.yaml")
    assert "no such file" in str(told.value) and "did you mean 'digits.yaml'?" in str(told.value)
    with pytest.raises(Faults, match="no such file"):
        Document.read(tmp_path / "nowhere" / "digits.yaml")


def test_a_folder_and_bytes_that_are_no_utf8_are_faults(tmp_path: Path):
    with pytest.raises(Faults, match="this is a folder"):
        Document.read(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: Zürich".encode("latin-1"))
    with pytest.raises(Faults) as told:
        Document.read(path)
    assert str(path) in str(told.value) and "UTF-8" in str(told.value)


def test_utf8_words_are_kept(tmp_path: Path):
    path = tmp_path / "utf8.yaml"
    path.write_text("name: Zürich ✓", encoding="utf-8")
    assert Document.read(path).values == {"name": "Zürich ✓"}


# -- overrides -------------------------------------------------------------------------------------------------------------


def test_an_override_sets_a_value_and_is_named_where_it_stands():
    document = read(NESTED)
    place = document.override("teachers.big.model=resnet56")
    assert document.get(place) == "resnet56"
    assert document.where(place) == "--set teachers.big.model=resnet56"
    assert document.where(("teachers", "small")).endswith(":7")  # the rest stays where it was


@pytest.mark.parametrize("path", ["budgets.b.params", "budgets.1.params"])
def test_a_list_is_entered_by_name_or_position(path):
    document = read(NESTED)
    document.override(f"{path}=4 k")
    assert document.values["budgets"][1] == {"name": "b", "params": "4 k"}


def test_the_word_choose_may_be_left_out():
    document = read("space: {method: {choose: {kd: {temperature: 4}, ce: {}}}}")
    document.override("space.method.kd.temperature={log: [1, 8]}")
    assert document.values["space"]["method"]["choose"]["kd"]["temperature"] == {"log": [1, 8]}


def test_missing_mappings_are_made_and_a_word_gives_way_to_its_settings():
    document = read("space: {method: kd}")
    document.override("search.rungs.count=2")
    document.override("space.method.kd.temperature=2")
    assert document.values == {
        "space": {"method": {"kd": {"temperature": 2}}},
        "search": {"rungs": {"count": 2}},
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no equals sign", "this is not path.to.key=value"),
        ("a..b=1", "this is not path.to.key=value"),
        ("budgets.c.macs=1 M", "is a list without 'c'"),
        ("budgets.7.macs=1 M", "is a list without '7'"),
    ],
)
def test_an_override_that_leads_nowhere_is_a_fault(text, told):
    with pytest.raises(SpaceError) as error:
        read(NESTED).override(text)
    assert told in error.value.what and error.value.where == f"--set {text}"


def test_an_override_that_is_no_yaml_names_itself():
    with pytest.raises(Faults, match="--set name=\\[1: not YAML"):
        read(NESTED).override("name=[1")


# -- writing ---------------------------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words.filter(bool), inner, max_size=4),
    max_leaves=12,
)


@given(values=st.dictionaries(st.sampled_from(["a", "b", "1e3", "true", "null", "45 M", "yes"]), values, max_size=4))
def test_what_is_written_is_read_back_as_the_same(values):
    text = dump(values)
    found = read(text).values
    assert (found or {}) == values


@pytest.mark.parametrize("value", [1e-5, 0.1, 1e22, "1e-5", "45 M", "yes", "true", "null", "~", "", "0x1f", "a: b", "# c", None])
def test_words_that_look_like_numbers_stay_words(value):
    found = read(dump({"key": value})).values["key"]
    assert found == value and type(found) is type(value)
