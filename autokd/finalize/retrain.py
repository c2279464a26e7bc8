"""Retrain the best student of each budget at full length over several seeds, open the test split once, write it all out.

This room alone imports `autokd.data.held_out`. Trainings are kept in the run's `trained/` folder by the hash of all they
depend on, so that a finalize that was cut off goes on, and one that is repeated trains nothing twice; what a repetition
does cost, another look at the test split, is counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.config.trial import DataConfig, TrialConfig
from autokd.errors import TRAINING_FAULTS, AutokdError, did_you_mean, in_words, nothing_came_out
from autokd.files import full_disk, in_shell
from autokd.finalize.export import formats_of
from autokd.finalize.facts import looks_of
from autokd.finalize.finish import Final, Order, finish, write
from autokd.finalize.training import ALL, adopt, everything, train_seeds, trained_seeds
from autokd.search.granted import granted
from autokd.seeds import derived, scheme_of
from autokd.track.ledger import FILE, FolderLock, all_events
from autokd.track.state import state_message

if TYPE_CHECKING:
    from autokd.data.images import Images
    from autokd.train.report import Progress
    from autokd.train.workshop import Workshop

__all__ = ["Final", "Finals", "TRAIN_ON", "finalize"]

TRAIN_ON = ("train", ALL)
TRAINED = "trained"  # in the run folder: the trainings, kept by the hash of all they depend on
_FIRST_SEED = 1001  # of runs that were finished by a version that counted upwards


class Finals(dict[str, Final]):
    """Finished students by the budget's name. failed: what happened to the others, by the budget's name."""

    def __init__(self, finals: Mapping[str, Final], failed: Mapping[str, AutokdError]) -> None:
        super().__init__(finals)
        self.failed = dict(failed)


def finalize(
    folder: str | os.PathLike[str],
    *,
    epochs: float | None = None,
    seeds: int | None = None,
    budgets: Sequence[str] | None = None,
    train_on: str | None = None,
    formats: Sequence[str] | str | None = None,
    target: float | None = None,
    external: Mapping[str, str | os.PathLike[str]] | None = None,
    register: str | None = None,
    device: str | None = None,
    workshop: Workshop | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    command: str | None = None,
) -> Finals:
    """Finish the best student of each budget of the run in `folder`; returns them by the budget's name.

    epochs, seeds, train_on ("train" or "train+validation"), formats (of autokd.finalize.export.FORMATS) and target (the accuracy
    that the confidence threshold is to reach on the validation split) default to the space's `finalize` section. external:
    outside sets by name, each a folder of images per class or a table. register: the name of a model in MLflow's registry.
    Budgets whose best trial is the same share one training and one look. Of a run whose trials nothing ranks (search.select:
    last) every trial is finished, under the name of its budget, or of budget and trial where there are several (`budgets` names
    either); the search's own training is the first of its seeds. A seed that diverges is left out and named; a student of which
    all do, or that cannot be written, stands in `failed` and does not keep the others from being finished. Raises SearchFailed
    where no student comes out, and AutokdError where something else is to be mended first.
    """
    folder = Path(folder)
    asked = _settings(
        folder, epochs=epochs, seeds=seeds, train_on=train_on, formats=formats, target=target, register=register
    )
    chosen, empty = _winners(folder, budgets)
    tell = on_event or (lambda event: None)
    _Voice(tell, ())(state_message(folder))
    for name, why in empty.items():
        _Voice(tell, (name,))(f"no student: {why}")
    granted(_Voice(tell, ()), folder)
    groups: dict[str, list[str]] = {}
    for name, row in chosen.items():
        groups.setdefault(row["trial"], []).append(name)
    configs = {trial: _full_length(chosen[names[0]], asked, folder) for trial, names in groups.items()}
    if workshop is None:
        workshop = _workshop(device, folder, list(configs.values()))
    bench = everything(workshop) if asked.train_on == ALL else workshop
    _check_data({trial: config.data for trial, config in configs.items()})
    _verify_teachers(workshop, list(configs.values()), folder)
    outside = {
        trial: _outside(bench, config, external or {}) for trial, config in configs.items()
    }  # before any training
    fresh = _seeds(folder, asked.seeds)
    with _alone(folder):
        finals: dict[str, Final] = {}
        failed = {name: AutokdError(f"no trial has finished: {why}") for name, why in empty.items() if budgets}
        for trial, names in list(groups.items()):
            row, config = chosen[names[0]], configs[trial]
            order = Order(folder, tuple(names), row, config, asked.train_on, asked.formats, asked.target, command)
            say = _Voice(tell, tuple(names))
            try:
                finals |= _finished(order, fresh, bench, outside[trial], say)
            except TRAINING_FAULTS as fault:
                if full_disk(fault) is not None:
                    raise
                failed |= dict.fromkeys(names, in_words(fault))
                del groups[trial]
                say(f"failed: {failed[names[0]].what}")
                continue
            for name in names:
                _Voice(tell, (name,))(_result(finals[name]))
        if not finals:
            by_name = {f"budget {name}": fault for name, fault in failed.items()}
            raise nothing_came_out("no student was finished", by_name, str(folder))
        _rank(groups, finals, configs, tell)
        if register is not None:
            _register(register, folder, groups, finals, configs, tell)
        return Finals({name: finals[name] for name in chosen if name in finals}, failed)


def _finished(
    order: Order, fresh: Sequence[int], bench: Workshop, external: Mapping[str, tuple[str, Images]], say: _Voice
) -> dict[str, Final]:
    """One student, trained with each seed, tested and written for each of its budgets."""
    folder, row, config, train_on = order.folder, order.row, order.config, order.train_on
    say(f"{config.student.name}, {_shown(config)}, {config.epochs:g} epochs x {len(fresh)} seeds")
    drawn = list(fresh)
    if row["val_top1"] is None:  # nothing was chosen by it, so that it is as good as any other
        drawn = [row["seed"], *drawn[:-1]]
        adopt(bench, config, folder / (row["checkpoint"] or ""), train_on, folder / TRAINED)
    trained, failed = train_seeds(bench, config, drawn, train_on, folder / TRAINED, say, on_progress=say.progress)
    return finish(order, bench, trained, failed, external, say)


def _check_data(asked: Mapping[str, DataConfig]) -> None:
    """All data is read before anything is trained: that a test image is damaged is no news for the end. Raises what is wrong."""
    from autokd.data.check import check_data

    for data in {json.dumps(asdict(one), sort_keys=True, default=str): one for one in asked.values()}.values():
        if (trouble := check_data(data).trouble()) is not None:
            raise trouble


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time finishes a run; a full disk is told in words."""
    place = folder / TRAINED
    try:
        place.mkdir(exist_ok=True)
        with FolderLock(place):
            yield
    except Exception as fault:
        full = full_disk(fault)
        if full is None:
            raise
        what = full.filename or (fault.where if isinstance(fault, AutokdError) else "") or full
        fix = f"finished trainings are kept; make room, then go on: autokd finalize {in_shell(folder)}"
        raise AutokdError(f"the disk is full: {what}", where=str(folder), fix=fix) from fault


