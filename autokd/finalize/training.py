"""The trainings of a finalist, one a seed; on a CPU side by side, a core each, in processes of their own.

A training is kept by the hash of all it depends on (its configuration, the images and class names, the teacher's weights, the
code of its network): what was trained before is not trained again, and one that was cut off goes on. `python -m
autokd.finalize.training` is such a process: it reads an order from its standard input and answers in JSON lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.config.trial import DataConfig, TrialConfig
from autokd.errors import AutokdError, SearchFailed, TrialFailed
from autokd.files import vouched, write_text
from autokd.machine import cpus
from autokd.train.crash import CRASH_FIX, crash_of_exit
from autokd.train.report import Progress

if TYPE_CHECKING:
    from autokd.train.report import Report
    from autokd.train.workshop import Loaded, Workshop

__all__ = ["ALL", "Trained", "adopt", "everything", "train_seeds", "trained_seeds"]

ALL = "train+validation"
_LOOKS = 4  # checkpoints a training
_FACTS = ("seed", "val_top1", "val_loss", "train_loss", "epochs", "images", "seconds")
_LATER = ("precision",)  # not among the facts of older trainings


@dataclass(frozen=True)
class Trained:
    """One training of a student, as it lies on the disk."""

    seed: int
    path: Path
    facts: dict[str, Any]


def train_seeds(
    bench: Workshop,
    config: TrialConfig,
    seeds: Iterable[int],
    train_on: str,
    place: Path,
    tell: Callable[[str], None],
    *,
    processes: int | None = None,
    on_progress: Callable[[int, Progress], None] = lambda seed, progress: None,
) -> tuple[list[Trained], list[dict[str, Any]]]:
    """Train one student over several seeds. Returns the trainings, and {seed, reason} of those that diverged.

    on_progress: hears a seed and how far its training is, every few seconds. processes: how many trainings run at a time; the
    number of cores where left out, one on a GPU. Raises SearchFailed where every seed failed.
    """
    seeds = list(seeds)
    if processes is None:
        processes = cpus() if bench.device.type == "cpu" else 1
    processes = min(processes, len(seeds))
    made_of = _made_of(bench, config)
    lock = threading.Lock()
    children: set[subprocess.Popen[str]] = set()

    def say(seed: int, text: str) -> None:
        with lock:
            tell(f"seed {seed} {text}")

    def heard(seed: int, progress: Progress) -> None:
        with lock:
            on_progress(seed, progress)

    def one(seed: int) -> Trained | dict[str, Any]:
        chosen, voice = config.fresh(seed), partial(say, seed)
        try:
            known = _known(chosen, train_on, place, made_of)
            if known is not None:
                voice("was trained before")
                return known
            if processes > 1:
                return _train_apart(bench, chosen, train_on, place, voice, made_of, children, partial(heard, seed))
            return train(bench, chosen, train_on, place, voice, made_of, partial(heard, seed))
        except TrialFailed as failure:
            voice(f"failed: {failure.reason}")
            return {"seed": seed, "reason": failure.reason}

    if processes > 1:
        with ThreadPoolExecutor(processes) as pool:
            try:
                found = list(pool.map(one, seeds))
            except BaseException:  # a signal to this process alone: the pool would wait for its children
                for child in list(children):
                    child.kill()
                raise
    else:
        found = [one(seed) for seed in seeds]
    trained = [item for item in found if isinstance(item, Trained)]
    failed = [item for item in found if isinstance(item, dict)]
    if not trained:
        raise SearchFailed(
            f"every training of {config.student.name} failed: {failed[0]['reason']}",
            fix="finalize another length (--epochs), or look at the trial with autokd show",
        )
    return trained, failed


def _made_of(bench: Workshop, config: TrialConfig) -> str:
    """What the weights depend on beside the configuration: the content of what that names."""
    from autokd.models.identity import identity

    network = identity(config.student.name, config.student.options, bench.model(config.data, config.student, seed=0))
    parts = [*bench.fingerprints(config.data), bench.data(config.data).fingerprint, network]
    if config.teacher is not None:
        teacher = bench.teacher(config.data, config.teacher)
        parts.append(teacher.fingerprint)
        teacher.rest()  # the trainings ask one of their own
    told = json.dumps(parts)
    return blake2b(told.encode(), digest_size=6).hexdigest()


def train(
    bench: Workshop,
    config: TrialConfig,
    train_on: str,
    place: Path,
    tell: Callable[[str], None],
    made_of: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """One training, from what lies on the disk of it. made_of: as `_made_of` tells it. Raises TrialFailed where it diverges."""
    from autokd.models.checkpoint import save_weights
    from autokd.train.trial import forget, train_in_parts

    path, facts_path, unfinished = _files(config, train_on, place, made_of or _made_of(bench, config))
    trial = bench.trial(config)
    report = train_in_parts(trial, unfinished, _LOOKS, lambda r: tell(_so_far(r, config.epochs)), on_progress)
    facts = {
        "seed": config.seed,
        "val_top1": report.val_top1,
        "val_loss": report.val_loss,
        "train_loss": report.train_loss,
        "epochs": report.epochs,
        "images": report.images,
        "seconds": report.seconds,
        "precision": report.precision,
    }
    if not all(bool(value.isfinite().all()) for value in trial.scored.state_dict().values()):
        raise TrialFailed("its weights are not finite at the end")
    digest = save_weights(trial.scored, path)
    write_text(facts_path, json.dumps({**facts, "sha256": digest}, indent=2) + "\n")
    forget(unfinished)
    return Trained(config.seed, path, facts)


def adopt(bench: Workshop, config: TrialConfig, checkpoint: Path, train_on: str, place: Path) -> None:
    """Keep the end of a trial of the search as a training of this configuration, where it is one and lies there whole."""
    from autokd.models.checkpoint import save_weights

    made_of = _made_of(bench, config)
    path, facts_path, _ = _files(config, train_on, place, made_of)
    if _known(config, train_on, place, made_of) is not None:
        return
    trial = bench.trial(config)
    try:
        report = json.loads((checkpoint / "report.json").read_text(encoding="utf-8"))
        trial.load(checkpoint)
    except (OSError, ValueError, AutokdError):  # deleted, damaged, or of other images: it is trained again
        return
    if trial.step < trial.total_steps:
        return
    facts = {"seed": config.seed, **{key: report[key] for key in _FACTS[1:]}, **{key: report.get(key) for key in _LATER}}
    digest = save_weights(trial.scored, path)
    write_text(facts_path, json.dumps({**facts, "sha256": digest}, indent=2) + "\n")


def _so_far(report: Report, whole: float) -> str:
    if report.val_top1 is None:
        return f"at {report.epochs:.3g} of {whole:g} epochs: training loss {report.train_loss:.4f}"
    return f"at {report.epochs:.3g} of {whole:g} epochs: validation {100 * report.val_top1:.2f} %"


def _files(config: TrialConfig, train_on: str, place: Path, made_of: str) -> tuple[Path, Path, Path]:
    """Where the weights, the facts and an unfinished training of this configuration lie. made_of: as `_made_of` tells it."""
    stem = f"{config.key}-{made_of}-{'all' if train_on == ALL else 'train'}"
    return place / f"{stem}.safetensors", place / f"{stem}.json", place / f"{stem}.partial"


def _known(config: TrialConfig, train_on: str, place: Path, made_of: str) -> Trained | None:
    """None also where a file of it is not as it was written: it is trained again."""
    path, facts, _ = _files(config, train_on, place, made_of)
    try:
        if path.exists() and facts.exists() and vouched(path):
            told = json.loads(facts.read_text(encoding="utf-8"))
            return Trained(config.seed, path, {key: told[key] for key in _FACTS} | {key: told.get(key) for key in _LATER})
    except (ValueError, KeyError, TypeError):
        pass
    return None


def trained_seeds(place: Path) -> set[int]:
    """The seeds of all trainings that are kept there."""
    found = set()
    for path in place.glob("*.json"):
        try:
            found.add(int(json.loads(path.read_text(encoding="utf-8"))["seed"]))
        except (OSError, ValueError, KeyError, TypeError):  # damaged: it is trained again
            continue
    return found


def _train_apart(
    bench: Workshop,
    config: TrialConfig,
    train_on: str,
    place: Path,
    tell: Callable[[str], None],
    made_of: str,
    children: set[subprocess.Popen[str]],
    on_progress: Callable[[Progress], None],
    *,
    again: bool = False,
) -> Trained:
    """`train` in a process of its own, with one thread. children: holds that process while it runs. again: it has crashed before,
    and a workaround was found."""
    order = {
        "bench": {**bench.settings, "threads": 1},
        "config": config.to_dict(),
        "train_on": train_on,
        "place": str(place.resolve()),
        "made_of": made_of,
    }
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "autokd.finalize.training"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=environment,
    ) as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        children.add(child)
        try:
            errors: list[str] = []
            reader = threading.Thread(target=lambda: errors.extend(child.stderr or ()), daemon=True)
            reader.start()
            child.stdin.write(json.dumps(order))
            child.stdin.close()
            for line in child.stdout:
                told = json.loads(line)
                if "say" in told:
                    tell(told["say"])
                elif "progress" in told:
                    on_progress(Progress(**told["progress"]))
                elif "failed" in told:
                    raise TrialFailed(told["failed"])
                elif "fault" in told:
                    raise AutokdError(told["fault"], fix=told["fix"] or "")
            child.wait()
            reader.join(timeout=5)
        except BaseException:
            child.kill()
            raise
        finally:
            children.discard(child)
    known = _known(config, train_on, place, made_of)
    if known is None:
        crash = crash_of_exit(child.returncode, "".join(errors))
        if crash is not None:
            news = bench.after_crash(config, crash) if not again else ""
            if news:
                tell(news)
                return _train_apart(bench, config, train_on, place, tell, made_of, children, on_progress, again=True)
            raise SearchFailed(f"the training of seed {config.seed} was ended by {crash}", fix=CRASH_FIX)
        last = errors[-1].strip() if errors else f"exit code {child.returncode}"
        raise SearchFailed(
            f"the training of seed {config.seed} ended early: {last}", fix="run autokd finalize again: it goes on"
        )
    return known


def everything(workshop: Workshop) -> Workshop:
    """A workshop whose training split is all images of the training part; the validation images are among them.

    The scores that trainings then report are of images they saw: they are left out of what is written.
    """
    import numpy as np
    import torch

    from autokd.data.images import Images
    from autokd.train.workshop import Workshop as Base

    class Whole(Base):
        def data(self, config: DataConfig) -> Loaded:
            key = json.dumps(replace(config, views_seed=0).__dict__, sort_keys=True, default=str)
            if key not in whole:
                loaded = super().data(config)
                one, other = loaded.training.train, loaded.training.validation
                merged = Images(
                    np.concatenate([one.pixels, other.pixels]),
                    np.concatenate([one.labels, other.labels]),
                    one.classes,
                    np.concatenate([one.index, other.index]),
                )
                whole[key] = replace(
                    loaded,
                    training=replace(loaded.training, train=merged),
                    pixels=torch.cat([loaded.pixels, loaded.val_pixels]),
                    labels=torch.cat([loaded.labels, loaded.val_labels]),
                    index=torch.from_numpy(merged.index),
                )
            return whole[key]

    whole: dict[str, Loaded] = {}
    return Whole(**workshop.settings)


def main() -> None:
    from autokd.train.workshop import Workshop

    def answer(**told: Any) -> None:
        print(json.dumps(told), flush=True)

    order = json.load(sys.stdin)
    try:
        bench = Workshop(**order["bench"])
        if order["train_on"] == ALL:
            bench = everything(bench)
        config = TrialConfig.from_dict(order["config"])
        place, told = Path(order["place"]), lambda progress: answer(progress=progress.to_dict())
        train(bench, config, order["train_on"], place, lambda text: answer(say=text), order["made_of"], told)
    except TrialFailed as failure:
        answer(failed=failure.reason)
    except AutokdError as fault:
        answer(fault=str(fault), fix=fault.fix)


if __name__ == "__main__":
    main()
