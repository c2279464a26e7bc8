"""autokd validate, schema, version: what a space asks for, before anything runs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd import __version__
from autokd.cli.console import echo, print_json, print_table
from autokd.cli.options import Json, Quiet, Set
from autokd.errors import AutokdError, Faults
from autokd.report.summary import limits_of
from autokd.report.words import amount

if TYPE_CHECKING:
    from autokd.config.search_space import SearchSpace

__all__ = ["examine", "schema", "validate", "versions"]

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "timm", "pydantic", "typer", "rich")


def validate(
    space: Annotated[Path, typer.Argument(metavar="SPACE.yaml", help="The search space.")],
    changes: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a space; tell its size, costs, budgets and work ahead."""
    from autokd.config.search_space import load_space

    loaded = load_space(space, overrides=list(changes or []))
    facts, trouble = examine(loaded)
    if as_json and trouble is None:
        print_json(facts)
    elif not quiet and not as_json:
        _tell(loaded, facts)
    if trouble is not None:
        raise trouble
    if quiet:
        echo("ok")


def examine(space: SearchSpace) -> tuple[dict[str, Any], AutokdError | None]:
    """Everything `validate` tells, and what is wrong with the budgets where a budget cannot be met."""
    from autokd.data.training import expect
    from autokd.search.feasible import feasible, measure

    card = expect(space.data.name, root=space.data.root, options=space.data.options)
    costs, teachers = {}, measure(space.data, [], space.teachers.values(), card)[1]
    for name, student in space.students.items():
        costs[name] = measure(space.data, [student], [], card)[0][student.name]
    trouble: AutokdError | None = None
    fits: dict[str, list[str]] = {name: [] for name in space.students}
    try:
        found = feasible(space.pairs(), space.budgets, costs, teachers, cheaper=space.cheaper_than_teacher)
    except (AutokdError, Faults) as error:
        trouble = error
        pairs = 0
    else:
        pairs = len({pair for some in found.pairs.values() for pair in some})
        for budget, some in found.pairs.items():
            for _, name in some:
                if budget not in fits[name]:
                    fits[name].append(budget)
    facts = {
        "space": space.name,
        "source": space.source,
        "data": {
            "name": card.name,
            "classes": card.classes,
            "image": [card.channels, card.height, card.width],
            "training_images": _train_images(space, card),
        },
        "size": {"points": space.size().points, "ranges": space.size().ranges},
        "pairs": pairs,
        "methods": list(space.methods),
        "knobs": [
            {"path": k.path, "domain": str(k.domain), "prior": k.domain.prior, "where": k.condition}
            for k in space.knobs()
        ],
        "students": [
            {"name": name, "params": costs[name].params, "macs": costs[name].macs, "budgets": fits[name]}
            for name in sorted(costs, key=lambda name: (costs[name].macs, costs[name].params))
        ],
        "teachers": [
            {
                "name": name,
                "model": _near(teacher.model),
                "params": teachers[name].params,
                "macs": teachers[name].macs,
                "weights": _weights(teacher),
            }
            for name, teacher in space.teachers.items()
        ],
        "budgets": [
            {
                "name": b.name,
                **b.limits(),
                "of_teacher": b.of_teacher,
                "students": sum(b.name in names for names in fits.values()),
            }
            for b in space.budgets
        ],
        "work": _work(space, card),
        "notes": list(space.notes),
    }
    return facts, trouble


def _train_images(space: SearchSpace, card: Any) -> int | None:
    """Images students train on, before the data is opened; None where only opening it would tell."""
    if card.train_images is None:
        return None
    return round(card.train_images * (1 - space.data.validation) * space.data.fraction)


def _near(model: str) -> str:
    """A model of one's own as a person wrote it: its file below the current folder, or in full."""
    return model.removeprefix(f"{Path.cwd()}/")


def _weights(teacher: Any) -> str:
    if teacher.training is not None:
        return f"to be trained, {teacher.training.epochs:g} epochs"
    return _near(str(teacher.checkpoint or teacher.weights))


