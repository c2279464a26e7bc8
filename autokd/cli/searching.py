"""autokd search, resume, status: start a search, go on with one, and see how far one is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from autokd.cli.console import echo
from autokd.cli.documents import print_json
from autokd.cli.options import Json, Jsonl, Name, Quiet, RunName, Runs, Set, SpaceFile, find_run, runs_in, space_of
from autokd.errors import AutokdError, Interrupted, SearchFailed
from autokd.files import in_shell

if TYPE_CHECKING:
    from autokd.report.summary import Summary
    from autokd.search.run import Run

__all__ = ["cancel", "pause", "planned", "resume", "search", "status", "stop", "watched"]

Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Most trials; the same as --set search.trials=N.")]
Hours = Annotated[
    float | None, typer.Option("--hours", min=0, help="Longest wall time; the same as --set search.hours=N.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the search; the same as --set search.seed=N.")]
Address = Annotated[
    str | None, typer.Option("--address", help="Address of a Ray cluster; a Ray of its own where left out.")
]


def search(
    space: SpaceFile,
    runs: Runs = Path("runs"),
    name: Name = None,
    changes: Set = None,
    trials: Trials = None,
    hours: Hours = None,
    seed: Seed = None,
    address: Address = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Confirm the winners at the end, as with a `confirm` section in the space.")
    ] = False,
    as_json: Json = False,
    as_lines: Jsonl = False,
    quiet: Quiet = False,
) -> None:
    """Search for the best student of each budget."""
    overrides = list(changes or [])
    short = {"search.trials": trials, "search.hours": hours, "search.seed": seed, "resources.address": address}
    overrides += [f"{path}={value}" for path, value in short.items() if value is not None]

    file = space_of(space, quiet=quiet)

    def begin(watch: Any) -> Run:
        from autokd.config.search_space import load_space

        loaded = load_space(file, overrides=overrides)
        if confirm and loaded.confirm is None:
            from dataclasses import replace

            from autokd.config.sections import ConfirmSettings

            loaded = replace(loaded, confirm=ConfirmSettings())
        watch.board.plan(**planned(loaded))
        from autokd.search.run import search as start

        return start(loaded, runs=runs, name=name, on_event=watch, at_end=_report(watch))

    watched(begin, as_json=as_json or as_lines, quiet=quiet)


def resume(
    run: RunName = None,
    runs: Runs = Path("runs"),
    changes: Set = None,
    trials: Trials = None,
    hours: Hours = None,
    address: Address = None,
    add_trials: Annotated[int, typer.Option("--add-trials", min=0, help="So many trials more than were to be tried.")] = 0,
    add_budget: Annotated[
        list[str] | None,
        typer.Option("--add-budget", metavar="NAME:macs=20M", help="One more budget; what was tried counts for it. Repeatable."),
    ] = None,
    longer: Annotated[
        float | None,
        typer.Option("--longer", metavar="EPOCHS", min=0, help="A greater full length; the best go on from where they ended."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed trials once more.")] = False,
    as_json: Json = False,
    as_lines: Jsonl = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a search that was cut off, or extend it."""
    folder = find_run(run, runs, changes=True)
    overrides = list(changes or [])
    if add_trials and trials is not None:
        raise AutokdError("--trials and --add-trials say two things of one limit", fix="give one of them")
    short = {"search.trials": trials, "search.hours": hours, "resources.address": address}
    overrides += [f"{path}={value}" for path, value in short.items() if value is not None]

    def begin(watch: Any) -> Run:
        from autokd.search.run import resume as go_on

        def catch_up(space: Any, past: list[dict[str, Any]]) -> None:
            watch.board.plan(**planned(space))
            watch.board.catch_up(past)

        more: dict[str, Any] = {"add_trials": add_trials, "add_budgets": add_budget or []}
        more |= {"longer": longer, "retry_failed": retry_failed, "on_past": catch_up}
        return go_on(folder, overrides=overrides, on_event=watch, at_end=_report(watch), **more)

    watched(begin, as_json=as_json or as_lines, quiet=quiet)


def pause(run: RunName = None, runs: Runs = Path("runs")) -> None:
    """Pause the search that another terminal runs: its trials stop at their next checkpoint."""
    _ask("pause", run, runs)


def stop(run: RunName = None, runs: Runs = Path("runs")) -> None:
    """End the search that another terminal runs, once the trials that have begun are finished."""
    _ask("stop", run, runs)


