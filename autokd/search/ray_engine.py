"""Ray Tune as the brain's hands: a searcher and a scheduler that only pass on, and a trainable whose actors are reused.

Ray's own persistence is not relied on (`Tuner.restore` forgets trials that had ended): checkpoints are the jobs', what
happened is in the ledger, and a resume is a fresh Tuner. Ray's own output is silenced; the search tells its observer.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from autokd.machine import cpus, home, writable

# read by Ray when it is imported, or by the processes it starts
for _name, _value in {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
}.items():
    if _name != "RAY_AUTH_MODE" or "ray" not in sys.modules:  # imported before, it has read that it need not ask for a token, and
        os.environ.setdefault(_name, _value)  # starts none that does; with nothing said, its `init` sees to a token by itself
if cpus() <= 16:  # its first workers, one a core, import what takes longest while the search is made ready
    os.environ.setdefault("RAY_preload_python_modules", "torch,autokd.train.trial,pyarrow,autokd.search.ray_engine")

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray._private import utils as ray_utils  # noqa: E402
from ray.tune.execution import tune_controller  # noqa: E402
from ray.tune.progress_reporter import ProgressReporter  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import ConcurrencyLimiter, Searcher  # noqa: E402
from ray.tune.stopper import Stopper  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from autokd.config.trial import TrialConfig  # noqa: E402
from autokd.errors import AutokdError, SearchFailed, readable  # noqa: E402
from autokd.files import write_text  # noqa: E402
from autokd.search import share  # noqa: E402
from autokd.search.brain import STOP, Brain  # noqa: E402
from autokd.search.granted import ray_folder  # noqa: E402
from autokd.search.kept import ERRORS  # noqa: E402
from autokd.search.nodes import Nodes, places  # noqa: E402
from autokd.search.parallel import Verdicts, parallel_student  # noqa: E402
from autokd.search.ray_log import RayLog  # noqa: E402
from autokd.search.share import share_of  # noqa: E402
from autokd.search.teachers import trained_before  # noqa: E402
from autokd.search.work import (  # noqa: E402
    CHECKPOINTS,
    Job,
    bench_of,
    crash_of,
    full_disk,
    order_of,
    placed,
    read_progress,
    teacher_crash,
    teacher_here,
    teacher_on_ray,
    teacher_progress,
)
from autokd.train.crash import CRASH_FIX, crash_in  # noqa: E402

__all__ = ["RayEngine", "Student", "reason_of", "share_of"]

_RETRIES = 2  # of a trial whose worker died
_MEASURED = 3.0  # seconds of training, for each number of threads
_COUNTED = 2.0  # seconds between looks at which machines there are
_WORDLESS = "its process ended without a word"
_MEMORY = ("OutOfMemory", "running low on memory")  # in what Ray tells of a process that it ended for that
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STORE_BYTES = 256 * 2**20  # Ray's object store: nothing large goes through it


class RayEngine:
    """bench: arguments of the workshop in the workers. A Ray that runs already in this process is used, and left running."""

    def __init__(self, bench: dict[str, Any] | None = None, *, address: str | None = None) -> None:
        self.bench = bench or {}
        self.address = address
        self.cancelled = False
        self.gpus = 0.0
        self.cpus = 1.0
        self.workers = 1
        self._mine = False
        self._local = False  # started here, on this machine
        self.teaching = False  # teachers are trained; each goes on from its last checkpoint another time
        self._measuring = False  # a teacher, in this process
        self._nodes = Nodes()
        self._log = RayLog()

    def open(self, resources: Any) -> float:
        """Start Ray, or join the cluster of `address`. Returns the GPUs of one trial; raises AutokdError where what one
        trial asks for is not there."""
        address = self.address or getattr(resources, "address", None)
        if not ray.is_initialized():
            quiet: dict[str, Any] = {
                "include_dashboard": False,
                "log_to_driver": False,
                "logging_level": "ERROR",
                "configure_logging": True,
            }
            if address is None:
                quiet |= {"num_cpus": cpus(), "object_store_memory": _STORE_BYTES, "_temp_dir": str(ray_folder())}
                _see_to_a_token()
            try:
                with _deaf_children(), _readable_words():
                    ray.init(address=address or "local", **quiet)
            except Exception as fault:  # a start that takes too long is told as a bare Exception
                raise _not_started(fault, address) from fault
            self._mine, self._local = True, address is None
        self._log.begin()
        there = ray.cluster_resources()
        self.cpus, self.gpus, self.workers = share_of(resources, there.get("GPU", 0))
        for kind, asked in (("CPU", self.cpus * self.workers), ("GPU", self.gpus)):
            if asked > there.get(kind, 0):
                raise AutokdError(
                    f"a trial asks for {asked:g} {kind}s and there are {there.get(kind, 0):g}",
                    fix=f"lower resources.{kind.lower()}s, or join a larger cluster with --address",
                )
        nodes = [node["Resources"] for node in self._nodes.alive()]
        if not places(nodes, cpus=self.cpus, gpus=self.gpus, workers=self.workers):
            what = f"{self.cpus:g} CPUs" + (f" and {self.gpus / self.workers:g} GPUs" if self.gpus else "")
            fix = "lower resources.cpus or resources.gpus"
            raise AutokdError(f"no machine of the cluster has the {what} of one worker", fix=fix)
        return self.gpus

    def settle(
        self, space: Any, probes: Callable[[], Sequence[TrialConfig]], phase: Callable[[str], None]
    ) -> list[str]:
        """Measure what the space leaves open: threads of a trial on a CPU, its share of a GPU. Returns what was chosen and why.

        probes: gives `share.probes` of the space. phase: told where something has to be measured first. A search that is short
        is not worth measuring threads; on a cluster nothing is measured, as its machines may differ.
        """
        asked, there = space.resources, ray.cluster_resources()
        if self.address or asked.address or self.workers > 1:
            return []
        cores = int(there.get("CPU", 1))
        try:
            if self.gpus and asked.gpus is None:
                self.gpus, told = self._share_of_gpu(probes(), there, phase)
                return [told]
            if not self.gpus and asked.cpus is None and cores > 1 and share.images_of(space) >= share.LONG:
                threads, told = self._threads(probes()[0], cores, phase)
                self.cpus = float(threads)
                return [told]
        except ray.exceptions.RayActorError:  # trials will crash, too, and report it
            return [f"resources of a trial are not measured, since the measuring process crashed: {self.gpus or self.cpus:g} "
                    f"{'of a GPU' if self.gpus else 'threads'} a trial"]  # fmt: skip
        return []

    def _share_of_gpu(
        self, configs: Sequence[TrialConfig], there: dict[str, float], phase: Callable[[str], None]
    ) -> tuple[float, str]:
        facts = share.recall("gpu", configs)
        if facts is None:
            phase("measuring how many trials share a GPU")
            found = []
            for config in configs:  # one after the other, each in a process that begins with an empty GPU
                (probe,) = self._probes(config, 1, cpus=self.cpus, gpus=1.0)
                found.append(ray.get(probe.memory.remote()))
                ray.kill(probe)
            facts = {"peak": max(peak for peak, _ in found), "total": min(total for _, total in found)}
            share.remember("gpu", configs, facts)
        return share.gpu_share(facts["peak"], facts["total"], cores=there.get("CPU", 1) / self.cpus, gpus=there.get("GPU", 1))

    def _threads(self, config: TrialConfig, cores: int, phase: Callable[[str], None]) -> tuple[int, str]:
        facts = share.recall("threads", [config])
        if facts is None:
            phase("measuring how many threads a trial is fastest with")
            facts = {}
            for threads in (1, 2):
                made = self._probes(config, cores // threads, cpus=threads)
                ray.get([probe.ready.remote() for probe in made])
                facts[str(threads)] = sum(ray.get([probe.rate.remote(_MEASURED) for probe in made]))
                for probe in made:
                    ray.kill(probe)
            share.remember("threads", [config], facts)
        return share.best_threads({int(threads): rate for threads, rate in facts.items()})

    def _probes(self, config: TrialConfig, count: int, *, cpus: float, gpus: float = 0.0) -> list[Any]:
        made = ray.remote(num_cpus=cpus, num_gpus=gpus)(share.Probe)
        bench = {**self.bench, "threads": max(1, int(cpus)), "device": "cuda" if gpus else "cpu"}
        return [made.remote(bench, config.to_dict()) for _ in range(count)]

    def room(self) -> int:
        """How many trials run at once."""
        there = [node["Resources"] for node in self._nodes.alive()]
        return max(1, places(there, cpus=self.cpus, gpus=self.gpus, workers=self.workers))

    def teachers(
        self,
        data: dict[str, Any],
        teachers: dict[str, dict[str, Any]],
        folder: str,
        on_progress: Callable[[str, dict[str, Any]], None] = lambda name, progress: None,
    ) -> dict[str, dict[str, Any]]:
        """Train or load every teacher, several at a time, and measure it; by name. on_progress: hears a teacher's name and how
        far it is.

        On this machine's CPUs those that are only to be measured are so in this process: Ray gives no process that ran a task to
        an actor, and a trial's would have to be begun anew.
        """
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus / self.workers, max_retries=_RETRIES)(teacher_on_ray)
        folder = str(Path(folder).resolve())
        self._nodes.reach(folder)

        def there(name: str) -> bool:
            return self._local and not self.gpus and (teachers[name]["training"] is None or trained_before(name, folder))

        def begun(name: str) -> Any:
            teacher_progress(folder, name).unlink(missing_ok=True)  # of a search that was cut off
            return task.remote(self._settings(), data, teachers[name], folder)

        near = [name for name in teachers if there(name)]
        waiting = {begun(name): name for name in teachers if name not in near}
        found = {name: self._measured(data, teachers[name], folder) for name in near}
        made = {name: facts for name, facts in found.items() if facts is not None}
        waiting |= {begun(name): name for name in near if name not in made}  # trained before, and not so
        self.teaching = bool(waiting)
        seen: dict[str, dict[str, Any] | None] = {}
        while waiting:
            for name in waiting.values():
                progress = read_progress(teacher_progress(folder, name))
                if progress is not None and progress != seen.get(name):
                    seen[name] = progress
                    on_progress(name, progress)
            if self.cancelled:
                for one in waiting:
                    ray.cancel(one, force=True)
                raise KeyboardInterrupt
            ready, _ = ray.wait(list(waiting), timeout=0.5)
            for one in ready:
                name = waiting.pop(one)
                try:
                    made[name] = ray.get(one)
                except ray.exceptions.RayTaskError as fault:
                    cause = fault.cause
                    raise (cause if isinstance(cause, AutokdError) else fault) from None
                except ray.exceptions.RayError as fault:
                    raise _lost_teacher(name, folder, fault) from None
        self.teaching = False
        return {name: made[name] for name in teachers}

    def _measured(self, data: dict[str, Any], teacher: dict[str, Any], folder: str) -> dict[str, Any] | None:
        if self.cancelled:
            raise KeyboardInterrupt
        self._measuring = True
        try:
            return teacher_here({"device": "cpu", **self._settings()}, data, teacher, folder)
        finally:
            self._measuring = False

    def run(self, brain: Brain, run: str | os.PathLike[str], tick: Callable[[], None] = lambda: None) -> None:
        """Until the brain proposes nothing more, a limit is hit, or `cancel` is called."""
        self._log.into(Path(run).resolve())
        self._nodes.reach(run)
        bridge = _Bridge(brain, Path(run).resolve(), self._settings(), tick, lambda: self.cancelled)
        if self.workers > 1:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # lost with us alone
            verdicts: Any = ray.remote(num_cpus=0)(Verdicts)
            bridge.verdicts = verdicts.options(scheduling_strategy=here).remote()
            each = {"workers": self.workers, "cpus": self.cpus, "gpus": self.gpus / self.workers}
            bridge.extra = {**each, "verdicts": bridge.verdicts}
            bridge.patient = not self._mine
        folder = Path(run).resolve() / "ray"
        there = ray.cluster_resources()
        own_cpus, own_gpus = self.cpus, self.gpus  # Ray pickles what the function holds

        def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            """More for a trial that ran out of memory, so that fewer others stand beside it."""
            share = config.get("share", 1.0)
            asked = {"CPU": min(own_cpus * share, max(own_cpus, there.get("CPU", 1)))}
            if own_gpus:
                asked["GPU"] = own_gpus if own_gpus >= 1 else min(1.0, own_gpus * share)
            return tune.PlacementGroupFactory([asked])

        alone = self.workers == 1
        self._fit(bridge, brain, resources, folder, alone)
        while bridge.fault is None and brain.requeued and not (self.cancelled or brain.over or brain.pausing):
            self._fit(bridge, brain, resources, folder, alone)  # Tune had heard already that there is nothing more
        if bridge.fault is not None:
            raise bridge.fault

    def _fit(self, bridge: _Bridge, brain: Brain, resources: Any, folder: Path, alone: bool) -> None:
        shutil.rmtree(folder / "tune", ignore_errors=True)  # an earlier session's; nothing in it is needed
        at_once = ConcurrencyLimiter(_Searcher(bridge), max_concurrent=brain.plan.concurrent or self.room())
        if brain.plan.concurrent is None:
            bridge.count = lambda: self._count(at_once)
        tuner = tune.Tuner(
            # several workers are Ray Train's, which asks for what they need itself
            tune.with_resources(Student, resources) if alone else tune.with_resources(parallel_student, {"memory": 1}),
            tune_config=tune.TuneConfig(
                search_alg=at_once,
                scheduler=_Scheduler(bridge),
                num_samples=-1,
                reuse_actors=alone,
                trial_name_creator=_short_name,
                trial_dirname_creator=_short_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),
                stop=_Ending(bridge),
                verbose=0,
                progress_reporter=_Silent(),
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False)
                if alone
                else None,
            ),
        )
        with _ready_processes() if alone and self._local else nullcontext():
            tuner.fit()

    def _count(self, at_once: ConcurrencyLimiter) -> None:
        """As many trials as there is room for now: machines join and are lost."""
        self._nodes.look()
        at_once.max_concurrent = self.room()

    def cancel(self) -> None:
        """End what runs. In the main thread (Ctrl-C) a measurement of a teacher is left at once, with KeyboardInterrupt."""
        self.cancelled = True
        if self._measuring and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    def close(self) -> None:
        self._nodes.close()
        if self._mine and ray.is_initialized():
            ray.shutdown()
        self._log.end()

    def _settings(self) -> dict[str, Any]:
        return {"threads": max(1, int(self.cpus)), **self.bench}


class Student(tune.Trainable):
    """One trial after another in one process. `setup` does nothing: Ray may run it twice for the same trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self.order = config["order"]
        self.job: Job | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self.job is not None:
            self.job.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self.job is None:
            order = json.loads(self.order)
            self.job = Job(order, bench_of(placed(order["bench"])))
            self.job.watch()
        return {"told": json.dumps(self.job.step())}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None  # the job's own lie in the run folder already

    def load_checkpoint(self, checkpoint: Any) -> None:
        return None

    def cleanup(self) -> None:
        if self.job is not None:
            self.job.close()


