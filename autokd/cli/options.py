"""Options that commands share, and the run that a word on the command line means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from autokd.errors import AutokdError, did_you_mean

__all__ = ["Json", "Name", "Quiet", "RunName", "Runs", "Set", "find_run", "runs_in"]

Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", envvar="AUTOKD_RUNS", help="Folder of all runs.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the run; the space's own where left out.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH.TO.KEY=VALUE", help="Override one value of the space; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]
RunName = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="A run's folder, its name, or the beginning of it; the newest where left out."
    ),
]

_MARKS = ("ledger.jsonl", "space.yaml", "trials.parquet")


def runs_in(folder: Path) -> list[Path]:
    """Every run below `folder`, the newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and any((path / mark).exists() for mark in _MARKS)]
    return sorted(found, key=_touched, reverse=True)


def _touched(path: Path) -> float:
    return max((os.stat(path / mark).st_mtime for mark in _MARKS if (path / mark).exists()), default=0.0)


def find_run(word: str | None, folder: Path) -> Path:
    """The folder of the run meant by `word`. Raises AutokdError where there is none, or more than one."""
    known = runs_in(folder)
    if word is None:
        if known:
            return known[0]
        raise AutokdError(
            f"no runs in {folder}", fix="start one with `autokd search SPACE.yaml`, or name the folder: --runs DIR"
        )
    path = Path(word)
    if path.is_dir() and any((path / mark).exists() for mark in _MARKS):
        return path
    exact = [run for run in known if run.name == word]
    starting = exact or [run for run in known if run.name.startswith(word)]
    if len(starting) == 1:
        return starting[0]
    names = [run.name for run in starting or known]
    if starting:
        raise AutokdError(f"{word!r} begins the names of {len(starting)} runs", fix="one of: " + ", ".join(names[:8]))
    told = "runs there: " + ", ".join(names[:8]) if names else "there are none yet"
    raise AutokdError(f"no run {word!r} in {folder}{did_you_mean(word, names)}", fix=told)
