"""What runs where the trial runs: train to the next mark, checkpoint, tell. The same for every engine.

A checkpoint is a folder `mark-<number>` with the trial's own files and the report that was made there. It is written aside
and renamed, so that it is whole or absent; a job that starts anew, after a crash or in another session, takes the newest
one, tells its report once more (the brain knows whether it has heard it) and goes on.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import math
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from autokd import files
from autokd.config.trial import DataConfig, TeacherConfig, TrialConfig
from autokd.errors import AutokdError, SearchFailed, TrialFailed, refused
from autokd.files import in_file_name, in_shell, whole, write_text
from autokd.search.kept import ERRORS, PLACE
from autokd.train.crash import Crash, crash_in, watched
from autokd.train.recorded import versions

if TYPE_CHECKING:
    from autokd.search.brain import Proposal

__all__ = ["ANSWERS", "CHECKPOINTS", "DiskFull", "Job", "bench_of", "crash_of", "forget_benches", "full_disk", "guessing",
           "measured", "order_of", "placed", "prepare_teacher", "read_answers", "read_progress", "teacher_crash", "teacher_from",
           "teacher_here", "teacher_on_ray", "teacher_progress", "write_answers"]

CHECKPOINTS = PLACE
HUNG = "hung.txt"  # in a trial's checkpoints: what it did when its time was over
CRASHED = "crashed-{rank}.txt"  # likewise: the stack at a crash of a process of the trial, one file a worker
ANSWERS = "answers"  # likewise: which validation images a trial is right on, where that is asked for


def order_of(proposal: Proposal, run: str | os.PathLike[str], bench: dict[str, Any] | None = None) -> dict[str, Any]:
    """A proposal in plain values, for a job in another process."""
    return {
        "trial": proposal.trial,
        "config": proposal.config.to_dict(),
        "marks": [asdict(mark) for mark in proposal.marks],
        "run": str(Path(run).resolve()),
        "bench": bench or {},
        "answers": proposal.answers,
        "start": proposal.start,
        "seconds": proposal.seconds,
    }


def bench_of(settings: dict[str, Any]) -> Any:
    """The process's workshop; trials that follow one another share its data, teachers and views.

    settings: the arguments of autokd.train.workshop.Workshop; or `factory`, "module:function", for one of another make.
    """
    key = json.dumps(settings, sort_keys=True)
    if key not in _BENCHES:
        _BENCHES.clear()
        settings = dict(settings)
        module, _, name = settings.pop("factory", "autokd.train.workshop:Workshop").partition(":")
        _BENCHES[key] = getattr(importlib.import_module(module), name)(**settings)
    return _BENCHES[key]


_BENCHES: dict[str, Any] = {}


def forget_benches() -> None:
    """Data, teachers and views are loaded anew when they are next asked for."""
    _BENCHES.clear()


class Job:
    """One trial in one process. `step` never raises but for what the process does not survive.

    parallel: `rank`, `world` and `wrap` of a trial that several processes train; the first of them keeps the checkpoints.
    """

    def __init__(self, order: dict[str, Any], bench: Any, **parallel: Any) -> None:
        self.config = TrialConfig.from_dict(order["config"])
        self.marks = order["marks"]
        self.run = Path(order["run"])
        self.place = f"{CHECKPOINTS}/{order['trial']}"
        self.folder = self.run / self.place
        self.bench = bench
        self.parallel = parallel
        self.answers = f"{ANSWERS}/{order['trial']}.npy" if order.get("answers") else ""
        self.start: dict[str, Any] = order.get("start") or {}
        self.behind: dict[str, Any] = {}  # what the first report says of a shorter training that was gone on from
        self.limit: float | None = order.get("seconds")
        self.hung: IO[str] | None = None  # where the watchdog writes
        self.watching = ExitStack()  # records crashes while it is open
        self.began = time.monotonic()
        self.trial: Any = None
        self.next = 0
        self.notes: list[str] = []  # what a person should hear with the next report

    def watch_signals(self) -> None:
        """Record a crash of this process for the trial's next process and for the search."""
        self.watching.enter_context(watched(self.folder / CRASHED.format(rank=self.parallel.get("rank", 0))))

    def watch(self) -> None:
        """Also end this process if the trial takes longer than allowed, for example if it hangs; the next one reports it."""
        self.watch_signals()
        left = self.folder / HUNG  # of the process before: told first
        if self.limit is not None and self.hung is None and not (left.exists() and left.stat().st_size):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.hung = open(left, "w", encoding="utf-8")  # noqa: SIM115
            faulthandler.dump_traceback_later(min(self.limit, threading.TIMEOUT_MAX), exit=True, file=self.hung)

    def _unwatch(self) -> None:
        self.watching.close()
        (self.folder / CRASHED.format(rank=self.parallel.get("rank", 0))).unlink(missing_ok=True)
        if self.hung is not None:
            faulthandler.cancel_dump_traceback_later()
            self.hung.close()
            (self.folder / HUNG).unlink(missing_ok=True)
            self.hung = None

    def _too_long(self) -> str:
        return f"it took longer than a trial may (search.trial_hours: {(self.limit or 0.0) / 3600:g})"

    def _was_hung(self) -> dict[str, Any] | None:
        """Of a trial whose last process the watchdog ended; what that process did stands in the log."""
        found = self.folder / HUNG
        if self.limit is None or not found.exists() or not found.stat().st_size:
            return None
        os.replace(found, self.folder / ERRORS)
        return {"failed": self._too_long(), "machine": True, "log": f"{self.place}/{ERRORS}"}

    def _after_crash(self) -> None:
        """If an earlier process of this trial crashed, let the bench look for a workaround. Raises AutokdError if none exists."""
        crash, said = crash_of(self.folder)
        if crash is None:
            return
        (self.folder / ERRORS).write_text(said, encoding="utf-8")
        if not self.parallel:  # all workers of a trial have to read it
            for path in self.folder.glob(CRASHED.format(rank="*")):
                path.unlink()
            self.watch_signals()
        if hasattr(self.bench, "after_crash"):
            told = self.bench.after_crash(self.config, crash)
            self.notes += [told] if told else []

    def step(self) -> dict[str, Any]:
        """To the next mark. Returns the report with `mark` and `checkpoint`; or `failed`, the reason, with `machine`,
        whether it was no fault of the configuration."""
        try:
            if self.trial is None:
                self._after_crash()
                told = self._was_hung() or self._open()
                if told is not None:
                    return told
            return self._advance()
        except TrialFailed as fault:
            return self._failed(fault.reason)
        except AutokdError as fault:
            return self._failed(str(fault))
        except MemoryError:
            return self._failed("out of memory", machine=True) | {"memory": _peak()}
        except Exception as fault:
            if _disk_is_full(fault, self.run):
                return self._failed(f"the disk is full: {_first_line(fault)}", machine=True) | {"full": True}
            if "CUDA error" in str(fault):  # the process cannot use its GPU any more: let it end, and another try
                raise
            kind = "out of GPU memory" if type(fault).__name__ == "OutOfMemoryError" else type(fault).__name__
            told = self._failed(f"{kind}: {_first_line(fault)}", machine=True)
            return told | {"memory": _peak()} if kind == "out of GPU memory" else told

    def close(self) -> None:
        """Free what the trial held."""
        self._unwatch()
        self.trial = None  # frees it: a trial stands in no cycle (tests/train/test_freed.py)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            gc.collect()  # whatever else holds GPU memory; on a CPU not worth its 90 ms a trial
            torch.cuda.empty_cache()

    def _open(self) -> dict[str, Any] | None:
        """Build the trial, at its newest checkpoint where there is one; then also the report made there."""
        for path in sorted(self.folder.glob("mark-*"), reverse=True):
            self.trial = self.bench.trial(self.config, **self.parallel)
            try:
                told = json.loads((path / "report.json").read_text(encoding="utf-8"))
                self.trial.load(path)
                self.next = told["mark"] + 1
            except Exception as fault:
                if not _damaged(fault):
                    raise
                why = fault.what if isinstance(fault, AutokdError) else "the checkpoint is damaged"
                self.notes.append(f"{self.folder.name}: it goes on from before its checkpoint {path.name}: {why}")
                shutil.rmtree(path, ignore_errors=True)
                continue
            if self.next > len(self.marks):
                continue
            return told
        self.trial = self.bench.trial(self.config, **self.parallel)
        self.next = 0
        if self.start.get("checkpoint"):
            self._go_on()
        return None

    def _go_on(self) -> None:
        """From the end of a shorter training, where its checkpoint is still there; else from the beginning."""
        path = self.run / self.start["checkpoint"]
        try:
            told = json.loads((path / "report.json").read_text(encoding="utf-8"))
            self.trial.load(path, epochs=self.start["epochs"])
        except Exception:  # deleted, or damaged
            self.trial = self.bench.trial(self.config, **self.parallel)
            return
        self.behind = {"images": told["images"], "seconds": told["seconds"]}
        self.next = next(at for at, mark in enumerate(self.marks) if mark["epochs"] > self.start["epochs"] * 1.001)

    def _advance(self) -> dict[str, Any]:
        mark, total = self.marks[self.next], self.trial.total_images
        images = total if mark["final"] else round(total * mark["epochs"] / self.config.epochs)
        report = self.trial.advance(images).to_dict()
        name = f"mark-{self.next:04d}"
        told = {**report, "mark": self.next, "checkpoint": f"{self.place}/{name}", "pid": os.getpid()}
        if self.behind:
            told["behind"], self.behind = self.behind, {}
        if self.parallel.get("rank", 0) == 0:
            if mark["final"] and self.answers:
                told |= {"answers": self.answers, "val_images": write_answers(self.run / self.answers, self.trial.right)}
            self._keep(name, told)
        self.next += 1
        if mark["final"]:
            self._unwatch()
        elif self.limit is not None and time.monotonic() - self.began > self.limit:
            return self._failed(self._too_long(), machine=True)
        news = [*self.notes, *(self.bench.news() if hasattr(self.bench, "news") else [])]
        self.notes = []
        return {**told, "decisions": news} if news else told

    def _keep(self, name: str, told: dict[str, Any]) -> None:
        aside = self.folder / f".{name}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            self.trial.save(aside)
            (aside / "report.json").write_text(json.dumps(told), encoding="utf-8")
            _sync(aside)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
        for older in self.folder.glob("mark-*"):
            if older.name < name:
                shutil.rmtree(older, ignore_errors=True)

    def _failed(self, reason: str, *, machine: bool = False) -> dict[str, Any]:
        told: dict[str, Any] = {"failed": reason, "machine": machine}
        if machine:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                log = self.folder / ERRORS
                log.write_text(traceback.format_exc(), encoding="utf-8")
                told["log"] = f"{self.place}/{log.name}"
            except OSError:
                pass
        self.close()
        return told