class _Bridge:
    """The brain as Ray's objects see it: trials under Ray's names, and no exception that Ray would swallow."""

    def __init__(
        self, brain: Brain, run: Path, bench: dict[str, Any], tick: Callable[[], None], cancelled: Callable[[], bool]
    ) -> None:
        self.brain, self.run, self.bench, self.tick, self.cancelled = brain, run, bench, tick, cancelled
        self.names: dict[str, str] = {}  # Ray's id of a trial: ours
        self.reasons: dict[str, str] = {}
        self.errors: dict[str, str] = {}  # all that Ray told, for the trial's log
        self.fault: BaseException | None = None
        self.count: Callable[[], None] = lambda: None  # the machines, from time to time
        self._counted = time.monotonic()
        self.extra: dict[str, Any] = {}  # of a trial's configuration, for Ray
        self.verdicts: Any = None  # where workers of one trial ask whether to go on
        self.patient = (
            False  # let such workers come to their next mark, since Ray Train leaves what it is killed over behind
        )

    def guarded(self, action: Callable[[], Any], otherwise: Any) -> Any:
        """Ray turns what is raised inside it into text; keep the exception itself and stop."""
        if self.fault is not None:
            return otherwise
        try:
            return action()
        except BaseException as fault:
            self.fault = fault
            return otherwise

    def suggest(self, ray_id: str) -> Any:
        proposal = self.brain.propose()
        if proposal is None:
            return None if self.brain.waiting else Searcher.FINISHED
        self.names[ray_id] = proposal.trial
        order = order_of(proposal, self.run, self.bench)
        return {"order": json.dumps(order), "share": proposal.share, **self.extra}

    def report(self, ray_id: str, told: dict[str, Any]) -> str:
        trial = self.names[ray_id]
        if "full" in told:
            raise full_disk(told, self.run)
        if "memory" in told:
            self.brain.out_of_memory(trial, told["failed"], told["memory"])
            return TrialScheduler.STOP
        if "failed" in told:
            self.brain.fail(trial, told["failed"], machine=told["machine"])
            return TrialScheduler.STOP
        if self.brain.report(trial, told) == STOP or (self.patient and self.brain.over):
            self.brain.release(trial)
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE

    def broken(self, ray_id: str) -> None:
        trial, reason = self.names[ray_id], self.reasons.get(ray_id, "its worker ended")
        folder = self.run / CHECKPOINTS / trial
        crash, said = crash_of(folder)
        if crash is not None and reason.startswith(_WORDLESS):
            reason = f"its process was ended by {crash}; {CRASH_FIX}"
        if ray_id in self.errors:
            try:
                write_text(folder / ERRORS, "\n".join(filter(None, [said.strip(), self.errors[ray_id]])))
            except (OSError, AutokdError):
                pass
        if any(word in self.errors.get(ray_id, "").rpartition("Failure # ")[2] for word in _MEMORY):
            self.brain.out_of_memory(trial, f"out of memory: {reason}")
        else:
            self.brain.fail(trial, reason, machine=True)

    def stop_all(self) -> bool:
        self.tick()
        if time.monotonic() - self._counted > _COUNTED:
            self._counted = time.monotonic()
            self.count()
        return self.cancelled() or (self.brain.over and not self.patient)


