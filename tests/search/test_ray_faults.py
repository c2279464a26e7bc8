"""What goes wrong in a trial's process, on a real Ray: memory, time, and an end without a word."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from search_fakes import Bench, FakeTrial, Space, divided

from autokd.search.run import search
from autokd.track.ledger import FILE, read_events

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MIB = 2**20


class Unlucky(FakeTrial):
    """The first trial of a large student meets `fault`; `folder` keeps which one that was, and what it saw."""

    fault = folder = ""

    def advance(self, images):
        folder, mine = Path(self.folder), f"seed {self.config.seed}"
        if self.config.student.name == "large":
            try:
                with open(folder / "who", "x") as file:
                    file.write(mine)
            except FileExistsError:
                pass
            if (folder / "who").read_text() == mine:
                with open(folder / "tries", "a") as file:
                    file.write(f"{cpus_given():g}\n")
                getattr(self, self.fault)(folder)
        return super().advance(images)

    def memory(self, folder):
        """More than the process may have, the first time: it truly takes 300 MiB and asks for 8 GiB."""
        import resource

        if len((folder / "tries").read_text().split()) > 1:
            return
        held = bytearray(300 * MIB)
        held[::4096] = b"x" * len(held[::4096])
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size_of_process() + 1024 * MIB, before[1]))
        try:
            bytearray(8192 * MIB)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    def hang(self, folder):
        time.sleep(3600)

    def crash(self, folder):
        os._exit(7)

    def segfault(self, folder):
        os.kill(os.getpid(), signal.SIGSEGV)

    def segfault_once(self, folder):
        if len((folder / "tries").read_text().split()) == 1:
            os.kill(os.getpid(), signal.SIGSEGV)


def size_of_process():
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def cpus_given():
    import ray

    return ray.get_runtime_context().get_assigned_resources()["CPU"]


class UnluckyBench(Bench):
    def __init__(self, fault="", folder="", **settings):
        super().__init__(**settings)
        self.fault, self.folder = fault, folder

    def trial(self, config):
        made = Unlucky(config)
        made.fault, made.folder = self.fault, self.folder
        return made

    def after_crash(self, config, crash):
        return f"{config.student.name}: another way, since {crash}" if self.fault == "segfault_once" else ""


@pytest.fixture(scope="module")
def engine():
    """What makes an engine; all use one Ray."""
    from autokd.search.ray_engine import RayEngine

    here = Path(__file__).resolve()
    first = RayEngine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{here.parent}{os.pathsep}{here.parents[2]}")  # for the workers
        first.open(SimpleNamespace(cpus=1.0, gpus=0.0, workers=1, address=None))
        yield lambda fault, folder: RayEngine(
            {"factory": "test_ray_faults:UnluckyBench", "fault": fault, "folder": str(folder)}
        )
    first.close()


def ran(engine, fault, folder, on_event=None, **settings):
    space = Space(scheduler="none", max_failures=1.0, trials=8, **settings)
    run = search(space, runs=folder / "runs", feasible=divided(), engine=engine(fault, folder), on_event=on_event)
    ends = {event["trial"]: event for event in events(run, "end")}
    assert len(ends) == len(events(run, "end")) == 8 and run.status()["state"] == "finished"
    return run, [event for event in ends.values() if event["status"] == "failed"]


def events(run, kind):
    return [event for event in read_events(run.folder / FILE) if event["event"] == kind]


def test_a_trial_out_of_memory_is_given_twice_the_share_once_and_its_peak_is_told(tmp_path, engine):
    import ray

    run, failed = ran(engine, "memory", tmp_path)
    (told,) = events(run, "requeue")
    assert not failed and told["share"] == 2.0
    assert 300 * MIB < told["peak"] < 4096 * MIB and "MiB" in told["reason"]
    given = (tmp_path / "tries").read_text().split()
    assert given[0] == "1" and set(given[1:]) == {f"{min(2, ray.cluster_resources()['CPU']):g}"}


def test_a_trial_that_hangs_is_ended_by_its_time_limit_and_the_search_goes_on(tmp_path, engine):
    run, (failed,) = ran(engine, "hang", tmp_path, trial_hours=4 / 3600)
    assert "search.trial_hours" in failed["reason"] and failed["machine"]
    assert len((tmp_path / "tries").read_text().split()) == 1  # not tried again
    assert "in hang" in (run.folder / "ray/checkpoints" / failed["trial"] / "error.txt").read_text()  # where it stood


def test_a_trial_whose_process_ends_without_a_word_is_tried_twice_more_then_failed_with_what_ray_told(tmp_path, engine):
    run, (failed,) = ran(engine, "crash", tmp_path)
    assert len((tmp_path / "tries").read_text().split()) == 3
    assert failed["machine"] and failed["reason"].startswith("its process ended without a word (Ray: ")
    assert len(failed["reason"]) < 200
    log = run.folder / "ray/checkpoints" / failed["trial"] / "error.txt"
    assert log.read_text().count("Failure # ") == 3 and "\x1b" not in log.read_text()


def test_a_trial_that_a_signal_ends_is_told_by_its_name_and_place_and_ray_says_nothing(tmp_path, engine, capfd):
    run, (failed,) = ran(engine, "segfault", tmp_path)
    assert len((tmp_path / "tries").read_text().split()) == 3 and failed["machine"]
    where = f"in segfault ({Path(__file__).name}:"
    assert failed["reason"].startswith(f"its process was ended by SIGSEGV (segmentation fault) {where}")
    assert "remove this network from the space" in failed["reason"]
    log = (run.folder / "ray/checkpoints" / failed["trial"] / "error.txt").read_text()
    assert "Fatal Python error: Segmentation fault" in log and log.count("Failure # ") == 3
    said = capfd.readouterr()
    assert "worker" not in said.out + said.err and "ERROR" not in said.err
    assert "A worker died" in (run.folder / "ray/messages.log").read_text()


def test_a_trial_goes_on_where_a_way_around_the_crash_is_found(tmp_path, engine):
    said = []
    run, failed = ran(engine, "segfault_once", tmp_path, on_event=said.append)
    assert not failed and len((tmp_path / "tries").read_text().split()) > 1
    (told,) = [event["text"] for event in said if event["event"] == "decision"]
    assert told.startswith("large: another way, since SIGSEGV (segmentation fault) in segfault_once")
