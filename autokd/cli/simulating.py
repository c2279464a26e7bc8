"""autokd simulate: what other schedulers would have found on a run's recorded curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autokd.cli.console import wrapped
from autokd.cli.documents import print_json
from autokd.cli.options import Json, Runs, find_run
from autokd.cli.tables import print_table
from autokd.errors import AutokdError
from autokd.report.columns import Column, folded

__all__ = ["simulate"]


def simulate(
    source: Annotated[str | None, typer.Argument(metavar="RUN|FILE.parquet", help="A run, or a table of curves.")] = None,
    scheduler: Annotated[
        list[str] | None, typer.Option("--scheduler", metavar="NAME", help="Only these; repeatable.")
    ] = None,
    share: Annotated[float, typer.Option(help="Views of a search, of all those recorded.")] = 0.3,
    repetitions: Annotated[int, typer.Option(min=2, help="Searches of each scheduler, in random orders.")] = 300,
    workers: Annotated[int, typer.Option(min=1, help="Trials at once.")] = 2,
    eta: Annotated[float, typer.Option(help="Of so many trials one goes on.")] = 3.0,
    rungs: Annotated[str | None, typer.Option(metavar="SHARES", help="Rungs, as shares of the full length.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random orders.")] = 0,
    keep: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Also write the curves into a table.")] = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Replay a run's recorded curves under several schedulers, at equal cost."""
    from autokd.search.simulate import SCHEDULERS
    from autokd.search.simulate import simulate as replayed
    from autokd.track.curves import write_curves

    curves, own = _curves(source, runs)
    if keep is not None:
        write_curves(curves, keep)
    outcomes = replayed(
        curves,
        schedulers=scheduler or list(SCHEDULERS),
        rungs=_shares(rungs) if rungs is not None else own,
        eta=eta,
        share=share,
        repetitions=repetitions,
        workers=workers,
        seed=seed,
    )
    if as_json:
        print_json([{**vars(one), "total": one.total} for one in outcomes])
        return
    budgets = list(outcomes[0].regret)
    wrapped(
        f"{len(curves)} recorded curves, {repetitions} searches of each scheduler, each with {share:.0%} of their views and "
        f"{workers} trials at once."
    )
    columns = ["scheduler", *(folded(f"regret, {name}", 1) for name in budgets), "summed", Column("no student", 2),
               Column("false kills", 3), Column("begun", 5), Column("ended", 4)]  # fmt: skip
    rows = [
        [
            one.scheduler,
            *(f"{100 * one.regret[name]:.2f} ± {100 * one.spread[name]:.2f}" for name in budgets),
            f"{100 * one.total:.2f}",
            f"{one.empty:.1%}",
            f"{one.false_kills:.0%}",
            f"{one.started:.1f}",
            f"{one.finished:.1f}",
        ]
        for one in outcomes
    ]
    print_table(columns, rows)
    wrapped("Regret: points of validation top-1 between the best of a budget that was recorded and the best that was found.")


def _curves(source: str | None, runs: Path) -> tuple[list[Any], tuple[float, ...]]:
    """The recorded curves, and the rungs of the run they come from."""
    from autokd.track.curves import curves_of_run, read_curves

    default = (0.15, 0.28, 0.53)
    if source is not None and source.endswith(".parquet") and Path(source).is_file():
        return read_curves(source), default
    from autokd.config.search_space import load_space
    from autokd.search.run import SPACE
    from autokd.track.ledger import FILE, read_events
    from autokd.track.recorder import rows_of

    folder = find_run(source, runs)
    macs = {row["trial"]: row["macs"] or 0 for row in rows_of(folder)}
    curves = curves_of_run(read_events(folder / FILE), macs)
    search = load_space(folder / SPACE).search
    return curves, tuple(search.rungs.shares()) or default


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise AutokdError(f"--rungs {text!r} are no numbers", fix="for example --rungs 0.25,0.5") from None
