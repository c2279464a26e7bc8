"""The command `autokd`. Every command parses, calls what lies below, and prints what a person needs next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from autokd import __version__
from autokd.cli import (
    caching,
    confirming,
    copying,
    doctor,
    lists,
    results,
    runs,
    searching,
    simulating,
    spaces,
    teachers,
    using,
)
from autokd.cli import study as studying
from autokd.cli.documents import Document, error_of, opened
from autokd.cli.examples import epilog
from autokd.cli.options import Json
from autokd.cli.terminal import terminal
from autokd.errors import AutokdError, Interrupted
from autokd.files import full_disk
from autokd.machine import prepare

__all__ = ["app", "main"]

_SECTIONS = {
    "Search": (
        *("search", "resume", "status", "pause", "stop", "cancel", "show"),
        "report", "confirm", "finalize", "ui", "study", "simulate", "copy",
    ),
    "Use what was found": ("evaluate", "predict"),
    "Spaces": ("validate", "schema"),
    "What there is to choose from": ("models", "methods", "policies", "datasets"),
    "Around it": ("runs", "teacher", "cache", "doctor", "version"),
}


_USAGE: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class _Sections(TyperGroup):
    """The commands in the order of a person's work rather than of the alphabet."""

    def list_commands(self, ctx: Any) -> list[str]:
        told = [name for names in _SECTIONS.values() for name in names]
        return [*told, *(name for name in self.commands if name not in told)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, names in _SECTIONS.items():
            lines = [(f"{name:<{width}}", self.commands[name].get_short_help_str(limit=100)) for name in names]
            with formatter.section(title):
                formatter.write_dl(lines)


app = typer.Typer(
    cls=_Sections,
    name="autokd",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Find the best small vision model for each compute budget, by searching over knowledge distillation."""
    if version:
        print(__version__)
        raise typer.Exit()
    if ctx.invoked_subcommand != "doctor":  # which tells it as one of its checks
        prepare()


def version(as_json: Json = False) -> None:
    """Print the versions of autokd and of what it stands on."""
    spaces.versions(as_json)


for _command in (
    *(searching.search, searching.resume, searching.status, searching.pause, searching.stop, searching.cancel),
    *(results.show, results.report, confirming.confirm, results.finalize, results.ui),
    *(studying.study, simulating.simulate, copying.copy, using.evaluate, using.predict),
    *(spaces.validate, spaces.schema),
    *(lists.models, lists.methods, lists.policies, lists.datasets),
    *(doctor.doctor, version),
):
    app.command(epilog=epilog(_command.__name__))(_command)
app.add_typer(runs.app, name="runs", help="List runs with their state and size, and delete what nothing needs any more.")
app.add_typer(teachers.app, name="teacher", help="Train teachers, or check the ones a space names.")
app.add_typer(caching.app, name="cache", help="What is kept on disk: decoded data and teachers' answers.")


def main(args: Sequence[str] | None = None) -> None:
    """The entry point. Ends with 0, with 2 for what a person can mend (told without a traceback), with 130 for Ctrl-C."""
    with terminal():
        _run(args)


def _run(args: Sequence[str] | None) -> None:
    words = list(args) if args is not None else sys.argv[1:]
    with opened(words) as document:
        try:
            if document is not None and "--json" in words and "--jsonl" in words:
                raise AutokdError("--json and --jsonl are two forms of one output", fix="give one of them")
            returned = app(args=words, prog_name="autokd", standalone_mode=document is None)
            code = returned if isinstance(returned, int) else 0
        except Exception as error:
            code = _failed(error, document)
        if document is not None:
            try:
                document.end(code)
            except BrokenPipeError as error:
                code = _failed(error, None)
        sys.exit(code)


def _failed(error: Exception, document: Document | None) -> int:
    """Tell what went wrong, and give the exit code; what nobody thought of is raised again, with its traceback."""
    told: Exception = error
    if isinstance(error, BrokenPipeError):  # `autokd … | head`
        sys.stderr.close()
        return 141
    if isinstance(error, typer.Abort):
        print("autokd: not confirmed", file=sys.stderr)
        return 1
    if document is not None and isinstance(error, _USAGE):  # without a document typer tells it
        error.show()
        context = getattr(error, "ctx", None)
        way = f"{context.command_path} --help" if context is not None else ""
        told = AutokdError(error.format_message(), fix=way)
    elif not isinstance(error, AutokdError):
        full = full_disk(error)  # also where a library made something else of it
        told = full or error
        if isinstance(told, OSError) and not (full is None and told.filename is None):
            where = str(told.filename) if told.filename is not None else ""
            told = AutokdError((told.strerror or str(told)).lower(), where=where)
    if not isinstance(told, AutokdError):
        if document is not None:
            document.error = {"message": f"{type(error).__name__}: {error}", "where": "", "fix": "", "exit_code": 1}
            document.end(1)
        raise error
    if document is not None:
        document.error = error_of(told)
    sys.stdout.flush()
    if not isinstance(error, _USAGE):
        print(told if isinstance(told, Interrupted) else f"autokd: {told}", file=sys.stderr)
    return told.exit_code


if __name__ == "__main__":
    main()
