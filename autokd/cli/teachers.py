"""autokd teacher: train the teachers a space asks for, or measure the ones it names."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from autokd.cli.console import echo
from autokd.cli.documents import emit, print_json
from autokd.cli.examples import epilog
from autokd.cli.options import Device, Json, Jsonl, Quiet, Runs, Set, SpaceFile, device_of, space_of
from autokd.cli.reading import bar
from autokd.cli.tables import print_table
from autokd.errors import TRAINING_FAULTS, AutokdError, Interrupted, did_you_mean, in_words, nothing_came_out, together
from autokd.files import full_disk, in_shell
from autokd.report.columns import PARAMS, folded
from autokd.report.words import amount, duration, percent, progress
from autokd.train.report import Throttle

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Teacher = Annotated[list[str] | None, typer.Option("--teacher", help="Only this teacher; repeatable.")]


@app.command(epilog=epilog("teacher train"))
def train(
    space: SpaceFile,
    teacher: Teacher = None,
    runs: Runs = Path("runs"),
    changes: Set = None,
    device: Device = None,
    again: Annotated[bool, typer.Option("--again", help="Train them anew, whatever is kept.")] = False,
    as_json: Json = False,
    as_lines: Jsonl = False,
    quiet: Quiet = False,
) -> None:
    """Train every teacher of a space that says how; one that was trained before on the same data is measured and kept."""
    as_json = as_json or as_lines
    loaded, chosen = _teachers(space, teacher, changes, not (as_json or quiet))
    asked = {name: config for name, config in chosen.items() if config.training is not None}
    if not asked:
        raise AutokdError(
            "none of these teachers says how it is trained", where=str(space), fix="give one `train: {epochs: …}`"
        )
    device = device_of(device)
    start = time.monotonic()
    from autokd.search.granted import granted
    from autokd.train.teachers import train_teacher
    from autokd.train.workshop import Workshop

    def show(text: str) -> None:
        if not (as_json or quiet):
            echo(f"[{duration(time.monotonic() - start):>5}] {text}")

    def say(text: str) -> None:
        emit({"event": "phase", "text": text})
        show(text)

    granted(say, runs)
    workshop = Workshop(device)
    made: list[dict[str, Any]] = []
    failed: dict[str, AutokdError] = {}

    def trained(name: str, config: Any) -> Path:
        whole = config.training.epochs
        say(f"{name}: {config.model}, {whole:g} epochs")

        throttle = Throttle()

        def between(told: Any) -> None:
            if not told.look:
                emit({"event": "progress", "teacher": name, **told.to_dict()})
            if throttle.due(told.epochs, told.total_epochs, look=told.look) and not told.look:
                show(f"{name}: {progress(told.epochs, told.total_epochs, told.val_top1, told.seconds_left)}")

        def told(report: Any) -> bool:
            none = report.val_top1 is None
            score = f"training loss {report.train_loss:.4f}" if none else f"val {percent(report.val_top1)}"
            facts = {"epochs": report.epochs, "val_top1": report.val_top1, "train_loss": report.train_loss}
            emit({"event": "report", "teacher": name, "total_epochs": whole, **facts})
            show(f"{name}: {report.epochs:.3g} of {whole:g} epochs, {score}")
            return True

        more: dict[str, Any] = {"workshop": workshop, "again": again, "tell": say, "on_progress": between}
        return train_teacher(loaded.data, config, runs / "teachers", told, **more)

    for name, config in asked.items():
        try:
            path = trained(name, config)
        except KeyboardInterrupt:
            way = f"autokd teacher train {in_shell(space)}"
            kept = "stopped; each training goes on from its last checkpoint. Go on, with the same options, with:"
            raise Interrupted(kept, fix=way) from None
        except TRAINING_FAULTS as fault:
            if full_disk(fault) is not None:
                raise
            failed[name] = in_words(fault)
            say(f"{name} failed: {failed[name].what}")
            continue
        made.append({"teacher": name, "checkpoint": path, **_facts(path)})
    if not made:
        raise nothing_came_out("no teacher was trained", {f"teacher {name}": one for name, one in failed.items()})
    _show_trained(made, as_json=as_json, quiet=quiet)
    if failed:
        raise together({f"teacher {name}": fault for name, fault in failed.items()})


def _show_trained(made: list[dict[str, Any]], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(made)
        return
    for item in made:
        found = f"{item['teacher']}: val {percent(item.get('val_top1'))}   {item['checkpoint']}"
        echo(str(item["checkpoint"]) if quiet else found)


@app.command(epilog=epilog("teacher check"))
def check(
    space: SpaceFile,
    teacher: Teacher = None,
    runs: Runs = Path("runs"),
    changes: Set = None,
    device: Device = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Load every teacher of a space and measure it on the validation split."""
    loaded, chosen = _teachers(space, teacher, changes, not (as_json or quiet))
    device = device_of(device)
    if not (as_json or quiet):
        split = "the validation split" if loaded.search.select == "validation" else "no image (nothing is held out)"
        echo(f"measuring {', '.join(chosen)} on {split} of {loaded.data.name}")
    from dataclasses import replace

    from autokd.models.fuse import fused
    from autokd.search.work import guessing
    from autokd.train.teachers import check_recorded, teacher_path
    from autokd.train.workshop import Workshop

    workshop = Workshop(device)
    made: list[dict[str, Any]] = []
    failed: dict[str, AutokdError] = {}

    def checked(name: str, config: Any) -> dict[str, Any]:
        if config.training is not None and config.checkpoint is None:
            path = teacher_path(workshop, loaded.data, config, runs / "teachers")
            if not path.exists():
                return {"note": "not trained yet: autokd teacher train"}
            try:
                check_recorded(workshop, loaded.data, config, path)
            except AutokdError as fault:
                failed[name] = fault
            config = replace(config, checkpoint=str(path.resolve()), training=None)
        score = workshop.verify(loaded.data, config)
        for sentence in guessing(name, score):
            workshop.tell(sentence)
        network = fused(workshop.teacher(loaded.data, config).model)
        return {
            "val_top1": score.top1 if score is not None else None,
            "val_loss": score.loss if score is not None else None,
            "params": sum(parameter.numel() for parameter in network.parameters()),
            "saw_validation": config.saw_validation,
            "checkpoint": config.checkpoint,
            "note": "saw the validation images" if config.saw_validation else "",
            "told": workshop.news(),
        }

    for name, config in chosen.items():
        try:
            facts = checked(name, config)
        except AutokdError as fault:
            failed.setdefault(name, fault)
            facts = {"note": "failed, see below"}
        made.append({"teacher": name, "model": config.model, **facts})
    _show(made, as_json=as_json, quiet=quiet)
    if failed:
        raise together({f"teacher {name}": fault for name, fault in failed.items()})


