"""autokd cache: what lies on the disk so that it need not be computed again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from autokd.cli.console import echo
from autokd.cli.documents import print_json
from autokd.cli.examples import epilog
from autokd.cli.options import Json, Quiet
from autokd.cli.tables import print_table
from autokd.files import cache_root

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def _held(folder: Path) -> dict[str, tuple[int, int]]:
    """Files and bytes of each part of the cache."""
    held: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        files = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
        sizes = [_size(item) for item in files]
        part = path.name if path.is_dir() else "files"
        count, total = held.get(part, (0, 0))
        held[part] = (count + len(sizes), total + sum(sizes))
    return held


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process tidied up
        return 0


@app.command(epilog=epilog("cache info"))
def info(as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell what is kept, and where."""
    folder = cache_root()
    held = _held(folder)
    total = sum(size for _, size in held.values())
    if as_json:
        parts = {name: {"files": count, "bytes": size} for name, (count, size) in held.items()}
        print_json({"folder": folder, "bytes": total, "parts": parts})
    elif quiet:
        echo(str(total))
    else:
        echo(f"{folder}   (set AUTOKD_CACHE to move it)")
        if held:
            rows = [(name, count, _megabytes(size)) for name, (count, size) in held.items()]
            print_table(
                ("part", "files", "size"), [*rows, ("all", sum(c for c, _ in held.values()), _megabytes(total))]
            )
        else:
            echo("empty")


@app.command(epilog=epilog("cache clear"))
def clear(
    part: Annotated[
        str | None, typer.Argument(metavar="PART", help="One part, as `cache info` names it; all where left out.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Delete what is kept; it is computed again when next needed."""
    from autokd.errors import AutokdError, did_you_mean

    folder = cache_root()
    held = _held(folder)
    if part is not None and part not in held:
        raise AutokdError(
            f"no part {part!r} in {folder}{did_you_mean(part, held)}", fix="parts: " + (", ".join(held) or "none")
        )
    chosen = {name: size for name, (_, size) in held.items() if part in (None, name)}
    total = sum(chosen.values())
    if chosen and not yes and not as_json:
        typer.confirm(f"delete {_megabytes(total)} in {folder}?", abort=True)
    for name in chosen:
        if name == "files":
            for path in folder.iterdir():
                if path.is_file():
                    path.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder / name, ignore_errors=True)
    if as_json:
        print_json({"folder": folder, "freed_bytes": total})
    elif not quiet:
        echo(f"freed {_megabytes(total)}")


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
