"""autokd study: the multi-perspective analysis of augmentation in distillation, on a person's own data and pair."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from autokd.cli.console import echo, wrapped
from autokd.cli.documents import print_json
from autokd.cli.options import Json, Jsonl, Name, Quiet, Runs, Set, device_of, find_run, space_of
from autokd.cli.tables import print_table
from autokd.errors import AutokdError, Interrupted
from autokd.files import in_shell
from autokd.report.columns import Column, folded
from autokd.report.words import amount

if TYPE_CHECKING:
    from autokd.config.search_space import SearchSpace
    from autokd.report.study import StudyReport
    from autokd.search.study import Study

__all__ = ["study"]

SpaceFile = Annotated[
    Path | None, typer.Argument(metavar="SPACE.yaml", help="The space that names data, teacher, student and recipe.")
]
Teacher = Annotated[str | None, typer.Option("--teacher", help="Teacher of the space; that of its first pair.")]
Student = Annotated[str | None, typer.Option("--student", help="Student of the space; that of its first pair.")]
Policy = Annotated[str | None, typer.Option("--policy", help="The policy of (b) to (e); the space's JDA.")]
Epochs = Annotated[
    float | None, typer.Option("--epochs", min=0, help="Length of a trial; the same as --set search.epochs=N.")
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Trainings of each arm.")]
FormName = Annotated[str, typer.Option("--form", metavar="small|full", help="How many points the curves have.")]
Findings = Annotated[str, typer.Option("--findings", metavar="LETTERS", help="Which of a, b, c, d, e are looked at.")]
Policies = Annotated[str | None, typer.Option("--policies", metavar="NAMES", help="Policies of (a), with commas.")]
Methods = Annotated[str | None, typer.Option("--methods", metavar="NAMES", help="Methods of (e), with commas.")]
TrainTeachers = Annotated[
    int | None, typer.Option("--train-teachers", metavar="EPOCHS", min=1, help="Train both teachers of (b) so long.")
]
TeacherSeeds = Annotated[
    int, typer.Option("--teacher-seeds", min=1, max=1000, help="Trainings of each teacher that is trained here.")
]
Passes = Annotated[
    int, typer.Option("--screen-passes", min=0, help="Passes of the training-free screen; 0 leaves it out.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List the arms, and train nothing.")]
Resume = Annotated[
    str | None, typer.Option("--resume", metavar="RUN", help="Go on with a study, or write its report anew.")
]


def study(
    space: SpaceFile = None,
    teacher: Teacher = None,
    student: Student = None,
    policy: Policy = None,
    epochs: Epochs = None,
    seeds: Seeds = 3,
    form: FormName = "small",
    findings: Findings = "abcde",
    policies: Policies = None,
    methods: Methods = None,
    train_teachers: TrainTeachers = None,
    teacher_seeds: TeacherSeeds = 1,
    passes: Passes = 10,
    dry_run: DryRun = False,
    resume: Resume = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    changes: Set = None,
    as_json: Json = False,
    as_lines: Jsonl = False,
    quiet: Quiet = False,
) -> None:
    """Repeat the analysis of augmentation in distillation on your data and pair."""
    as_json = as_json or as_lines
    if (space is None) == (resume is None):
        raise AutokdError("a study begins from a space, or goes on from a run", fix="SPACE.yaml, or --resume RUN")
    from autokd.search import study as planning

    if space is None:
        folder: Path | None = find_run(resume, runs, changes=True)
        plan, grid = planning.kept_study(folder)  # type: ignore[arg-type]
    else:
        folder = None
        length = [f"search.epochs={epochs:g}"] if epochs is not None else []
        loaded = _loaded(space_of(space, quiet=quiet), [*(changes or []), *length])
        from autokd.data.training import describe

        card = describe(loaded.data.name, root=loaded.data.root, options=loaded.data.options)
        plan = planning.plan_study(
            loaded,
            teacher=teacher,
            student=student,
            policy=policy,
            form=form,
            findings=_letters(findings),
            policies=_names(policies),
            methods=_names(methods),
            seeds=seeds,
            train_teachers=train_teachers,
            teacher_seeds=teacher_seeds,
            square=card.height == card.width,
            images=card.train_images,
            held=card.validation_images,
        )
        grid = plan.grid(loaded)
    if dry_run:
        _tell_plan(plan, as_json=as_json, quiet=quiet)
        return
    if not as_json and not quiet:
        echo(_projected(plan))
    _carry_out(plan, grid, folder, runs=runs, name=name, passes=passes, as_json=as_json, quiet=quiet)


def _carry_out(
    plan: Study,
    grid: Any,
    folder: Path | None,
    *,
    runs: Path,
    name: str | None,
    passes: int,
    as_json: bool,
    quiet: bool,
) -> None:
    from autokd.cli.live import follow
    from autokd.cli.searching import planned

    device = device_of(None)  # before anything is trained
    with follow(as_json=as_json, quiet=quiet) as watch:
        watch.board.plan(**planned(grid))
        try:
            if folder is None:
                from autokd.search.run import search

                run = search(grid, runs=runs, name=name, on_event=watch)
            else:
                from autokd.search.run import resume
                from autokd.track.ledger import FILE, read_events

                watch.board.catch_up(read_events(folder / FILE))
                run = resume(folder, space=grid, on_event=watch)
        except KeyboardInterrupt:
            _interrupted(watch.board.run)
        folder = run.folder
        if passes and watch.board.ended not in ("paused", "stopped", "cancelled"):
            from autokd.search.screen import screen_study

            screen_study(folder, plan, device=device, passes=passes, tell=lambda text: watch(_phase(text)))
            watch(_phase(""))
    from autokd.report.study import study_report, write_study

    page = write_study(folder)
    report = study_report(folder)
    if as_json:
        print_json({"run": folder, "report": page, **report.to_dict()})
    elif quiet:
        echo(str(page))
    else:
        _tell(report, folder, page)
    if watch.board.ended in ("paused", "stopped", "cancelled"):
        _interrupted(str(folder))


def _loaded(space: Path, overrides: list[str]) -> SearchSpace:
    from autokd.config.search_space import load_space

    return load_space(space, overrides=overrides)


def _letters(words: str) -> list[str]:
    found = [letter for letter in words if letter not in ", "]
    if not found:
        raise AutokdError("no finding is asked for", fix="--findings abcde")
    return list(dict.fromkeys(found))


def _names(words: str | None) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in (words or "").split(",") if name.strip()))


def _phase(text: str) -> dict[str, Any]:
    return {"event": "phase", "text": text}


def _projected(plan: Study) -> str:
    """'63 trials (21 arms, 3 seeds), 2 teachers to train; about 12.3 M views.'"""
    arms, seeds = len(plan.arms), len(plan.seeds)
    training = [one for one in plan.teachers.values() if one.training is not None]
    told = f"{arms * seeds} trials ({arms} arms, {seeds} seed{'s' * (seeds > 1)})"
    if training:
        told += f", {len(training)} teacher{'s' * (len(training) > 1)} to train or to find"
    views = [plan.views(arm) for arm in plan.arms]
    known = [one for one in views if one is not None]
    return told + (f"; about {amount(seeds * sum(known))} views" if len(known) == arms else "")


def _tell_plan(plan: Study, *, as_json: bool, quiet: bool) -> None:
    arms: list[dict[str, Any]] = [
        {"arm": arm, "findings": plan.findings_of(arm), "epochs": config.epochs, "views": plan.views(arm),
         "teacher": ", ".join(plan.teachers_of(arm))}
        for arm, config in plan.arms.items()
    ]  # fmt: skip
    skipped = [{"finding": one.letter, "why": one.skipped} for one in plan.findings if one.skipped]
    if as_json:
        trials = len(plan.arms) * len(plan.seeds)
        training = [name for name, one in plan.teachers.items() if one.training is not None]
        print_json({"trials": trials, "seeds": plan.seeds, "arms": arms, "teachers": training, "skipped": skipped})
        return
    if quiet:
        for one in arms:
            echo(str(one["arm"]))
        return
    wrapped(f"{plan.student} taught by {plan.teacher} on {plan.data}: {_projected(plan)}")
    echo()
    rows = [(one["arm"], one["findings"], one["epochs"], amount(one["views"]), one["teacher"]) for one in arms]
    print_table((folded("arm"), "findings", Column("epochs", 1), Column("views", 2), folded("teacher", 3)), rows)
    for one in skipped:
        wrapped(f"({one['finding']}) is not run: {one['why']}")


def _tell(report: StudyReport, folder: Path, page: Path) -> None:
    from autokd.report.study import verdict_rows

    echo()
    print_table(("", folded("claim"), folded("verdict")), [row[:3] for row in verdict_rows(report)])
    echo()
    echo(f"report   {page}")
    echo(f"tables   {page.parent / 'study.md'}   ·   trials.csv, comparisons.csv beside it")
    echo(f"run      {folder}   ·   autokd ui --runs {in_shell(folder.parent)}")


def _interrupted(folder: str) -> NoReturn:
    if not folder:
        raise Interrupted("stopped before the run began; nothing was written")
    raise Interrupted("stopped; every finished trial is kept. Go on with:", fix=f"autokd study --resume {in_shell(folder)}")
