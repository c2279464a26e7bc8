"""autokd doctor: what on this machine would stop or slow a search, and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autokd.cli.console import echo, print_json, print_table
from autokd.cli.options import Json, Quiet, Runs
from autokd.files import cache_root

__all__ = ["doctor"]


def doctor(
    runs: Runs = Path("runs"),
    gpu: Annotated[bool, typer.Option("--gpu", help="A GPU is needed: fail where none is seen.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check this machine: versions, GPU, disk, memory, limits. Ends with 1 where something fails."""
    from dataclasses import asdict

    from autokd.cli.health import examine

    findings = examine(runs, cache_root(), gpu=gpu)
    bad = [one for one in findings if one.state != "ok"]
    failed = [one for one in findings if one.state == "fail"]
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        shown = bad if quiet else findings
        if shown:
            print_table(("check", "", "what"), [(one.check, one.state, one.what) for one in shown])
        for one in bad:
            echo(f"{one.state}: {one.check}: {one.fix}")
        if not quiet:
            echo(f"\n{len(failed)} fail, {len(bad) - len(failed)} warn, {len(findings) - len(bad)} ok")
    if failed:
        raise typer.Exit(1)
