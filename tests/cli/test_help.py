from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer

from autokd.cli.examples import EXAMPLES
from autokd.cli.main import app, main

ROOT: Any = typer.main.get_command(app)


def commands() -> dict[str, Any]:
    """Every command by its words."""
    found = {}
    for name, command in ROOT.commands.items():
        below = getattr(command, "commands", None)
        found |= {f"{name} {word}": one for word, one in below.items()} if below else {name: command}
    return found


def test_every_command_has_examples_and_every_example_a_command():
    assert set(EXAMPLES) == set(commands())


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_read_by_the_commands_own_parser(name: str):
    for line in EXAMPLES[name]:
        words = shlex.split(line.split(" > ")[0])
        assert words[: 1 + len(name.split())] == ["autokd", *name.split()]
        commands()[name].make_context(name, words[1 + len(name.split()) :])  # exits where it cannot be read


@pytest.mark.parametrize("name", ["", *EXAMPLES])
def test_help_tells_what_it_does_every_option_and_examples_in_a_hundred_columns(name: str, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert not end.value.code and max(map(len, text.splitlines())) <= 100
    if name:
        for line in EXAMPLES[name]:
            assert f"    {line}\n" in text
        for parameter in commands()[name].params:
            told = getattr(parameter, "help", None)
            assert told and told in " ".join(text.split()), parameter.name
            assert parameter.param_type_name == "argument" or any(f"{word} " in text for word in parameter.opts)
    else:
        assert all(f"  {word} " in text for word in ROOT.commands)