def _verify_teachers(workshop: Workshop, configs: Sequence[TrialConfig], folder: Path) -> None:
    """Before anything is trained: the students are to learn from what the search learned from. Raises AutokdError."""
    from autokd.search.teachers import verify

    taught = {config.teacher.name: config for config in configs if config.teacher is not None}
    past = all_events(folder / FILE) if taught else []
    for config in taught.values():
        if config.teacher is not None:
            verify(workshop, config.data, config.teacher, past)


def _outside(
    bench: Workshop, config: TrialConfig, external: Mapping[str, str | os.PathLike[str]]
) -> dict[str, tuple[str, Images]]:
    """The outside sets, read whole, as the students of this configuration read images."""
    from autokd.data.outside import open_outside

    if not external:
        return {}
    loaded = bench.data(config.data)
    height, width = loaded.pixels.shape[-2:]
    found = {}
    for name, path in external.items():
        try:
            images = open_outside(
                Path(path),
                loaded.training.train.classes,
                channels=loaded.channels,
                size=height if height == width else None,
                **looks_of(config.data.options),
            )
        except AutokdError as fault:
            raise AutokdError(f"the outside set {name!r}: {fault.what}", where=fault.where, fix=fault.fix) from None
        if images.pixels.shape[2:] != (height, width):
            sides = f"{images.pixels.shape[3]} x {images.pixels.shape[2]}"
            raise AutokdError(
                f"its images are {sides} pixels", where=str(path), fix=f"students read {width} x {height}"
            )
        found[name] = (str(path), images)
    return found