class _Adapter:
    """Ray pickles what it is given, to restore from; nothing of ours is restored from there."""

    bridge: Any

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "bridge"}


class _Searcher(_Adapter, Searcher):
    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self.bridge = bridge

    def suggest(self, trial_id: str) -> Any:
        return self.bridge.guarded(lambda: self.bridge.suggest(trial_id), Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        if error:
            self.bridge.guarded(lambda: self.bridge.broken(trial_id), None)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Scheduler(_Adapter, FIFOScheduler):
    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self.bridge = bridge

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None in particular. Tune would give the chosen one the process of a trial that ends, and kill the one it was beginning
        in: where trials are shorter than a process takes to begin, its place never gets one. So it takes them in order."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        told = json.loads(result["told"])
        decision = self.bridge.guarded(lambda: self.bridge.report(trial.trial_id, told), TrialScheduler.STOP)
        if self.bridge.verdicts is None:
            return decision
        if "failed" not in told:
            self.bridge.verdicts.tell.remote(told["checkpoint"], decision == TrialScheduler.CONTINUE)
        return TrialScheduler.CONTINUE  # it ends by itself

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self.bridge.errors[trial.trial_id] = told = _told_by_ray(trial)
        self.bridge.reasons[trial.trial_id] = reason_of(told)


class _Ending(_Adapter, Stopper):
    def __init__(self, bridge: _Bridge) -> None:
        self.bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.bridge.guarded(self.bridge.stop_all, True)


class _Silent(ProgressReporter):
    def should_report(self, trials: Any, done: bool = False) -> bool:
        return False

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        pass


class _Plain:
    """Tune's cache of actor classes, without environment variables of the actors' own."""

    def __init__(self) -> None:
        self.made: dict[Any, Any] = {}

    def get(self, trainable: Any) -> Any:
        if trainable not in self.made:
            self.made[trainable] = ray.remote(trainable)
        return self.made[trainable]


@contextmanager
def _ready_processes() -> Iterator[None]:
    """Let Tune's actors begin in processes that stand ready.

    Tune asks for environment variables of an actor's own, so that each begins as a new process, which imports everything once
    more; on a Ray of our own the processes have inherited what is in them. (Ray 2.60, tests/search/test_ray_start.py; where a
    later one has no such cache, actors are new processes again.)
    """
    theirs = getattr(tune_controller, "_ActorClassCache", None)
    if theirs is None:
        yield
        return
    setattr(tune_controller, "_ActorClassCache", _Plain)  # noqa: B010
    try:
        yield
    finally:
        setattr(tune_controller, "_ActorClassCache", theirs)  # noqa: B010


def _see_to_a_token() -> None:
    """Ray keeps the word that its processes know one another by in the home folder; where it cannot, it gets one from us."""
    own = home()
    kept = own / ".ray" / "auth_token" if own is not None else None
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or (kept is not None and os.access(kept, os.R_OK)):
        return
    if kept is None or not writable(kept.parent):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started here do not hear SIGHUP, which a terminal that closes sends to all: the search pauses, and
    they are to come to their next checkpoint. One that arrives meanwhile is heard afterwards."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _readable_words() -> Iterator[None]:
    """Ray records the words this process was started with, and fails over a file's name among them that is not UTF-8."""
    theirs = getattr(ray_utils, "get_entrypoint_name", None)
    if theirs is None:
        yield
        return
    setattr(ray_utils, "get_entrypoint_name", lambda: readable(theirs()))  # noqa: B010
    try:
        yield
    finally:
        setattr(ray_utils, "get_entrypoint_name", theirs)  # noqa: B010


def _not_started(fault: Exception, address: str | None) -> AutokdError:
    """What a person is told of a Ray that could not be started or joined, and the way out that fits what Ray told."""
    told = " ".join(str(fault).split())[:300]
    if address:
        fix = "check the address, and that the cluster runs the same Ray and Python"
        return AutokdError(f"the Ray cluster at {address} could not be reached: {told}", fix=fix)
    late = "try again once less runs on this machine; " if "timed out" in told else ""
    fix = f"{late}Ray's logs: {ray_folder() / 'session_latest' / 'logs'}; what it needs of the machine: autokd doctor"
    return AutokdError(f"Ray did not start: {told}", fix=fix)


def _lost_teacher(name: str, folder: str, fault: Exception) -> AutokdError:
    """The fault of a teacher whose process died at every try."""
    note = teacher_crash(folder, name)
    try:
        crash = crash_in(note.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        crash = None
    if crash is not None:
        return SearchFailed(f"the process that trained the teacher {name!r} was ended by {crash}", where=str(note), fix=CRASH_FIX)
    said = (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]
    fix = "see how much memory the machine has left; a smaller batch of the teacher's recipe takes less"
    return SearchFailed(f"the process that trained the teacher {name!r} ended without a word (Ray: {said})", fix=fix)


def _told_by_ray(trial: Any) -> str:
    """What each failure of a trial was. Ray's own `get_error` looks where the file is brought only later."""
    try:
        return _COLOURS.sub("", Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
    except (OSError, TypeError):
        return ""


def reason_of(told: str) -> str:
    """One line of what Ray told of a trial's last failure."""
    last = told.rpartition("Failure # ")[2].strip()
    lines = [line.strip() for line in last.splitlines()[1:] if line.strip()]
    if any(word in last for word in ("its node has died", "node was terminated")):
        return "its machine was lost"
    if "its worker process has died" in last:
        detail = last.partition("Worker exit detail: ")[2].partition(" Some common causes")[0].strip()
        return f"{_WORDLESS} (Ray: {detail[:200]})" if detail else _WORDLESS
    return lines[-1][:300] if lines else "its worker ended"


def _short_name(trial: Any) -> str:
    return f"trial_{trial.trial_id}"
