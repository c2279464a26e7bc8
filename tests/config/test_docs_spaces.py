"""docs/spaces.md names every key of a space file with the default that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from autokd.config import sections, tree
from autokd.config.search_space import load_space
from autokd.config.trial import RecipeConfig
from autokd.space.document import Document

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "spaces.md").read_text(encoding="utf-8")


def tables() -> dict[str, list[dict[str, str]]]:
    """Under each heading its tables of keys, each as {key: default}, without the parts of other headings."""
    found: dict[str, list[dict[str, str]]] = {}
    title = ""
    for line in PAGE.splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ")
        elif line.startswith("| key |"):
            found.setdefault(title, []).append({})
        elif (row := re.match(r"\| `(\w+)` \| (.*?) ?\| .*\|$", line)) and title in found:
            found[title][-1][row[1]] = row[2].strip()
    return found


def shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def fields(model: Any) -> dict[str, str]:
    """Each key of a section with its default as the page shows it; "" where it must be given or is a section itself."""
    told = {}
    for name, field in model.model_fields.items():
        value = field.get_default(call_default_factory=True)
        told[name] = "" if value is PydanticUndefined or isinstance(value, sections.Section) else shown(value)
    return told


def settings(*parts: Any) -> dict[str, str]:
    return {s.name: "" if s.required else shown(s.default) for part in parts for s in part}


RECIPE = RecipeConfig()
EXPECTED = {
    "data": [fields(sections.DataSection)],
    "teachers": [fields(sections.TeacherSection)],
    "train": [fields(sections.TrainSection)],
    "students": [fields(sections.StudentsSection), fields(sections.StudentItem)],
    "loss": [settings(tree.LOSS)],
    "policy": [settings(tree.POLICY_EXTRAS), settings(tree.STEP)],
    "recipe": [
        {"optimizer": RECIPE.optimizer, "schedule": RECIPE.schedule}
        | settings(tree.RECIPE, *tree.OPTIMIZERS.values(), *tree.SCHEDULES.values())
    ],
    "budgets": [fields(sections.BudgetSection)],
    "search": [fields(sections.SearchSettings)],
    "rungs": [fields(sections.Rungs)],
    "resources": [fields(sections.Resources)],
    "tracking": [fields(sections.Tracking)],
    "finalize": [fields(sections.FinalizeSettings)],
    "signals": [fields(sections.SignalSettings)],
}


@pytest.mark.parametrize("title", EXPECTED)
def test_every_key_stands_on_the_page_with_its_default_and_no_other_key(title):
    assert tables()[title] == EXPECTED[title]


def test_every_section_has_a_heading_and_every_branch_and_word_a_mention():
    headings = re.findall(r"^##+ (\w+)$", PAGE, re.MULTILINE)
    assert set(sections.SpaceFile.model_fields) | set(tree.PARTS) <= set(headings)
    for name in (*tree.OPTIMIZERS, *tree.SCHEDULES, "uniform", "log", "int", "choose", "prior", "search", "also"):
        assert re.search(rf"\b{name}\b", PAGE)
    assert set(tables()) == set(EXPECTED)


def test_what_is_left_out_is_what_the_page_says():
    recipe = {s.name: s.default for part in (tree.RECIPE, *tree.OPTIMIZERS.values(), *tree.SCHEDULES.values()) for s in part}
    assert recipe == {key: getattr(RECIPE, key) for key in recipe}  # two places give defaults, and they agree
    teachers = {"t": {"model": "resnet14", "train": {}}}
    space = load_space({"name": "x", "data": {"name": "digits"}, "students": ["resnet8"], "teachers": teachers})
    assert space.methods == ("kd",) and space.tree.policy.names == ("none",) and space.tree.ratio.prior == 0.5


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_every_example_of_the_page_is_a_valid_space(block):
    space = load_space(Document.from_text(block).values)
    assert space.knobs() and space.pairs()
