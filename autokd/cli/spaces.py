"""autokd validate, schema, version: what a space asks for, before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autokd import __version__
from autokd.cli.console import echo, wrapped
from autokd.cli.documents import print_json
from autokd.cli.options import Json, Quiet, Set, SpaceFile, space_of
from autokd.cli.reading import bar, print_data
from autokd.cli.tables import print_table
from autokd.errors import AutokdError, as_one
from autokd.report.columns import STUDENT, Column, folded
from autokd.report.summary import limits_of
from autokd.report.words import amount, cost, duration

if TYPE_CHECKING:
    from autokd.config.limits import Budget
    from autokd.config.search_space import SearchSpace
    from autokd.data.check import DataReport
    from autokd.search.feasible import Feasible

__all__ = ["examine", "schema", "validate", "versions"]

_BUSY = 1.5  # seconds for a second of computing
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "timm", "pydantic", "typer", "rich")


def validate(
    space: SpaceFile,
    changes: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
    remeasure: Annotated[bool, typer.Option("--remeasure", help="Time students again, whatever was kept.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Train every student one step, including those of the zoo.")] = False,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Time some training steps, and estimate how long the search takes.")
    ] = True,
) -> None:
    """Check a space; tell its size, costs, budgets and work ahead."""
    from autokd.config.search_space import load_space
    from autokd.data.check import check_data

    loaded = load_space(space_of(space, quiet=quiet), overrides=list(changes or []))
    with bar(not quiet and not as_json) as told:
        report = check_data(loaded.data, fetch=False, tell=told)
    tell = None if quiet or as_json else _aside
    facts, trouble = examine(loaded, report, again=remeasure, deep=deep, timed=timed and not quiet, tell=tell)
    if as_json:  # an error is added to it
        print_json(facts)
    elif not quiet and not as_json:
        _tell(loaded, facts, report)
    if trouble is not None:
        raise trouble
    if quiet:
        echo("ok")


def _aside(text: str) -> None:
    """What is going on, for a person alone: the answer stands on stdout."""
    print(text, file=sys.stderr, flush=True)


def examine(
    space: SearchSpace,
    report: DataReport,
    *,
    again: bool = False,
    deep: bool = False,
    timed: bool = False,
    tell: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], AutokdError | None]:
    """Everything `validate` tells, and what is wrong with the data, or with a budget that cannot be met.

    report: what reading the data found. again: latencies are measured whatever was kept. deep: the zoo's students are trained a
    step, too, as others always are. timed: training steps are timed, for an estimate of the
    search. tell: hears what is being trained or timed.
    """
    from autokd.data.training import expect
    from autokd.search.feasible import checked_students, costs_of, feasible
    from autokd.search.feasible import timed as with_latencies
    from autokd.search.sources import check_teachers

    try:
        card = expect(space.data.name, root=space.data.root, options=space.data.options)
    except AutokdError as fault:
        raise report.trouble() or fault from None
    costs, teachers = costs_of(space, card)
    wrong = report.trouble()
    troubles: list[AutokdError] = [] if wrong is None else [wrong]
    weights: tuple[str, ...] = ()
    try:
        weights = check_teachers(space, card, files=True)
    except AutokdError as fault:
        troubles.append(fault)
    fits: dict[str, list[str]] = {name: [] for name in space.students}
    latencies: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    found: Feasible | None = None
    marginal: Mapping[str, Any] = {}
    doubtful: Mapping[str, Any] = {}
    tell = tell or (lambda text: None)
    try:
        notes = checked_students(space, costs, teachers, card, every=deep, tell=tell)
        costs, teachers, latencies, more = with_latencies(space, costs, teachers, card, again=again, tell=tell)
        notes += more
        found = feasible(space.pairs(), space.budgets, costs, teachers, cheaper=space.cheaper_than_teacher)
        marginal, doubtful = found.marginal, found.doubtful
    except AutokdError as error:
        troubles.append(error)
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
            "training_images": _train_images(space, card, report),
            "report": report.to_dict(),
        },
        "size": {"points": space.size().points, "ranges": space.size().ranges},
        "pairs": pairs,
        "methods": list(space.methods),
        "knobs": [
            {"path": k.path, "domain": str(k.domain), "prior": k.domain.prior, "where": k.condition}
            for k in space.knobs()
        ],
        "students": [
            {
                "name": name,
                **_costs(costs[name], space.budgets),
                "budgets": fits[name],
                "marginal": [budget for budget, some in marginal.items() if name in some],
                "doubtful": [budget for budget, some in doubtful.items() if name in some],
            }
            for name in sorted(costs, key=lambda name: (costs[name].macs, costs[name].params))
        ],
        "teachers": [
            {
                "name": name,
                "model": _near(teacher.model),
                **_costs(teachers[name], space.budgets),
                "weights": _weights(teacher),
            }
            for name, teacher in space.teachers.items()
        ],
        "budgets": [
            {
                **{key: value for key, value in b.to_dict().items() if value is not None},
                "students": sum(b.name in names for names in fits.values()),
            }
            for b in space.budgets
        ],
        "machine": latencies["machine"] if latencies else None,
        "work": _work(space, _train_images(space, card, report)),
        "time": _time(space, found, card, report.train, tell) if timed and found is not None and not troubles else None,
        "notes": [*space.notes, *weights, *notes],
    }
    return facts, as_one(troubles) if troubles else None


def _costs(found: Any, budgets: Sequence[Budget]) -> dict[str, Any]:
    """Counted costs, and each measured latency (ms, with its 95 % interval) under the conditions of the budgets that ask."""
    counted = {name: getattr(found, name) for name in ("params", "macs", "file_size", "memory")}
    told = {}
    for budget in budgets:
        timing = found.timings.get(budget.deployment) if budget.timed else None
        if timing is not None:
            one = timing.of(budget.statistic)
            told[budget.conditions] = {"ms": one.value, "low": one.low, "high": one.high, "doubt": timing.doubt}
    return {**counted, "latencies": told}


def _train_images(space: SearchSpace, card: Any, report: DataReport) -> int | None:
    """Images students train on; about, where the data was not read, and None where only reading it would tell."""
    return report.train or card.trained_on(space.data.validation, space.data.fraction)


def _near(model: str) -> str:
    """A model of one's own as a person wrote it: its file below the current folder, or in full."""
    return model.removeprefix(f"{Path.cwd()}/")