def crash_of(folder: Path) -> tuple[Crash | None, str]:
    """The last crash recorded in a trial's folder, and everything that was recorded."""
    said = "".join(map(_text, sorted(folder.glob(CRASHED.format(rank="*")))))
    return crash_in(said), said


class DiskFull(AutokdError):
    """The disk is full; what was under way stays unfinished."""


def full_disk(told: Mapping[str, Any] | OSError, run: str | os.PathLike[str], again: str = "resume") -> DiskFull:
    """What ends a search that could not write: what was under way stays unfinished, and the command `again` takes it up. told:
    what a trial's job said, or the fault itself."""
    reason = f"the disk is full: {told.filename or told}" if isinstance(told, OSError) else str(told["failed"])
    return DiskFull(
        reason, where=str(run), fix=f"nothing that had ended is lost; make room, then go on: autokd {again} {in_shell(run)}"
    )


def _damaged(fault: BaseException | None) -> bool:
    """Whether a checkpoint that could not be taken is to blame itself, and not memory, GPU or disk: it may go then."""
    while fault is not None:
        if isinstance(fault, (MemoryError, TrialFailed)) or type(fault).__name__ == "OutOfMemoryError":
            return False
        if "CUDA error" in str(fault) or (isinstance(fault, OSError) and not isinstance(fault, FileNotFoundError)):
            return False
        fault = fault.__cause__
    return True


