"""autokd runs: what lies in the folder of runs, and what of it may go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd.cli.console import echo, wrapped
from autokd.cli.documents import print_json
from autokd.cli.examples import epilog
from autokd.cli.options import Json, Quiet, Runs, find_run, runs_in
from autokd.cli.tables import print_table
from autokd.errors import AutokdError
from autokd.files import in_shell
from autokd.report.columns import Column, folded
from autokd.report.words import cost, percent

if TYPE_CHECKING:
    from autokd.search.kept import Listed, Waste

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)
_DAY = 86400.0


@app.callback(invoke_without_command=True)
def _runs(ctx: typer.Context, runs: Runs = Path("runs"), as_json: Json = False, quiet: Quiet = False) -> None:
    """List runs with their state and size, and delete what nothing needs any more."""
    if ctx.invoked_subcommand is None:
        _list(runs, as_json=as_json, quiet=quiet)
    elif any(getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE" for name in ctx.params):
        raise AutokdError(
            f"options of `autokd runs {ctx.invoked_subcommand}` stand behind that word",
            fix=f"autokd runs {ctx.invoked_subcommand} --help",
        )


@app.command("list", epilog=epilog("runs list"))
def _list_command(runs: Runs = Path("runs"), as_json: Json = False, quiet: Quiet = False) -> None:
    """List every run, the one changed last first."""
    _list(runs, as_json=as_json, quiet=quiet)


def _list(runs: Path, *, as_json: bool, quiet: bool) -> None:
    from autokd.search.kept import listed

    folders = runs_in(runs)
    if quiet and not as_json:
        echo("\n".join(folder.name for folder in folders) if folders else "")
        return
    found: list[Listed | tuple[Path, AutokdError]] = []
    for folder in folders:
        try:
            found.append(listed(folder))
        except AutokdError as fault:  # one damaged ledger hides no other run
            found.append((folder, fault))
    if as_json:
        print_json([_facts(one) for one in found])
        return
    if not found:
        wrapped(f"no runs in {runs}; start one with `autokd search SPACE.yaml`, or name the folder: --runs DIR")
        return
    columns = ("run", "state", "ended", "failed", "best", Column("size", 1), Column("spare", 3), Column("changed", 2))
    print_table(columns, [_row(one) for one in found])
    spare = sum(one.spare for one in found if not isinstance(one, tuple))
    if spare:
        echo(f"\nspare: {_bytes(spare)} that nothing needs any more; delete it with:\n  autokd runs prune{_option(runs)}")


def _facts(one: Listed | tuple[Path, AutokdError]) -> dict[str, Any]:
    if isinstance(one, tuple):
        return {"run": one[0].name, "folder": one[0], "state": "damaged", "fault": one[1].what}
    return {
        "run": one.folder.name,
        "folder": one.folder,
        "state": one.state,
        "trials": one.trials,
        "best_val_top1": one.best,
        "bytes": one.bytes,
        "spare_bytes": one.spare,
        "changed": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(one.changed)),
    }


def _row(one: Listed | tuple[Path, AutokdError]) -> tuple[Any, ...]:
    if isinstance(one, tuple):
        return (one[0].name, "damaged", "", "", "", "", "", "")
    ended = one.trials["done"] + one.trials["stopped"]
    changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.changed))
    spare = _bytes(one.spare) if one.spare else "-"
    return (one.folder.name, one.state, ended, one.trials["failed"], percent(one.best), _bytes(one.bytes), spare, changed)


@app.command(epilog=epilog("runs prune"))
def prune(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Runs, by name or folder; all that have ended where left out.")
    ] = None,
    runs: Runs = Path("runs"),
    everything: Annotated[
        bool, typer.Option("--all", help="Also checkpoints that a resume would go on from: such trials begin anew.")
    ] = False,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Only runs that last changed longer ago.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Delete checkpoints that nothing needs any more.

    Tables, ledgers, logs, reports and finished students stay, and so does what a resume would go on from.
    What would go is shown first. With --json nothing is deleted without --yes.
    """
    from autokd.search.kept import clear, waste
    from autokd.track.ledger import FILE, held

    chosen = [find_run(name, runs, changes=True) for name in dict.fromkeys(names)] if names else runs_in(runs)
    busy = [folder for folder in chosen if held(folder)]
    if busy and names:
        told = "a search is writing this run"
        raise AutokdError(told, where=str(busy[0]), fix=f"wait for its end, or end it: autokd stop {in_shell(busy[0])}")
    if older_than is not None:
        before = time.time() - older_than * _DAY
        chosen = [folder for folder in chosen if (folder / FILE).stat().st_mtime < before]
    found = {folder: some for folder in chosen if folder not in busy and (some := waste(folder, everything=everything))}
    total = sum(one.bytes for some in found.values() for one in some)
    if not as_json and not quiet:
        for folder in busy:
            echo(f"left as it is, since a search is writing it: {folder}")
        if not found:
            echo("nothing to delete")
            return
        rows = [row for folder, some in found.items() for row in _rows(folder, some)]
        print_table(("run", folded("what"), "count", "size"), rows)
        echo()
    if found and not yes and not as_json:
        typer.confirm(f"delete {_bytes(total)} of {len(found)} run{'s' * (len(found) > 1)}?", abort=True)
    freed = 0
    if yes or not as_json:
        freed = sum(clear(folder, some) for folder, some in found.items())
    if as_json:
        told_of = {folder.name: sum(one.bytes for one in some) for folder, some in found.items()}
        print_json({"spare_bytes": told_of, "bytes": total, "freed_bytes": freed, "busy": [folder.name for folder in busy]})
    elif quiet:
        echo(str(freed))
    else:
        echo(f"freed {_bytes(freed)}")


def _rows(folder: Path, some: list[Waste]) -> list[tuple[Any, ...]]:
    """A row for each kind of thing that may go."""
    kinds: dict[str, list[Waste]] = {}
    for one in some:
        kinds.setdefault(one.what, []).append(one)
    return [
        (folder.name if not number else "", what, len(each), _bytes(sum(one.bytes for one in each)))
        for number, (what, each) in enumerate(kinds.items())
    ]


def _bytes(size: int) -> str:
    return cost("file_size", size)


def _option(runs: Path) -> str:
    return "" if runs == Path("runs") else f" --runs {in_shell(runs)}"
