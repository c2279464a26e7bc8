"""What the README says can be done: its commands exist, its links lead somewhere, its set-up fits on one line each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autokd.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def block(name: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```\n(.*?)```\n<!-- end -->", text, re.DOTALL)
    assert found, f"the README has no block {name!r}"
    return found.group(1).strip().splitlines()


def commands() -> set[str]:
    import typer.main

    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "end"), [("main command", "autokd search search_spaces/digits.yaml"), ("test command", "pytest")]
)
def test_set_up_and_command_are_one_line(name, end):
    (line,) = block(name)
    assert "install" in line and line.endswith(end)


def test_the_transcript_is_of_the_main_command():
    lines = block("transcript")
    assert any("search finished" in line for line in lines) and any("Best student of each budget" in line for line in lines)
    assert max(map(len, lines)) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_named_exists(page):
    text = page.read_text(encoding="utf-8")
    told = re.findall(r"`autokd ([a-z]+)", text)
    for fence in re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        told += re.findall(r"^(?:\$ )?(?:\.venv/bin/)?autokd ([a-z]+)", fence, re.MULTILINE)
    assert set(told) <= commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_shipped_space_is_listed():
    pages = {"": ROOT / "README.md", "published": ROOT / "docs" / "published.md"}
    for folder, page in pages.items():
        text = page.read_text(encoding="utf-8")
        for path in (ROOT / "search_spaces" / folder).glob("*.yaml"):
            assert f"`{path.name}`" in text, path.name