def _disk_is_full(fault: Exception, folder: Path) -> bool:
    if files.full_disk(fault) is not None:
        return True
    if "PytorchStreamWriter" not in str(fault) and "file write failed" not in str(fault):  # torch does not say why
        return False
    return shutil.disk_usage(folder).free < 16 * 2**20


def _peak() -> int:
    """Bytes of this process at its largest: of GPU memory where it uses a GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def write_answers(path: Path, right: Any) -> int:
    """Which images a trial is right on (bool [N]), a bit each, whole or not at all. Returns N, which reading it needs."""
    import numpy as np

    bits = np.asarray(right.cpu() if hasattr(right, "cpu") else right, dtype=bool)
    with whole(path) as file:
        np.save(file, np.packbits(bits))
    return len(bits)


def read_answers(path: Path, images: int) -> Any:
    """bool [images] of what `write_answers` wrote. Raises AutokdError where the file is not there, or not of so many images."""
    import numpy as np

    try:
        bits = np.load(path)
        if bits.dtype != np.uint8 or bits.shape != (-(-images // 8),):
            raise ValueError(f"{bits.dtype} {bits.shape}")
    except (OSError, ValueError, EOFError) as fault:
        denied = refused(fault) if not isinstance(fault, FileNotFoundError) else None
        fix = "" if denied else f"delete the folder {path.parents[1]} and confirm again"
        raise AutokdError(f"a training's answers cannot be read: {denied or fault}", where=str(path), fix=fix) from fault
    return np.unpackbits(bits, count=images).astype(bool)


def prepare_teacher(
    bench: dict[str, Any],
    data: dict[str, Any],
    teacher: dict[str, Any],
    folder: str,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train the teacher where that is asked for and it does not lie there, and measure it on the validation split.

    Returns `config` (the teacher as trials load it), checkpoint and its sha256, trained (whether now), policy (on whose views it
    was trained), val_top1, val_loss, val_images, ece, saw_validation, seconds, data (the splits' fingerprints), versions, and
    `decisions`, what a person should hear. on_progress: hears the fields of autokd.train.report.Progress, every few seconds.
    Raises SearchFailed where its training diverges, and AutokdError where it is not to be had, or lies there and does not answer
    as it did.
    """
    told = _prepared(bench, data, teacher, folder, train=True, on_progress=on_progress)
    assert told is not None
    return told