def _weights(teacher: Any) -> str:
    if teacher.training is not None:
        return f"to be trained, {teacher.training.epochs:g} epochs"
    return _near(str(teacher.checkpoint or teacher.weights))


def _work(space: SearchSpace, images: int | None) -> dict[str, Any]:
    """What the whole search may come to: every trial at full length, and the share of it that the rungs are expected to leave."""
    from autokd.space.domains import values_of

    search = space.search
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
        "gpu_hours": search.gpu_hours,
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
    used = {teacher for teacher, _ in space.pairs()}
    training = [one.training.epochs for name, one in space.teachers.items() if one.training is not None and name in used]
    work["teacher_images"] = None if images is None else round(sum(training) * images / space.data.fraction)
    return work


def _time(
    space: SearchSpace, found: Feasible, card: Any, images: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """How long the search will take, or why that is not estimated."""
    from autokd.search.estimate import Unknown, estimate

    try:
        if not images:
            raise Unknown("the data is not here yet")
        return estimate(space, found, card, images, tell=tell).to_dict()
    except Unknown as why:
        return {"skipped": str(why)}


def _expected(told: dict[str, Any], trials: int | None) -> str:
    """The estimate in words, and what it is made of."""
    if "skipped" in told:
        return f"time: not estimated, as {told['skipped']}"
    words = f"time: about {duration(told['seconds'])} on this machine ({duration(told['low'])} to {duration(told['high'])})"
    words += f", {told['places']} trial{'s' * (told['places'] > 1)} at once"
    if told["teachers"]:
        words += f"; {duration(told['teachers'])} of it to train teachers, where none is kept"
    if trials is None:
        words += f"; about {told['begun']:.0f} trials begin and {told['ended']:.0f} come to their end"
    if told["busy"] > _BUSY:
        words += "; something else is running here, and a quiet machine is faster"
    return words + (
        f". Estimated from {told['steps']} training steps ({told['kinds']} of {told['all_kinds']} combinations of student and "
        f"method, {told['timed']:.0f} s) and simulated searches"
    )


def _tell(space: SearchSpace, facts: dict[str, Any], report: DataReport) -> None:
    from autokd.space.domains import written

    data, work = facts["data"], facts["work"]
    shape = "x".join(map(str, data["image"]))
    many = data["training_images"]
    images = f"images of {shape}, not counted yet" if many is None else f"{many:,} training images of {shape}"
    echo(f"{facts['space']}: {data['name']}, {images}, {data['classes']} classes")
    print_data(report)
    methods = ", ".join(facts["methods"])
    kinds = f"method{'s' * (len(facts['methods']) != 1)} {methods}"
    wrapped(f"size: {space.size()}, {_many(facts['pairs'], 'teacher-student pair')}, {kinds}")
    echo()
    rows = [
        (knob["path"], knob["domain"], "" if knob["prior"] is None else written(knob["prior"]), knob["where"])
        for knob in facts["knobs"]
    ]
    if rows:
        title = _many(len(rows), "knob")
        print_table(("knob", folded("values"), folded("prior", 1), folded("where", 2)), rows, title=title)
        echo()
    names = [budget["name"] for budget in facts["budgets"]]
    table = [(s["name"], *_counted(s), *(_fit(s, name) for name in names)) for s in facts["students"]]
    print_table((STUDENT, *_COUNTED, *names), table, title="Students, and the budgets they fit")
    echo()
    if facts["teachers"]:
        print_table((folded("teacher"), folded("model", 1), *_COUNTED, folded("weights")),
                    [(t["name"], t["model"], *_counted(t), t["weights"]) for t in facts["teachers"]],
                    title="Teachers")  # fmt: skip
        echo()
    for conditions in dict.fromkeys(key for s in facts["students"] for key in s["latencies"]):
        _tell_latency(conditions, facts)
    fitting = [(budget["name"], limits_of(budget), budget["students"]) for budget in facts["budgets"]]
    print_table(("budget", folded("limits"), "students"), fitting, title="Budgets")
    echo()
    echo(_projected(work))
    if facts["time"] is not None:
        wrapped(_expected(facts["time"], work["trials"]))
    for note in facts["notes"]:
        wrapped(f"note: {note}")


_COUNTED = (Column("params", 4), Column("MACs", 3), Column("file", 5), Column("memory", 6))


def _counted(facts: dict[str, Any]) -> tuple[str, ...]:
    return tuple(cost(name, facts[name]) for name in ("params", "macs", "file_size", "memory"))


def _fit(student: dict[str, Any], budget: str) -> str:
    mark = " (marginal)" if budget in student["marginal"] else " (not trusted)" if budget in student["doubtful"] else ""
    return ("yes" if budget in student["budgets"] else "-") + mark


def _tell_latency(conditions: str, facts: dict[str, Any]) -> None:
    """One table a set of conditions: what was measured, and where."""
    rows = []
    for one, role in [*((s, "") for s in facts["students"]), *((t, " (teacher)") for t in facts["teachers"])]:
        if (told := one["latencies"].get(conditions)) is not None:
            rows.append((one["name"] + role, f"{told['ms']:.3g}", f"{told['low']:.3g} to {told['high']:.3g}", told["doubt"]))
    machine = facts["machine"]
    wrapped(f"Latency: {conditions}, on {machine.get('gpu') or machine['processor']}, torch {machine['torch']}")
    doubted = any(row[-1] for row in rows)
    columns = (STUDENT, "ms", "95 % interval", folded("not trustworthy:"))
    print_table(columns if doubted else columns[:-1], rows if doubted else [row[:-1] for row in rows])
    echo()


def _many(number: float, word: str) -> str:
    return f"{number:,.10g} {word}{'s' * (number != 1)}"


def _projected(work: dict[str, Any]) -> str:
    """The work ahead in a sentence or two."""
    trials = _many(work["trials"], "trial") if work["trials"] is not None else "trials until a limit"
    text = f"work at most: {trials} x {_many(work['epochs'], 'epoch')}"
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
    ends = [f"{work[key]:g} {word}" for key, word in (("hours", "hours"), ("gpu_hours", "GPU hours")) if work[key] is not None]
    if ends:
        text += f"; ends after {' or '.join(ends)}"
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