def cancel(run: RunName = None, runs: Runs = Path("runs")) -> None:
    """End the search that another terminal runs at once; each trial keeps its last checkpoint."""
    _ask("cancel", run, runs)


def _ask(word: str, run: str | None, runs: Path) -> None:
    from autokd.search.control import WORDS, ask
    from autokd.track.ledger import held

    working = [folder for folder in runs_in(runs) if held(folder)] if run is None else []
    if len(working) > 1:
        names = ", ".join(folder.name for folder in working)
        raise AutokdError(f"{len(working)} runs are being worked on", fix=f"name the one to {word}: {names}")
    folder = working[0] if working else find_run(run, runs, changes=True)
    ask(folder, word)
    echo(f"asked {folder} to {word}: {WORDS[word]}")
    echo(f"look     autokd status {in_shell(folder)}")
    echo(f"go on    autokd resume {in_shell(folder)}")


def _report(watch: Any) -> Any:
    """Writes the run's page once its search has ended, before MLflow is given its files."""

    def write(folder: Path) -> None:
        from autokd.cli.results import keep_report

        watch({"event": "phase", "text": "writing report.html"})
        keep_report(folder)

    return write


def planned(space: Any) -> dict[str, Any]:
    """What the live table shows of a space before the search begins: its name, budgets and limits."""
    budgets = [budget.to_dict() for budget in space.budgets]
    limits = {key: getattr(space.search, key, None) for key in ("trials", "hours", "images", "gpu_hours")}
    return {"name": space.name, "budgets": budgets, "limits": limits}


def watched(begin: Any, *, as_json: bool, quiet: bool, again: str = "resume") -> None:
    """Run a search under the eyes of whoever started it, then tell its result and what to type next.

    again: the command that goes on where it is stopped.
    """
    from autokd.cli.live import follow

    failed: SearchFailed | None = None
    with follow(as_json=as_json, quiet=quiet) as watch:
        try:
            place = str(begin(watch).folder)
        except KeyboardInterrupt:
            place = ""
        except SearchFailed as fault:
            place, failed = watch.board.run, fault
    if not place and failed is None:
        _interrupted(watch.board.run, again)
    if failed is not None and not (place and watch.board.trials):  # refused before anything was trained
        raise failed
    folder = Path(place)
    if _newer(folder / "confirm.json", folder / "report.html"):
        from autokd.cli.results import keep_report

        keep_report(folder, again=True)
    from autokd.report.summary import summarise

    told = summarise(folder)
    if as_json:
        print_json({"run": folder, **told.to_dict()})
    elif quiet:
        echo(str(folder))
    else:
        _tell(folder, told)
    if failed is not None:
        raise failed
    if watch.board.ended in ("paused", "stopped", "cancelled"):
        _interrupted(str(folder), again)


def _tell(folder: Path, told: Summary) -> None:
    """The result for a person, and the commands that come next."""
    from autokd.cli.results import print_summary

    echo()
    print_summary(told, short=True)
    echo()
    echo(f"run      {folder}")
    if (folder / "report.html").exists():
        echo(f"page     {folder / 'report.html'}")
    echo(f"look     autokd report {in_shell(folder)}   ·   autokd ui --runs {in_shell(folder.parent)}")
    if told.no_students:
        return
    if told.select == "validation" and not (folder / "confirm.json").exists():
        echo(f"confirm  autokd confirm {in_shell(folder)}")
    echo(f"finish   autokd finalize {in_shell(folder)}")


def _newer(path: Path, than: Path) -> bool:
    return path.exists() and (not than.exists() or path.stat().st_mtime > than.stat().st_mtime)


def _interrupted(folder: str, again: str) -> NoReturn:
    """Nothing finished is lost: say how to go on, and end as a shell expects of Ctrl-C."""
    if not folder:
        raise Interrupted("stopped before the run began; nothing was written")
    raise Interrupted("stopped; every finished trial is kept. Go on with:", fix=f"autokd {again} {in_shell(folder)}")


def status(run: RunName = None, runs: Runs = Path("runs"), as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell how far a run is, also while it runs."""
    from autokd.cli.results import print_status
    from autokd.report.summary import summarise

    folder = find_run(run, runs)
    print_status(folder, summarise(folder), as_json=as_json, quiet=quiet)
