"""Latencies: measured once a machine in a process of its own, before anything else of a search runs, and kept.

What is timed is a network under a deployment (autokd.config.limits.Deployment) at the data set's image size. The answers lie
beside the counted costs in the cache folder, and in the run's ledger, so that a resume measures nothing again. An answer in the
cache holds for the same network (name, options, classes, channels, height and width), deployment, machine (processor, number of
processors, system, GPU), Python, torch, library of the network (timm or torchvision, with its version) or source files of one's
own (autokd.models.origin), and code of autokd that builds and times it. A timing that is not trustworthy (`Timing.doubt`) is
used by the run that measured it; the next command measures again.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from autokd.config.limits import Deployment
from autokd.cost.latency import Timing, differ
from autokd.errors import AutokdError, as_one
from autokd.files import cache_root
from autokd.machine import cpus
from autokd.models.origin import origin
from autokd.models.sources import code
from autokd.search.notes import keep_notes, read_notes
from autokd.train.crash import crash_of_exit

__all__ = ["Asked", "Measured", "machine", "of_ledger", "time_all"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_CAP = 4.0  # seconds of repetitions a network

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A network to be timed under a deployment. `where`: the budget that asks, as file:line."""

    name: str
    model: str
    options: Mapping[str, Any]
    classes: int
    channels: int
    size: int | tuple[int, int]
    deployment: Deployment
    where: str = ""

    @property
    def key(self) -> str:
        """What the time depends on, but for the machine and the code."""
        what = {**asdict(self), "options": dict(self.options)}
        if own := code(self.model):
            what["code"] = own
        return json.dumps({word: what[word] for word in what if word not in ("name", "where")}, sort_keys=True, default=repr)


@dataclass(frozen=True)
class Measured:
    """Timings by the key of what was asked, the machine they were taken on, and what a person should know of them."""

    machine: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Timing] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def time_all(
    asked: Sequence[Asked],
    *,
    kept: Measured | None = None,
    tell: Tell = lambda text: None,
    path: Path | None = None,
    again: bool = False,
    code: str = "",
    run: Callable[[Deployment, Sequence[Asked], Tell], dict[str, Timing]] | None = None,
) -> Measured:
    """The time of everything that is asked: as the run's earlier session had it (`kept`), from the cache file, or measured.

    A run's own timings hold on another machine too, since its budgets were divided by them; where some are missing there, all
    are measured again, so that no two machines are compared. again: the cache is not asked. Raises AutokdError or Faults
    where something cannot be timed here.
    """
    run = run or _in_a_process
    here = machine(any(one.deployment.device == "cuda" for one in asked))
    notes: list[str] = []
    found = {one.key: kept.timings[one.key] for one in asked if kept is not None and one.key in kept.timings}
    if kept is not None and found and _other(kept.machine, here):
        there = f"{_words(kept.machine)}, and this is {_words(here)}"
        if len(found) == len({one.key for one in asked}):
            return Measured(kept.machine, found, (f"latencies were measured on {there}: they are kept",))
        notes.append(f"latencies were measured on {there}: all are measured again")
        found = {}
    path = path or cache_root() / "latencies.json"
    missing = {one.key: one for one in asked if one.key not in found}
    if missing:
        _possible(missing.values(), here)
        with _alone(path, tell):
            known = {} if again else _read(path, code)
            made_by = {key: origin(one.model, one.options) for key, one in missing.items()}
            place = {key: json.dumps([here, made_by[key], key], sort_keys=True) for key in missing}
            trusted = {key: one for key in missing if made_by[key] and (one := known.get(place[key])) and not one.doubt}
            found |= trusted
            new = _measured([one for key, one in missing.items() if key not in found], run, tell)
            if new:
                before = _read(path, code)
                new = {key: _compared(timing, before.get(place[key]) if made_by[key] else None) for key, timing in new.items()}
                _keep(path, code, before | {place[key]: timing for key, timing in new.items()})
            found |= new
    notes += _doubted(asked, found)
    return Measured(here, found, tuple(notes))


def _compared(new: Timing, kept: Timing | None) -> Timing:
    """Mark a timing that differs from the cached one. The next measurement decides which was right."""
    if kept is None or kept.doubt or new.doubt or not differ(kept.median, new.median):
        return new
    return replace(new, doubt=f"an earlier measurement was {kept.median.value:.3g} ms, this one {new.median.value:.3g} ms")


def _doubted(asked: Sequence[Asked], found: Mapping[str, Timing]) -> list[str]:
    doubts = {one.name: found[one.key].doubt for one in asked if found[one.key].doubt}
    if not doubts:
        return []
    said = "; ".join(f"{name}: {doubt}" for name, doubt in sorted(doubts.items()))
    again = "measure again on a quiet machine: autokd validate SPACE --remeasure"
    return [f"latency not trustworthy ({said}); it excludes no student; {again}"]


def machine(gpu: bool = False) -> dict[str, Any]:
    """What a time depends on, beside the network: processor, cores, versions; and the GPU where one is asked for."""
    told = {
        "processor": _processor(),
        "cpus": cpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": metadata.version("torch"),
    }
    return {**told, "gpu": _gpu()} if gpu else told


def of_ledger(past: Iterable[Mapping[str, Any]]) -> Measured | None:
    """The timings that a run's earlier sessions went by."""
    told = None
    for event in past:
        if event["event"] in ("begin", "resume") and event.get("latencies"):
            told = event["latencies"]
    if told is None:
        return None
    timings = {}
    for one in told["timings"]:
        try:
            timings[one["network"]] = Timing.from_dict(one)
        except (KeyError, TypeError, ValueError):  # a ledger of another version
            continue
    return Measured(told["machine"], timings)