def _work(space: SearchSpace, card: Any) -> dict[str, Any]:
    """What the whole search may come to: every trial at full length, and the share of it that the rungs are expected to leave."""
    from autokd.space.domains import values_of

    search, images = space.search, _train_images(space, card)
    batch = next((node.domain for node in space.tree.nodes() if node.path == "recipe.batch"), None)
    batches = [int(value) for value in values_of(batch)] if batch is not None else []
    each = None if images is None else round(search.epochs * images)
    share = 1.0
    if search.scheduler != "none" and search.rungs.count:
        shares = [*search.rungs.shares(), 1.0]
        share = shares[0] + sum(
            (b - a) / search.rungs.eta ** (i + 1) for i, (a, b) in enumerate(zip(shares, shares[1:]))
        )
    work: dict[str, Any] = {
        "trials": search.trials,
        "hours": search.hours,
        "epochs": search.epochs,
        "images_a_trial": each,
        "share_left_by_rungs": round(share, 3),
        "images": None,
        "steps": None,
    }
    if each is not None and search.trials is not None:
        work["images"] = search.trials * each
        if batches:
            work["steps"] = [search.trials * each // max(batches), search.trials * each // min(batches)]
    if search.images is not None:
        work["images"] = min(work["images"] or search.images, search.images)
    training = [teacher.training.epochs for teacher in space.teachers.values() if teacher.training is not None]
    work["teacher_images"] = None if images is None else round(sum(training) * images / space.data.fraction)
    return work


def _tell(space: SearchSpace, facts: dict[str, Any]) -> None:
    from autokd.space.domains import written

    data, work = facts["data"], facts["work"]
    shape = "x".join(map(str, data["image"]))
    many = data["training_images"]
    images = f"images of {shape}, not counted yet" if many is None else f"{many:,} training images of {shape}"
    echo(f"{facts['space']}: {data['name']}, {images}, {data['classes']} classes")
    echo(f"size: {space.size()}, {facts['pairs']} teacher-student pairs, methods {', '.join(facts['methods'])}")
    echo()
    rows = [
        (knob["path"], knob["domain"], "" if knob["prior"] is None else written(knob["prior"]), knob["where"])
        for knob in facts["knobs"]
    ]
    print_table(("knob", "values", "prior", "where"), rows, title=f"{len(rows)} knobs")
    echo()
    names = [budget["name"] for budget in facts["budgets"]]
    table = [
        (s["name"], amount(s["params"]), amount(s["macs"]), *("yes" if name in s["budgets"] else "-" for name in names))
        for s in facts["students"]
    ]
    print_table(("student", "params", "MACs", *names), table, title="Students, and the budgets they fit")
    echo()
    print_table(("teacher", "model", "params", "MACs", "weights"),
                [(t["name"], t["model"], amount(t["params"]), amount(t["macs"]), t["weights"]) for t in facts["teachers"]],
                title="Teachers")  # fmt: skip
    echo()
    fitting = [(budget["name"], limits_of(budget), budget["students"]) for budget in facts["budgets"]]
    print_table(("budget", "limits", "students"), fitting, title="Budgets")
    echo()
    echo(_projected(work))
    for note in facts["notes"]:
        echo(f"note: {note}")


def _projected(work: dict[str, Any]) -> str:
    """The work ahead in a sentence or two."""
    trials = f"{work['trials']} trials" if work["trials"] is not None else "trials until a limit"
    text = f"work at most: {trials} x {work['epochs']:g} epochs"
    if work["images_a_trial"] is not None:
        text += f" ({amount(work['images_a_trial'])} images each)"
    if work["images"] is not None:
        text += f"\n  = {amount(work['images'])} images"
    if work["steps"] is not None:
        low, high = work["steps"]
        text += (
            f", {amount(low)} optimizer steps" if low == high else f", {amount(low)} to {amount(high)} optimizer steps"
        )
    if work["share_left_by_rungs"] < 1:
        text += f"\n  with the rungs about {100 * work['share_left_by_rungs']:.0f} % of it"
    if work["hours"] is not None:
        text += f"; ends after {work['hours']:g} hours"
    if work["teacher_images"]:
        text += f"\n  teachers to train: {amount(work['teacher_images'])} images"
    return text


def schema() -> None:
    """Print the JSON Schema of a space file, for editors."""
    from autokd.config.schema import schema as make

    print_json(make())


def versions(as_json: bool) -> None:
    found = {"autokd": __version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    if as_json:
        print_json(found)
    else:
        for name, number in found.items():
            echo(f"{name:<12}{number}")