def _show(made: list[dict[str, Any]], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(made)
        return
    if quiet:
        for item in made:
            echo(f"{item['teacher']} {percent(item.get('val_top1'))}")
        return
    rows = [(i["teacher"], i["model"], percent(i.get("val_top1")), amount(i.get("params")), i["note"]) for i in made]
    print_table((folded("teacher"), folded("model", 1), "val top-1", PARAMS, folded("note")), rows)
    for sentence in (one for item in made for one in item.get("told", ())):
        echo(sentence)


def _teachers(
    space: Path, names: list[str] | None, changes: list[str] | None, shown: bool
) -> tuple[Any, dict[str, Any]]:
    """The space, and its teachers of these names; its data was looked at. shown: whether a person sees how far that is."""
    from autokd.config.search_space import load_space
    from autokd.data.check import check_data

    loaded = load_space(space_of(space, quiet=not shown), overrides=list(changes or []))
    unknown = [name for name in names or [] if name not in loaded.teachers]
    if unknown:
        fix = "teachers: " + ", ".join(loaded.teachers)
        raise AutokdError(
            f"no teacher {unknown[0]!r}{did_you_mean(unknown[0], loaded.teachers)}", where=str(space), fix=fix
        )
    with bar(shown) as told:
        report = check_data(loaded.data, tell=told)
    if (trouble := report.trouble()) is not None:
        raise trouble
    return loaded, {name: config for name, config in loaded.teachers.items() if not names or name in names}


def _facts(path: Path) -> dict[str, Any]:
    import json

    beside = path.with_suffix(".json")
    facts = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    return {key: facts.get(key) for key in ("model", "val_top1", "seconds")}