def _measured(asked: Sequence[Asked], run: Any, tell: Tell) -> dict[str, Timing]:
    found: dict[str, Timing] = {}
    groups: dict[Deployment, list[Asked]] = {}
    for one in asked:
        groups.setdefault(one.deployment, []).append(one)
    for deployment, some in groups.items():
        found |= run(deployment, some, tell)
    return found


def _in_a_process(deployment: Deployment, asked: Sequence[Asked], tell: Tell) -> dict[str, Timing]:
    """Time networks in a new process with the deployment's number of threads. If it crashes, another process times the rest."""
    left = {one.key: one for one in asked}
    found: dict[str, Timing] = {}
    faults: list[AutokdError] = []
    tell(f"timing {len(left)} network{'s' * (len(left) > 1)} ({deployment})")
    while left:
        answered, over, ended = _one_process(deployment, left, found, faults, tell, of=len(asked))
        left = {key: one for key, one in left.items() if key not in answered}
        if not left:
            break
        crash = crash_of_exit(*ended)
        if crash is None or over not in left:
            said = (ended[1].strip().splitlines() or ["no reason told"])[-1]
            where = next(iter(left.values())).where
            faults.append(AutokdError(f"the timing of students ended early: {said}", where=where))
            break
        lost = left.pop(over)
        fix = "remove it from the space, or change the conditions of the latency"
        faults.append(AutokdError(f"{lost.name} cannot be timed: its process was ended by {crash}", where=lost.where, fix=fix))
    if faults:
        raise as_one(faults)
    return found


def _one_process(
    deployment: Deployment,
    asked: Mapping[str, Asked],
    found: dict[str, Timing],
    faults: list[AutokdError],
    tell: Tell,
    *,
    of: int,
) -> tuple[set[str], str, tuple[int, str]]:
    """Fills `found` and `faults`. Returns the answered keys, the key timed last, and (exit code, stderr)."""
    networks = [
        {"key": key, **{name: getattr(one, name) for name in ("model", "options", "classes", "channels", "size")}}
        for key, one in asked.items()
    ]
    job = {"deployment": asdict(deployment), "cap": _CAP, "networks": networks}
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, **{name: str(deployment.threads) for name in _THREADS}, "PYTHONFAULTHANDLER": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    answered: set[str] = set()
    over = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        command = [sys.executable, "-m", "autokd.cost.timing"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "encoding": "utf-8"}
        with subprocess.Popen(command, env=environment, **pipes) as process:
            try:
                process.stdin.write(json.dumps(job, default=repr))  # type: ignore[union-attr]
                process.stdin.close()  # type: ignore[union-attr]
                for line in process.stdout or ():
                    answer = json.loads(line)
                    one = asked[answer["key"]]
                    if "begun" in answer:
                        over = one.key
                        continue
                    answered.add(one.key)
                    if "fault" in answer:
                        what, where, fix = answer["fault"]
                        faults.append(AutokdError(what, where=one.where or where, fix=fix))
                        continue
                    found[one.key] = Timing.from_dict(answer["timing"])
                    tell(f"timed {one.name}: median {found[one.key].median} ({len(found)} of {of})")
            except BrokenPipeError:  # it ended before it was asked; its last words say why
                pass
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        return answered, over, (process.returncode, errors.read())


def _possible(asked: Iterable[Asked], here: Mapping[str, Any]) -> None:
    """Raises where this machine has not what the deployments ask for, all at once."""
    granted = here["cpus"]
    faults: list[AutokdError] = []
    for one in asked:
        if one.deployment.device == "cuda" and here["gpu"] == "none":
            fix = "search on a machine with one, or device: cpu"
            fault = AutokdError("a latency on a GPU cannot be measured here: there is none", where=one.where, fix=fix)
            faults.append(fault)
        if one.deployment.threads > granted:
            what = f"a latency with {one.deployment.threads} threads cannot be measured here: {granted} processors may be used"
            fix = f"search on the machine it is meant for, or threads: {granted}"
            fault = AutokdError(what, where=one.where, fix=fix)
            faults.append(fault)
    if faults:
        raise as_one(faults)


@contextmanager
def _alone(path: Path, tell: Tell) -> Iterator[None]:
    """One process at a time measures on this machine, and the cache file has one writer."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: a promise there, not a check
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file: IO[str] = open(path.with_suffix(".lock"), "a+", encoding="utf-8")  # noqa: SIM115
    except OSError:  # a cache that cannot be written
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("waiting: another process is timing students on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path, code: str) -> dict[str, Timing]:
    try:
        return {key: Timing.from_dict(one) for key, one in read_notes(path, code, "timings").items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _keep(path: Path, code: str, timings: Mapping[str, Timing]) -> None:
    keep_notes(path, code, "timings", {key: one.to_dict() for key, one in timings.items()})


def _other(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    return any(there.get(name) != here.get(name) for name in ("processor", "cpus", "system", "gpu"))


def _words(told: Mapping[str, Any]) -> str:
    gpu = f", {told['gpu']}" if told.get("gpu") else ""
    return f"{told.get('processor', 'another machine')} ({told.get('cpus', '?')} processors{gpu})"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu() -> str:
    """The first GPU's name, asked for in another process: asking takes GPU memory for good."""
    asking = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    told = subprocess.run([sys.executable, "-c", asking], capture_output=True, encoding="utf-8", errors="replace", check=False)
    return told.stdout.strip().splitlines()[-1] if told.stdout.strip() else "none"