def _rank(
    groups: dict[str, list[str]],
    finals: dict[str, Final],
    configs: dict[str, TrialConfig],
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Say of each outside set whether it ranks the students as the test split does, and write that beside each of them."""
    from autokd.finalize.external import Standing, ranking

    names = next(iter(finals.values())).metrics.get("external", {})
    for name in names:
        standings = []
        for budgets in groups.values():
            told = finals[budgets[0]].metrics
            there = told["external"][name]
            called = f"{told['student']} ({', '.join(budgets)})"
            standings.append(Standing(called, told["test"]["mean"], there["mean"], there["low"], there["high"]))
        found = ranking(name, standings)
        tell({"event": "finalize", "budgets": list(finals), "text": found["text"]})
        for final in finals.values():
            final.metrics["external"][name]["ranking"] = found
    if names:
        for trial, budgets in groups.items():
            for budget in budgets:
                write(finals[budget], configs[trial])


def _register(
    name: str,
    folder: Path,
    groups: dict[str, list[str]],
    finals: dict[str, Final],
    configs: dict[str, TrialConfig],
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """A version of the registered model for each student whose ONNX file was written."""
    from autokd.finalize.export import onnx_model
    from autokd.track.registry import alias, register

    for trial, budgets in groups.items():
        first, told = finals[budgets[0]], finals[budgets[0]].metrics
        say = _Voice(tell, tuple(budgets))
        if "file" not in told["exports"]["onnx"]:
            say(f"not registered: there is no ONNX file ({told['exports']['onnx']['failed']})")
            continue
        version, run = register(
            name,
            onnx_model(first.folder / told["exports"]["onnx"]["file"]),
            shape=told["input"],
            classes=len(told["classes"]),
            folder=folder,
            budgets=budgets,
            metrics={"test_top1": told["test"]["mean"], "params": told["params"], "macs": told["macs"],
                     **{f"test_{word}": told["calibration"][word] for word in ("ece", "nll", "brier")}},
            tags={word: str(told[word]) for word in ("student", "teacher", "method", "policy", "trial", "test_looks")},
            artifacts=[first.folder / "metrics.json", first.folder / "card.md"],
        )  # fmt: skip
        say(
            f"registered as version {version} of {name}: "
            + ", ".join(f"models:/{name}@{alias(one)}" for one in budgets)
        )
        for budget in budgets:
            finals[budget].metrics["registered"] = {
                "name": name,
                "version": version,
                "alias": alias(budget),
                "run": run,
            }
            write(finals[budget], configs[trial])


def _result(final: Final) -> str:
    test = final.metrics["test"]
    return f"test {100 * test['mean']:.2f} % (95 % {100 * test['low']:.2f} to {100 * test['high']:.2f})  {final.folder}"


@dataclass(frozen=True)
class _Voice:
    """Tells whoever watches, for these budgets."""

    tell: Callable[[dict[str, Any]], None]
    budgets: tuple[str, ...]

    def __call__(self, text: str) -> None:
        if not text:
            return
        told = f"{' and '.join(self.budgets)}: {text}" if self.budgets else text
        self.tell({"event": "finalize", "budgets": list(self.budgets), "text": told})


    def progress(self, seed: int, told: Progress) -> None:
        if not told.look:  # which has words of its own
            text = f"{' and '.join(self.budgets)}: seed {seed} at {told.epochs:.3g} of {told.total_epochs:g} epochs"
            self.tell({"event": "progress", "budgets": list(self.budgets), "seed": seed, "text": text, **told.to_dict()})


@dataclass(frozen=True)
class _Asked:
    epochs: float | None
    seeds: int
    train_on: str
    formats: tuple[str, ...]
    target: float


def _settings(
    folder: Path,
    *,
    epochs: float | None,
    seeds: int | None,
    train_on: str | None,
    formats: Sequence[str] | str | None,
    target: float | None,
    register: str | None,
) -> _Asked:
    """What was asked for on the call, and else in the space."""
    from autokd.config.search_space import load_space

    section = load_space(folder / "space.yaml").finalize
    asked = _Asked(
        epochs=epochs if epochs is not None else section.epochs,
        seeds=seeds if seeds is not None else section.seeds,
        train_on=train_on if train_on is not None else section.train_on,
        formats=formats_of(formats if formats is not None else section.formats),
        target=target if target is not None else section.target,
    )
    if asked.train_on not in TRAIN_ON:
        fix = f"one of: {', '.join(TRAIN_ON)}{did_you_mean(asked.train_on, TRAIN_ON)}"
        raise AutokdError(f"students are not trained on {asked.train_on!r}", fix=fix)
    if not 1 <= asked.seeds <= 1000 or (asked.epochs is not None and not 0 < asked.epochs <= 1e6):
        told = "a student needs at least one seed (1000 at most) and a length above 0 (a million epochs at most)"
        raise AutokdError(told, fix="--seeds 3 --epochs 240")
    if not 0 < asked.target <= 1:
        raise AutokdError(f"no share of answers is {asked.target:g}", fix="--target 0.99: above 0, at most 1")
    if register is not None and "onnx" not in asked.formats:
        raise AutokdError("the registry is given the ONNX file, which is not among the forms", fix="--formats onnx")
    return asked


def _winners(folder: Path, budgets: Sequence[str] | None) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The row of the best trial of each budget, or of every trial where nothing ranks them; and why others have none."""
    from autokd.select.best import best_of_run, is_ranked, limits_of_run, to_finish
    from autokd.select.empty import nothing_finished, why_of_run
    from autokd.track.ledger import FILE, all_events
    from autokd.track.recorder import rows_of

    events = all_events(folder / FILE)
    if is_ranked(events):
        found = best_of_run(folder)
    else:
        every = to_finish(rows_of(folder, events), limits_of_run(folder, events), events)
        budgets = [name for one in budgets or every for name in (every.get(one) or (one,))]
        found = {**dict.fromkeys(every), **{name: row for some in every.values() for name, row in some.items()}}
    unknown = [name for name in budgets or () if name not in found]
    if unknown:
        raise AutokdError(
            f"no budget {unknown[0]!r}{did_you_mean(unknown[0], found)}", fix="budgets: " + ", ".join(found)
        )
    wanted = {name: row for name, row in found.items() if budgets is None or name in budgets}
    empty = [name for name, row in wanted.items() if row is None]
    if len(empty) == len(wanted):
        raise nothing_finished(folder, empty)
    why = {name: told for name, told in why_of_run(folder).items() if name in empty}
    return {name: row for name, row in wanted.items() if row is not None}, why


def _seeds(folder: Path, count: int) -> list[int]:
    """Of the trainings. A run that was finished before goes on with the seeds that it had then."""
    events = all_events(folder / FILE)
    if not scheme_of(events):
        searched = {event["seed"] for event in events if event["event"] == "trial"}
        if any(_FIRST_SEED <= seed < _FIRST_SEED + 1000 for seed in trained_seeds(folder / TRAINED) - searched):
            return list(range(_FIRST_SEED, _FIRST_SEED + count))
    return [derived(events[0].get("seed", 0), "finalize", number) for number in range(count)]


def _full_length(row: dict[str, Any], asked: _Asked, folder: Path) -> TrialConfig:
    """The winner's configuration at full length; the seed is set for each training."""
    config = TrialConfig.from_dict(json.loads(row["config"]))
    if asked.epochs is not None:
        config = config.with_(epochs=asked.epochs)
    teacher = config.teacher
    if teacher is not None and teacher.checkpoint is not None and not Path(teacher.checkpoint).exists():
        for place in (folder, folder.parent):
            near = place / "teachers" / Path(teacher.checkpoint).name
            if near.exists():  # the run folder was moved
                return config.with_(teacher=replace(teacher, checkpoint=str(near)))
    return config


def _workshop(device: str | None, folder: Path, configs: Sequence[TrialConfig]) -> Workshop:
    """A bench with the run's own word on the teacher's answers; those that a single training would read are not kept."""
    import torch

    from autokd.config.search_space import load_space
    from autokd.search.run import SPACE, bench_settings
    from autokd.train.workshop import Workshop

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    settings = bench_settings(load_space(folder / SPACE))
    if settings["signals"] == "auto" and not _share_answers(configs):
        settings["signals"] = "live"
    return Workshop(chosen, threads=1 if chosen == "cpu" else None, **settings)


def _share_answers(configs: Sequence[TrialConfig]) -> bool:
    """Whether two trainings read the teacher's answers to the same views: those of the search, or of another student."""
    taught = [config for config in configs if config.teacher is not None]
    asked = {json.dumps([asdict(config.data), config.teacher], default=str) for config in taught}
    return len(asked) < len(taught) or any(config.data.views_seed is not None for config in taught)


def _shown(config: TrialConfig) -> str:
    teacher = f" from {config.teacher.name}" if config.teacher else ""
    policy = f", {config.policy.name} {config.ratio:.2f}" if config.policy.name != "none" else ""
    return f"{config.method.name}{teacher}{policy}"