def _prepared(
    bench: dict[str, Any],
    data: dict[str, Any],
    teacher: dict[str, Any],
    folder: str,
    *,
    train: bool,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any] | None:
    start = time.perf_counter()
    values = TrialConfig.from_dict({"data": data, "student": {"name": ""}, "teacher": teacher})
    asked: DataConfig = values.data
    config = values.teacher
    assert config is not None
    workshop = bench_of(bench)
    policy: str | None = None
    reports: list[Any] = []

    def heard(report: Any) -> bool:
        reports.append(report)
        return True

    if config.training is not None and config.checkpoint is None and config.weights is None:
        from autokd.train import teachers

        policy = config.training.policy
        if not train and not teachers.lies_there(workshop, asked, config, folder):
            return None
        try:
            with _in_words(folder):
                path = teachers.train_teacher(
                    asked,
                    config,
                    Path(folder),
                    report=heard,
                    workshop=workshop,
                    on_progress=None if on_progress is None else lambda progress: on_progress(progress.to_dict()),
                )
        except TrialFailed as fault:
            raise SearchFailed(
                f"the teacher {config.name!r} could not be trained: {fault.reason}", fix="lower its learning rate"
            ) from fault
        config = replace(config, checkpoint=str(Path(path).resolve()), training=None)
    facts = measured(workshop, asked, config)
    news = workshop.news() if hasattr(workshop, "news") else []
    doubts = guessing(config.name, workshop.verify(asked, config))
    seconds = time.perf_counter() - start
    return {**facts, "trained": bool(reports), "policy": policy, "seconds": seconds, "decisions": [*news, *doubts]}


def measured(workshop: Any, data: DataConfig, config: TeacherConfig) -> dict[str, Any]:
    """What is recorded of a teacher that can be loaded: where its weights lie, how good it is, and on what."""
    score = workshop.verify(data, config)
    return {
        "config": asdict(config),
        "checkpoint": config.checkpoint,
        "sha256": _sha256(config.checkpoint),
        "val_top1": score.top1 if score is not None else None,  # nothing is held out to measure it on
        "val_loss": score.loss if score is not None else None,
        "val_images": score.images if score is not None else None,
        "ece": score.ece if score is not None else None,
        "saw_validation": config.saw_validation,
        "data": workshop.fingerprints(data) if hasattr(workshop, "fingerprints") else None,
        "versions": versions(),
    }


