"""autokd evaluate, predict: an exported student at work, without the search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd.cli.console import echo, wrapped
from autokd.cli.documents import print_json
from autokd.cli.options import Json, Quiet
from autokd.cli.reading import over
from autokd.cli.tables import print_table
from autokd.machine import cpus
from autokd.report.columns import folded
from autokd.report.words import percent

if TYPE_CHECKING:
    from autokd.finalize.student import Student

__all__ = ["evaluate", "predict", "print_classes"]

Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="An exported student: .safetensors, .pt2, .onnx or .int8.onnx.", show_default=False
    ),
]
OwnCode = Annotated[bool, typer.Option("--own-code", help="Run the module of one's own that a .safetensors names.")]
Black = Annotated[float | None, typer.Option("--black", help="The value of 16-bit, 32-bit and float images that is black.")]
White = Annotated[float | None, typer.Option("--white", help="The value of such images that is white: 4095 for 12 bits.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Cores to use; all where left out.")]


def evaluate(
    model: Model,
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="PATH", help="A folder of images per class, or a Parquet table.", show_default=False
        ),
    ],
    label: Annotated[str, typer.Option("--label", metavar="COLUMN", help="The table's column of classes.")] = "label",
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="COLUMN", help="The table's column of images, where several could be."),
    ] = None,
    skip_faulty: Annotated[bool, typer.Option("--skip-faulty", help="Leave out images that cannot be read.")] = False,
    each: Annotated[bool, typer.Option("--per-class", help="Print a row for each class as well.")] = False,
    black: Black = None,
    white: White = None,
    threads: Threads = None,
    own_code: OwnCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score an exported student on images of your own."""
    from autokd.finalize.use import evaluate as score

    student = _reading(_opened(model, threads, own_code), black, white)
    found = score(student, data, label=label, image=image, faulty="skip" if skip_faulty else "stop")
    if as_json:
        print_json(found if each else {key: value for key, value in found.items() if key != "per_class"})
        return
    if quiet:
        echo(percent(found["top1"]))
        return
    facts = student.facts
    echo(f"{facts.student} from {model}  ({found['runtime']})")
    echo(f"{found['images']:,} images of {found['classes']} of its {len(facts.classes)} classes in {data}\n")
    if found["skipped"]:
        echo(f"{len(found['skipped']):,} left out, as they cannot be read: {', '.join(found['skipped'][:5])}\n")
    rows = [
        (
            "top-1",
            percent(found["top1"]),
            f"{100 * found['low']:.2f} to {100 * found['high']:.2f}: {found['interval']}",
        ),
        ("NLL", f"{found['nll']:.4f}", "mean -log p of the right class, in nats"),
        ("ECE", percent(found["ece"]), f"confidence against accuracy, {found['bins']} bins"),
        ("Brier", f"{found['brier']:.4f}", "squared error of the probabilities, 0 to 2"),
    ]
    above = found["above"]
    if above:
        rows.append(
            (
                "kept",
                percent(above["coverage"]),
                f"of confidence {above['threshold']:.4g} or more: {percent(above['accuracy'])} right",
            )
        )
    print_table(("measure", "value", folded("")), rows)
    if each:
        echo()
        print_classes(found["per_class"])


def print_classes(rows: list[dict[str, Any]]) -> None:
    told = [(str(row["class"]), row["images"], percent(row["recall"]), percent(row["precision"])) for row in rows]
    print_table((folded("class"), "images", "recall", "precision"), told, title="Each class")


def predict(
    model: Model,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.", show_default=False)
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="So many of the likeliest classes.")] = 1,
    black: Black = None,
    white: White = None,
    threads: Threads = None,
    own_code: OwnCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what an exported student sees in image files."""
    from autokd.data.outside import image_files
    from autokd.finalize.use import answers

    files, passed = image_files(images)
    student = _reading(_opened(model, threads, own_code), black, white)
    found = list(answers(student, files, top=top))
    known = [one for one in found if one.fault is None]
    unsure = student.facts.threshold
    if as_json:
        print_json([
            {"image": one.file, "fault": one.fault} if one.fault else
            {"image": one.file, "class": one.top[0][0], "probability": one.top[0][1],
             "sure": None if unsure is None else one.top[0][1] >= unsure,
             "top": [{"class": name, "probability": chance} for name, chance in one.top]}
            for one in found
        ])  # fmt: skip
    elif quiet:
        for one in known:
            echo(one.top[0][0])
    elif known:
        rows = []
        for one in known:
            (name, chance), rest = one.top[0], one.top[1:]
            then = [", ".join(f"{word} {percent(share)}" for word, share in rest)] if top > 1 else []
            rows.append((str(one.file), name, percent(chance), *then))
        print_table((folded("image"), folded("class"), "probability", *([folded("then")] if top > 1 else [])), rows)
        doubtful = sum(one.top[0][1] < unsure for one in known) if unsure else 0
        if doubtful:
            echo()
            wrapped(f"{doubtful} of {len(known)} below {unsure:.4g}, the confidence that the validation split asked for")
    sys.stdout.flush()
    for line in over(passed):
        echo(f"autokd: passed over: {line}", err=True)
    for one in found:
        if one.fault is not None:
            echo(f"autokd: {one.file}: {one.fault}", err=True)
    if len(known) < len(found):
        raise typer.Exit(2)


def _reading(student: Student, black: float | None, white: float | None) -> Student:
    """A student that reads deep images by these values, where they are given, instead of those of its training images."""
    from dataclasses import replace

    said: dict[str, Any] = {word: value for word, value in (("black", black), ("white", white)) if value is not None}
    return replace(student, facts=replace(student.facts, **said)) if said else student


def _opened(model: Path, threads: int | None, own_code: bool) -> Student:
    from autokd.finalize.student import open_student

    threads = threads or cpus()
    if model.suffix != ".onnx":
        import torch

        torch.set_num_threads(threads)
    return open_student(model, threads=threads, own_code=own_code)
