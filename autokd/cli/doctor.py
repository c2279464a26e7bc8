"""autokd doctor: what is wrong with an installation, and the way out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from autokd.cli.console import echo
from autokd.cli.documents import print_json
from autokd.cli.options import Json, Quiet, Runs
from autokd.cli.tables import print_table
from autokd.report.columns import folded

__all__ = ["doctor"]


def doctor(
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port that `autokd ui` would use.")] = 5000,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check the installation and the machine; end with 1 where something cannot work."""
    from autokd.cli.checks import all_checks

    made = all_checks(runs, port=port)
    bad = [one for one in made if one.state != "ok"]
    failed = any(one.state == "fail" for one in made)
    if as_json:
        print_json([asdict(one) for one in made])
    else:
        shown = bad if quiet else made
        if shown:
            print_table(("", "what", folded("found")), [(one.state, one.name, one.found) for one in shown])
        if bad:
            echo()
            for one in bad:
                echo(f"{one.name}: {one.fix}")
        elif not quiet:
            echo("\nnothing to mend")
    if failed:
        raise typer.Exit(1)
