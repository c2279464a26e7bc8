"""autokd report, show, finalize, ui: what came out, and what to do with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd.cli.console import echo, wrapped
from autokd.cli.documents import emit, print_json
from autokd.cli.finals import print_finals
from autokd.cli.hosts import ANY, LOOPBACK, check, hint, settings, taken
from autokd.cli.options import Device, Json, Jsonl, Quiet, RunName, Runs, device_of, find_run
from autokd.cli.tables import print_table
from autokd.errors import AutokdError, Interrupted, did_you_mean, together
from autokd.files import in_shell
from autokd.report.columns import Column, folded
from autokd.report.words import amount, duration, percent, progress
from autokd.train.report import Sparse

if TYPE_CHECKING:
    from autokd.report.summary import Section, Summary

__all__ = ["finalize", "keep_report", "print_status", "print_summary", "report", "show", "ui"]

Form = Annotated[
    str, typer.Option("--format", "-f", metavar="table|md|csv|json|html", help="How to print it; html writes report.html.")
]
Compare = Annotated[
    str | None, typer.Option("--compare", metavar="RUN2", help="Lay another run beside it: its front, and each budget's best.")
]


def report(
    run: RunName = None,
    runs: Runs = Path("runs"),
    form: Form = "table",
    compare: Compare = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print the best students and the front, or write them as a page with figures."""
    from autokd.report.summary import render, summarise

    folder = find_run(run, runs)
    other = find_run(compare, runs) if compare is not None else None
    form = "json" if as_json else form
    if form == "html":
        from autokd.report.run_page import write_report

        echo(str(write_report(folder, compare=other)))
        return
    summary = summarise(folder)
    if other is None:
        if form == "table":
            print_summary(summary, short=quiet)
        elif form == "json":
            print_json(summary.to_dict())
        else:
            echo(render(summary, form))
        return
    from autokd.report.compare import as_csv, as_dicts, as_section, differences
    from autokd.report.courses import read_run

    one, two = read_run(folder), read_run(other)
    found = differences(one, two)
    if form == "table":
        print_summary(summary, short=quiet, more=[as_section(one, two, found)])
    elif form == "json":
        print_json({**summary.to_dict(), "compare": {"run": two.run, "budgets": as_dicts(found)}})
    elif form == "csv":
        echo(as_csv(found))
    else:
        echo(render(summary, form, [as_section(one, two, found)]))


def keep_report(folder: Path, *, again: bool = False) -> Path | None:
    """Write report.html at the end of a command; where that cannot be done, say so and go on, since the run is kept.

    again: MLflow has the files of this search already, and is given the new ones.
    """
    from autokd.report.run_page import write_report

    page = None
    try:
        page = write_report(folder)
    except (AutokdError, OSError) as fault:
        echo(f"report.html could not be written: {fault}", err=True)
    if again:
        from autokd.track.mlflow_files import keep_files

        keep_files(folder, complain=lambda told: echo(told, err=True))
    return page


def print_summary(summary: Summary, *, short: bool = False, more: Sequence[Section] = ()) -> None:
    from autokd.report.summary import headline, sections

    for line in headline(summary).splitlines():
        wrapped(line)
    for section in (*sections(summary, short=short), *more):
        echo()
        if section.rows:
            print_table(section.columns, section.rows, title=section.title)
        else:
            echo(f"{section.title}: {section.none}")