def guessing(name: str, score: Any) -> list[str]:
    """A sentence where a teacher is right no more often than guessing could be, which is rarely meant."""
    if score is None or not score.classes or not score.images:
        return []
    chance = 1 / score.classes
    if score.top1 > chance + 2 * math.sqrt(chance * (1 - chance) / score.images):  # two standard errors
        return []
    told = f"the teacher {name!r} is right on {100 * score.top1:.2f} % of the validation images, as guessing could be"
    return [f"{told}: look at the order of its classes, and at its mean and std"]


def placed(bench: dict[str, Any]) -> dict[str, Any]:
    """The workshop's settings with the device that Ray gave this process."""
    import ray

    return {"device": "cuda" if ray.get_gpu_ids() else "cpu", **bench}


def teacher_on_ray(bench: dict[str, Any], data: dict[str, Any], teacher: dict[str, Any], folder: str) -> dict[str, Any]:
    """`prepare_teacher` as a task of Ray; it is here since its process would spend a second on importing Ray Tune.

    How far it is lies in `teacher_progress`, for the search to read. If its process crashed, Ray runs it again; the bench then
    looks for a workaround first.
    """
    bench, note, place = placed(bench), teacher_crash(folder, teacher["name"]), teacher_progress(folder, teacher["name"])
    crash = crash_in(_text(note))
    news = ""
    if crash is not None:
        from autokd.train.teachers import teacher_trial

        note.unlink()
        values = TrialConfig.from_dict({"data": data, "student": {"name": ""}, "teacher": teacher})
        assert values.teacher is not None
        if values.teacher.training is not None:
            news = bench_of(bench).after_crash(teacher_trial(values.data, values.teacher), crash)

    def write(progress: dict[str, Any]) -> None:
        with suppress(OSError, AutokdError):
            write_text(place, json.dumps(progress))

    try:
        with watched(note):
            made = prepare_teacher(bench, data, teacher, folder, write)
    finally:
        place.unlink(missing_ok=True)
    note.unlink(missing_ok=True)
    return {**made, "decisions": [*made.get("decisions", ()), news]} if news else made


def teacher_crash(folder: str, name: str) -> Path:
    """The file in which a crash of the process that prepares a teacher is recorded."""
    return Path(folder) / f"{in_file_name(name)}.crashed.txt"


def teacher_progress(folder: str, name: str) -> Path:
    """The file in which the process that trains a teacher says how far it is, for as long as it does."""
    return Path(folder) / f"{in_file_name(name)}.progress.json"


def read_progress(path: Path) -> dict[str, Any] | None:
    """None where nothing is trained, or nothing was told yet."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def teacher_here(
    bench: dict[str, Any], data: dict[str, Any], teacher: dict[str, Any], folder: str
) -> dict[str, Any] | None:
    """`prepare_teacher` in a process that goes on with other things: neither what it loaded nor its threads stay, and nothing is
    trained: None where the teacher has to be."""
    import torch

    before = torch.get_num_threads()
    try:
        return _prepared(bench, data, teacher, folder, train=False)
    finally:
        forget_benches()
        torch.set_num_threads(before)


@contextmanager
def _in_words(folder: str) -> Iterator[None]:
    """A full disk under a teacher's training is told as what it is, also through Ray."""
    try:
        yield
    except (OSError, RuntimeError) as fault:
        full = files.full_disk(fault)
        if full is None:
            raise
        fix = "make room, then go on with autokd resume: the teacher's training goes on from its last checkpoint"
        raise AutokdError(f"the disk is full: {full.filename or full}", where=folder, fix=fix) from fault


def _sha256(path: str | None) -> str | None:
    return files.sha256_of(path) if path is not None and Path(path).is_file() else None


def teacher_from(values: dict[str, Any]) -> TeacherConfig:
    """A teacher's configuration from the plain values of the ledger."""
    made = TrialConfig.from_dict({"data": {"name": ""}, "student": {"name": ""}, "teacher": values}).teacher
    assert made is not None
    return made


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())


def _first_line(fault: Exception) -> str:
    return (str(fault).strip().splitlines() or [""])[0][:300]
