"""Options that commands share, and the run that a word on the command line means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from autokd.cli.console import echo
from autokd.errors import AutokdError, did_you_mean

__all__ = ["Device", "Json", "Jsonl", "Name", "Quiet", "RunName", "Runs", "Set", "SpaceFile", "device_of", "find_run",
           "runs_in", "space_of"]  # fmt: skip

SpaceFile = Annotated[
    Path, typer.Argument(metavar="SPACE.yaml", help="The search space: a file, or the name of one that comes with autokd.")
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", envvar="AUTOKD_RUNS", help="Folder of all runs.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the run; the space's own where left out.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH.TO.KEY=VALUE", help="Override one value of the space; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help="Print what happens as JSON, one object a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]
RunName = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="A run's folder, its name, or the beginning of it; the newest where left out."),
]

Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:N; the GPU where there is one.")]

_LEDGER = "ledger.jsonl"  # what makes a folder a run


def space_of(word: Path, *, quiet: bool = False) -> Path:
    """The file of a space, told where it is one that comes with autokd. Raises SpaceError where there is none."""
    from autokd.config.shipped import find_space

    found = find_space(word)
    if found != word and not quiet:
        echo(f"space {word}: {found}, which comes with autokd", err=True)
    return found


def runs_in(folder: Path) -> list[Path]:
    """Every run below `folder`, the newest first; none where there is no such folder. Raises AutokdError where it is a file."""
    if not folder.is_dir():
        if folder.exists():
            raise AutokdError("this is no folder", where=str(folder), fix="name the folder of the runs: --runs DIR")
        return []
    found = [path for path in folder.iterdir() if (path / _LEDGER).is_file()]
    return sorted(found, key=lambda path: os.stat(path / _LEDGER).st_mtime, reverse=True)


def find_run(word: str | None, folder: Path, *, changes: bool = False) -> Path:
    """The folder of the run meant by `word`; where the names of several begin with it, the newest, with a message.

    changes: whether the command changes the run; it is then not guessed at. Raises AutokdError where no run is meant, or several.
    """
    known = runs_in(folder)
    if word is None:
        if known:
            return known[0]
        raise AutokdError(
            f"no runs in {folder}", fix="start one with `autokd search SPACE.yaml`, or name the folder: --runs DIR"
        )
    if not word.strip():  # as from a shell's variable that was never set: not the newest run, and not all of them
        raise AutokdError("the name of a run is empty", fix="name one, or leave the word out for the newest")
    path = Path(word)
    if (path / _LEDGER).is_file():
        return path
    exact = [run for run in known if run.name == word]
    starting = exact or [run for run in known if run.name.startswith(word)]
    if len(starting) == 1:
        return starting[0]
    names = [run.name for run in starting or known]
    if starting and changes:
        raise AutokdError(f"the names of {len(starting)} runs begin with {word!r}", fix=f"name one of them: {_listed(names)}")
    if starting:
        echo(f"the names of {len(starting)} runs begin with {word!r}; the newest is used: {starting[0].name}", err=True)
        return starting[0]
    told = f"runs there: {_listed(names)}" if names else f"no runs in {folder} yet"
    if path.exists():
        below = [run.name for run in runs_in(path)] if path.is_dir() else []
        inside = (
            f"runs in it: {_listed(below)}" if below else "a run is a folder with a ledger.jsonl in it; " + told
        )
        raise AutokdError("this is no run", where=word, fix=inside)
    raise AutokdError(f"no run {word!r} in {folder}{did_you_mean(word, names)}", fix=told)


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def device_of(word: str | None) -> str:
    """The device that `--device` names, the GPU where it names none and there is one. Raises AutokdError for one that is not."""
    import torch

    gpus = torch.cuda.device_count()
    if word is None:
        return "cuda" if gpus else "cpu"
    kind, _, number = word.partition(":")
    if word == "cpu" or (kind == "cuda" and gpus and (not number or (number.isdecimal() and int(number) < gpus))):
        return word
    there = ["cpu", *(f"cuda:{index}" for index in range(gpus))]
    raise AutokdError(f"no device {word!r} here", fix="one of: " + ", ".join(there))
