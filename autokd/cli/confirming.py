"""autokd confirm: train the best few of each budget again with fresh seeds, choose, and say whether the search paid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd.cli.options import Json, Jsonl, Quiet, RunName, Runs, find_run
from autokd.cli.searching import planned, watched
from autokd.errors import AutokdError, did_you_mean

if TYPE_CHECKING:
    from autokd.config.sections import ConfirmSettings
    from autokd.search.run import Run

__all__ = ["confirm"]


def confirm(
    run: RunName = None,
    runs: Runs = Path("runs"),
    top: Annotated[int | None, typer.Option("--top", min=1, max=1000, help="Candidates of each budget.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=2, max=1000, help="Fresh seeds of each, at most.")] = None,
    prefer: Annotated[
        str | None, typer.Option("--prefer", metavar="cheapest|accurate", help="Among those as good as the best.")
    ] = None,
    control: Annotated[
        list[str] | None, typer.Option("--control", metavar="ce|kd", help="Only this control; repeatable.")
    ] = None,
    random: Annotated[
        bool | None, typer.Option("--random/--no-random", help="Also against a random search of equal cost.")
    ] = None,
    hours: Annotated[float | None, typer.Option("--hours", min=0, help="The longest it may take.")] = None,
    as_json: Json = False,
    as_lines: Jsonl = False,
    quiet: Quiet = False,
) -> None:
    """Train the best again with fresh seeds, choose, and compare."""
    folder = find_run(run, runs, changes=True)
    given = {"top": top, "seeds": seeds, "prefer": prefer, "controls": control or None, "random": random}
    settings = _settings(folder, {key: value for key, value in given.items() if value is not None})

    def begin(watch: Any) -> Run:
        from autokd.config.search_space import load_space
        from autokd.search.run import Run

        space = load_space(folder / "space.yaml")
        watch.board.plan(**{**planned(space), "name": folder.name, "limits": {}})
        watch.board.run = str(folder)
        made = Run(folder)
        made.confirm(settings=settings, hours=hours, on_event=watch, space=space)
        return made

    watched(begin, as_json=as_json or as_lines, quiet=quiet, again="confirm")


def _settings(folder: Path, given: dict[str, Any]) -> ConfirmSettings:
    """What the run was confirmed with before, or its space asks for, with what was given on the command line."""
    from autokd.config.sections import ConfirmSettings
    from autokd.search.confirm import kept_settings

    known = {"prefer": ("cheapest", "accurate"), "controls": ("ce", "kd")}
    for key, words in known.items():
        asked = given.get(key, [])
        for word in [asked] if isinstance(asked, str) else asked:
            if word not in words:
                raise AutokdError(f"no {key.rstrip('s')} {word!r}{did_you_mean(word, words)}", fix=f"one of: {', '.join(words)}")
    return ConfirmSettings(**{**kept_settings(folder).model_dump(), **given})