def print_status(folder: Path, summary: Summary, *, as_json: bool, quiet: bool) -> None:
    """How far a run is."""
    from autokd.track.state import RunState

    state = summary.state
    if as_json:
        best = {
            name: {"trial": pick.trial, "val_top1": pick.val_top1, "student": pick.student} if pick else None
            for name, pick in summary.best.items()
        }
        facts = {"run": folder, "state": state, "reason": summary.reason, "seconds": summary.seconds, "select": summary.select}
        print_json({**facts, "trials": summary.counts, "images": summary.images, "best": best, "empty": summary.empty})
        return
    if quiet:
        echo(state)
        return
    print_summary(summary, short=True)
    if RunState(state).unfinished:
        echo(f"\ngo on with   autokd resume {in_shell(folder)}")


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its name, or the beginning of it.")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The trial's name, as the tables give it.")],
    runs: Runs = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell all of one trial: its configuration, every report, and what was said where it broke."""
    import json

    from autokd.search.kept import ERRORS, PLACE
    from autokd.track.recorder import rows_of

    folder = find_run(run, runs)
    every = rows_of(folder)
    rows = [row for row in every if row["trial"] == trial]
    if not rows:
        names = list(dict.fromkeys(row["trial"] for row in every))
        told = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
        raise AutokdError(
            f"no trial {trial!r} in {folder.name}{did_you_mean(trial, names)}", fix=f"trials: {told or 'none yet'}"
        )
    config, log = json.loads(rows[-1]["config"] or "{}"), folder / PLACE / trial / ERRORS
    if as_json:
        reports = [{key: value for key, value in row.items() if key not in ("config", "version")} for row in rows]
        print_json({"trial": trial, "config": config, "reports": reports, "log": log if log.exists() else None})
        return
    last = rows[-1]
    if quiet:
        echo(percent(last["val_top1"]))
        return
    reason = f" ({last['reason']})" if last["reason"] else ""
    echo(f"trial {trial} of {folder.name}: {last['status']}{reason}")
    told = f"{last['student']}: {amount(last['params'])} params, {amount(last['macs'])} MACs, found for budget {last['budget']}"
    echo(told + (f", trained in {last['precision']}" if last["precision"] else ""))
    echo()
    table = [
        (row["rung"], f"{row['epochs'] or 0:g}", row["images"] or 0, percent(row["val_top1"]), _number(row["val_loss"]),
         _number(row["train_loss"]), duration(row["seconds"]))
        for row in rows
    ]  # fmt: skip
    columns = ("rung", "epochs", Column("images", 4), "val top-1", Column("val loss", 1), Column("train loss", 2),
               Column("time", 3))  # fmt: skip
    print_table(columns, table, title="Reports")
    echo()
    print_table(("setting", folded("value")), list(_flat(config)), title="Configuration")
    if last["checkpoint"]:
        echo(f"\ncheckpoint   {last['checkpoint']}")
    _print_log(log)


def _print_log(path: Path, lines: int = 15) -> None:
    """The end of what was said when a trial's process or time ended, where there is such a file."""
    try:
        said = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    echo(f"\nlog          {path}" + (f", its last {lines} of {len(said)} lines:" if len(said) > lines else ""))
    for line in said[-lines:]:
        echo(f"  {line}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _flat(value: Any, path: str = "") -> Any:
    """(path, value) of every leaf that says something."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else key)
    elif value not in (None, {}, []):
        yield path, str(value)


def finalize(
    run: RunName = None,
    runs: Runs = Path("runs"),
    budget: Annotated[list[str] | None, typer.Option("--budget", help="Only this budget; repeatable.")] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", min=0.01, help="Full length; the space's own where left out.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, max=1000, help="Trainings of each student.")] = None,
    train_on: Annotated[
        str | None,
        typer.Option("--train-on", metavar="train|train+validation", help="Which images the students train on."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--formats", metavar="safetensors,pt2,onnx,int8", help="Files to write; all where left out."),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option("--target", metavar="SHARE", help="Accuracy that the confidence threshold is to reach."),
    ] = None,
    external: Annotated[
        list[str] | None,
        typer.Option(
            "--external", metavar="NAME=PATH", help="Score on images from elsewhere too, a folder or table; repeatable."
        ),
    ] = None,
    register: Annotated[
        str | None, typer.Option("--register", metavar="NAME", help="Register the ONNX students in MLflow.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
    as_lines: Jsonl = False,
    quiet: Quiet = False,
) -> None:
    """Retrain the best at full length, test once, write them out."""
    folder = find_run(run, runs, changes=True)
    device = device_of(device) if device is not None else None
    start = time.monotonic()

    sparse: dict[tuple[str, int], Sparse] = {}

    def watch(event: dict[str, Any]) -> None:
        if as_lines:
            emit(event)
        elif not (as_json or quiet) and (line := _line_of(event, sparse)):
            echo(f"[{duration(time.monotonic() - start):>5}] {line}")

    if not (as_json or as_lines or quiet):
        echo(f"[ 0:00] finalizing {folder}")
    from autokd.finalize.external import named
    from autokd.finalize.retrain import finalize as finish
    from autokd.search.run import secretless

    try:
        finals = finish(
            folder,
            epochs=epochs,
            seeds=seeds,
            budgets=budget or None,
            train_on=train_on,
            formats=formats or None,
            target=target,
            external=named(external or []),
            register=register,
            device=device,
            on_event=watch,
            command=" ".join(["autokd", *secretless(sys.argv[1:])]),
        )
    except KeyboardInterrupt:
        way = f"autokd finalize {in_shell(folder)}"
        raise Interrupted("stopped; finished trainings are kept. Go on with:", fix=way) from None
    page = keep_report(folder, again=True)
    if as_json or as_lines:
        print_json({name: final.metrics for name, final in finals.items()})
    elif quiet:
        for final in finals.values():
            echo(str(final.folder))
    else:
        echo()
        print_finals(finals, page)
    if finals.failed:
        raise together({f"budget {name}": fault for name, fault in finals.failed.items()})


def _line_of(event: dict[str, Any], sparse: dict[tuple[str, int], Sparse]) -> str:
    """What is printed of an event of finalize; '' where it is not worth a line."""
    if event["event"] != "progress":
        return str(event["text"])
    names = " and ".join(event["budgets"])
    known = sparse.setdefault((names, event["seed"]), Sparse())
    if not known.due(event["epochs"], event["total_epochs"], look=False):
        return ""
    told = (event["epochs"], event["total_epochs"], event["val_top1"], event["seconds_left"])
    return f"{names}: seed {event['seed']} at {progress(*told)}"


def ui(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="The search to open; the one that began or was resumed last where left out."),
    ] = None,
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other than 127.0.0.1, others can read and delete.")
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="NAME", help="A name of this machine that others ask by; repeatable."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser once it answers.")] = True,
    quiet: Quiet = False,
) -> None:
    """Browse every trial in MLflow, on this machine only unless --host says otherwise.

    It opens on a search's trials, grouped by budget.
    """
    folder = find_run(run, runs) if run is not None else None
    runs = folder.parent if folder is not None else runs
    from autokd.track.mlflow_files import close_cut_off, store_uri

    store = runs.resolve() / "mlflow.db"
    if not store.exists():
        raise AutokdError(
            f"no MLflow store in {runs}", fix="start a search first, or name the folder of the runs: --runs DIR"
        )
    check(host)
    if told := taken(port, host):
        raise AutokdError(told, fix="another one: --port N")
    address = f"http://{'127.0.0.1' if host == ANY else host}:{port}"
    if host not in LOOPBACK:
        warning = f"warning: whoever reaches {host}:{port} can read and delete every trial: no password stands before it"
        print(warning, file=sys.stderr)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store_uri(runs),
               "--default-artifact-root", (store.parent / "mlartifacts").as_uri(),
               "--host", host, "--port", str(port), "--workers", "1"]  # fmt: skip
    calm = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}  # half the memory and the start
    names = settings(host, port, allowed_host or [])
    environment = {**os.environ, **names} if allowed_host else {**names, **os.environ}  # MLflow's own variables, too
    if not quiet:
        echo(f"MLflow over {store}\nstarting on {address}; Ctrl-C ends it")
        if told := hint(host, allowed_host or []):
            echo(told)
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as said:  # told where it fails
        server = subprocess.Popen(command, env={**environment, **calm}, stdout=said, stderr=said, start_new_session=True)
        try:
            page = address
            close_cut_off(runs)  # while the server begins
            if _answers(server, address):
                page, charts = _pages(address, folder.name if folder is not None else None)
                if not quiet:
                    echo(f"ready: {page}")
                    if charts:
                        echo(f"knobs: {charts}")
            elif server.poll() is None and not quiet:
                echo(f"slow to answer; it will be at {page}")
            if browser and server.poll() is None:
                import webbrowser

                webbrowser.open(page)
            code = server.wait()
        except KeyboardInterrupt:
            code = 0
        finally:
            _end(server)
        said.seek(0)
        last = said.read().strip().splitlines()[-5:]
    if code:
        raise AutokdError(f"MLflow ended with code {code}", fix="\n  ".join(last) or "it said nothing")


def _answers(server: subprocess.Popen[bytes], address: str, within: float = 90.0) -> bool:
    """Wait until the server is healthy, or has ended."""
    from urllib.error import URLError

    end = time.monotonic() + within
    while time.monotonic() < end and server.poll() is None:
        try:
            with _asked(f"{address}/health", timeout=2) as answer:
                if answer.status == 200:
                    return True
        except (URLError, OSError):
            time.sleep(0.3)
    return False


def _asked(address: str, timeout: float) -> Any:
    """The answer of a server of our own, whatever proxy the environment names."""
    from urllib.request import ProxyHandler, build_opener

    return build_opener(ProxyHandler({})).open(address, timeout=timeout)


def _pages(address: str, run: str | None) -> tuple[str, str]:
    """Where a search's trials and the charts of its knobs are seen; MLflow's list of experiments where it knows no search."""
    from autokd.track.mlflow_views import address as place_of
    from autokd.track.mlflow_views import latest

    try:
        with _asked(f"{address}/api/2.0/mlflow/experiments/search?max_results=1000", timeout=10) as answer:
            found = latest(json.load(answer).get("experiments", []), run)
    except (OSError, ValueError):  # the list of experiments serves too
        found = None
    if found is None:  # without the word MLflow 3 opens on its pages for language models
        return f"{address}/#/experiments?workflowType=machine_learning", ""
    return address + place_of(*found), address + place_of(*found, charts=True)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the workers it started; they are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
