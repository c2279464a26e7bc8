"""autokd copy: a run to object storage, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autokd.cli.console import echo
from autokd.cli.options import Runs, find_run
from autokd.errors import AutokdError
from autokd.files import in_shell

__all__ = ["copy"]


def copy(
    source: Annotated[str, typer.Argument(metavar="RUN", help="A run, as its name or folder; or the address of a copy.")],
    target: Annotated[str | None, typer.Argument(metavar="ADDRESS", help="Where to: s3://bucket/runs, gs://bucket/runs.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Copy a run to object storage, or one from there into the folder of runs."""
    from autokd.track.mirror import fetch, is_address, keep, shown

    if is_address(source):
        if target is not None:
            raise AutokdError("a copy is fetched into the folder of runs", where=source, fix="name that folder with --runs")
        runs.mkdir(parents=True, exist_ok=True)
        folder = fetch(source, runs)
        echo(f"copied to {folder}\ngo on with it: autokd resume {in_shell(folder)}")
        return
    if target is None or not is_address(target):
        raise AutokdError(f"{target or 'nothing'} is no address", fix="for example autokd copy RUN s3://bucket/runs")
    folder = find_run(source, runs)
    files, size = keep(folder, target)
    echo(f"{files} files, {size / 2**20:.1f} MiB copied to {shown(target)}/{folder.resolve().name}")
