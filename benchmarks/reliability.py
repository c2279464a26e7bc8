"""Searches on digits that are killed at random moments, for true, and resumed: what is left when they have ended.

    python -m benchmarks.reliability --driver 50 --worker 20 [--space search_spaces/digits.yaml] [--seed 0]
    python -m benchmarks.reliability --table 10000 --driver 0 --worker 0    how long commands take on a run of so many trials
    python -m benchmarks.reliability --cache 8 --driver 0 --worker 0        so many processes fill one signal cache
    python -m benchmarks.reliability --driver 0 --worker 0 --cluster 1

Prints rows of the table in docs/reliability.md. Ends with 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from autokd.track.ledger import FILE, read_events
from autokd.track.table import read_table

AUTOKD = (sys.executable, "-m", "autokd.cli.main")


def start(*words: str, log: Path) -> subprocess.Popen[bytes]:
    """autokd with these words, in a group of its own, so that Ray's processes are known by it."""
    with open(log, "ab") as file:
        return subprocess.Popen([*AUTOKD, *words, "--quiet"], stdout=file, stderr=file, start_new_session=True)


def ledger(runs: Path) -> list[dict[str, Any]]:
    return [event for path in runs.glob(f"*/{FILE}") for event in read_events(path)]


def kill_drivers(space: str, options: list[str], count: int, draw: random.Random, folder: Path) -> tuple[bool, str]:
    """Kill the driver so many times in all, over as many searches as it takes; each is brought to its end."""
    killed = lost = running = torn = searches = trials = unlike = 0
    while killed < count:
        runs, log = folder / f"driver{searches}", folder / f"driver{searches}.log"
        searches += 1
        process = start("search", space, "--runs", str(runs), *options, log=log)
        wait_for_begin(process, runs, log)
        while killed < count:
            until = time.monotonic() + draw.uniform(0.0, 8.0)
            while time.monotonic() < until and process.poll() is None:
                time.sleep(0.02)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            before = {e["trial"]: e for e in ledger(runs) if e["event"] == "end" and e["status"] != "stopped"}
            process = start("resume", "--runs", str(runs), log=log)
            wait_for_resume(process, runs, log, sum(e["event"] == "resume" for e in ledger(runs)))
            after = {e["trial"]: e for e in ledger(runs) if e["event"] == "end"}
            lost += sum(after.get(trial) != event for trial, event in before.items())
        finish(process, log)
        events, (run,) = ledger(runs), [path.parent for path in runs.glob(f"*/{FILE}")]
        rows, known = read_table(run).to_pylist(), {e["trial"] for e in events if e["event"] == "trial"}
        ended = Counter(e["trial"] for e in events if e["event"] == "end")
        ended.subtract(e["trial"] for e in events if e["event"] == "again")  # stopped at a rung, and gone on with
        torn += len(known - set(ended)) + sum(times > 1 for times in ended.values()) + ({r["trial"] for r in rows} != known)
        states = children(runs, run)
        running += sum(state == "RUNNING" for _, state in states)
        unlike += Counter(trial for trial, _ in states if trial) != Counter(known)
        trials += len(known)
    told = f"{killed} kills in {searches} searches of {trials} trials: {lost} finished trials lost, {torn} not ended just once, "
    told += f"{unlike} searches whose MLflow children differ, {running} RUNNING"
    return not (lost or torn or unlike or running), told


def kill_workers(space: str, options: list[str], count: int, draw: random.Random, folder: Path) -> tuple[bool, str]:
    """Kill a process that trains, so many times in all."""
    killed = searches = trials = wrong = failed = 0
    while killed < count:
        runs, log = folder / f"worker{searches}", folder / f"worker{searches}.log"
        searches += 1
        process, seen = start("search", space, "--runs", str(runs), *options, log=log), 0
        while process.poll() is None:
            time.sleep(draw.uniform(0.2, 2.0))
            reports = [e for e in ledger(runs) if e["event"] == "report"]
            if killed < count and len(reports) > seen and alive(pid := reports[-1]["pid"]):
                os.kill(pid, signal.SIGKILL)
                killed, seen = killed + 1, len(reports)
        finish(process, log)
        events, (run,) = ledger(runs), [path.parent for path in runs.glob(f"*/{FILE}")]
        known = {e["trial"] for e in events if e["event"] == "trial"}
        last = [(row["trial"], row["rung"]) for row in read_table(run).to_pylist()]
        ended = Counter(e["trial"] for e in events if e["event"] == "end")
        ended.subtract(e["trial"] for e in events if e["event"] == "again")  # stopped at a rung, and gone on with
        wrong += len(last) != len(set(last)) or {trial for trial, _ in last} != known or ended != Counter(known)
        failed += sum(e["event"] == "end" and e["status"] == "failed" for e in events)
        trials += len(known)
    told = f"{killed} kills in {searches} searches of {trials} trials, all completed: "
    told += f"{wrong} with a trial not just once in the table"
    return not wrong, f"{told}; {failed} trials failed"


FILLER = """
import sys, time
import numpy as np
from autokd.signals.filling import CHUNK
from autokd.signals.store import Store

folder, views, at = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
done = 0
def compute(first, last):
    global done
    done += 1
    time.sleep(0.002)
    return {"logits": np.random.default_rng(first).normal(size=(last - first, 10)).astype(np.float16)}
while time.time() < at:
    pass
store = Store(folder)
for view in range(views):
    held = store.fill({"view": view}, 4 * CHUNK + 7, {"logits": ("float16", 10)}, compute)
    for first in range(0, 4 * CHUNK + 7, CHUNK):
        last = min(first + CHUNK, 4 * CHUNK + 7)
        wanted = np.random.default_rng(first).normal(size=(last - first, 10)).astype(np.float16)
        assert (held.columns["logits"][first:last] == wanted).all()
print(done)
"""


def fill_cache(processes: int, folder: Path, views: int = 20) -> tuple[bool, str]:
    """So many processes fill the same views at once, and one fills them alone; a file that is there is looked at all the time."""
    def begin(where: str, at: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", FILLER, str(folder / where), str(views), str(at)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    at, torn, looked = time.time() + 5, 0, 0
    workers = [begin("many", at) for _ in range(processes)]
    while any(worker.poll() is None for worker in workers):
        for path in (folder / "many").glob("*.arrow"):
            looked += 1
            try:
                with open(path, "rb") as file:
                    start, end = file.read(6), file.seek(-6, os.SEEK_END) and file.read(6)
                torn += start != b"ARROW1" or end != b"ARROW1"
            except FileNotFoundError:
                pass
        time.sleep(0.01)
    done = [int(worker.communicate()[0]) for worker in workers if worker.returncode == 0]
    alone = begin("one", 0.0)
    chunks = int(alone.communicate()[0])
    files = [{path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("many", "one")]
    same, failed = files[0] == files[1] and len(files[1]) == views, processes - len(done)
    told = f"{processes} processes, {views} views: bytes {'the same' if same else 'DIFFER'}, {torn} torn of {looked} looks, "
    told += f"{failed} failed; {sum(done)} chunks computed in all, {chunks} by one alone"
    return same and not torn and not failed, told


TABLE = """
name: many
data: {name: digits}
teachers:
  wide: {model: resnet8x2, checkpoint: wide.safetensors}
students: [resnet8x0.5, resnet8, resnet14, resnet14x0.5]
space:
  policy: none
  method:
    choose:
      kd: {temperature: {log: [1, 20]}}
      dkd: {temperature: {log: [1, 20]}, beta: {uniform: [0.5, 8]}}
      ce: {}
  recipe: {lr: {log: [0.001, 1]}}
budgets:
  - {name: tiny, params: 30 k}
  - {name: small, params: 90 k}
  - {name: any}
tracking: {mlflow: false}
"""


def big_table(trials: int, seed: int, folder: Path) -> tuple[bool, str]:
    """status, report and resume (until it would start trials) on a run of so many trials, as real commands; best of three."""
    run = made_run(trials, seed, folder)
    limit, told, holds = 5.0, [], True
    for words in (("status",), ("report",), ("report", "--format", "json"), ("resume",)):
        taken = min(seconds_of(run, words) for _ in range(3))
        told.append(f"{' '.join(words)} {taken:.1f} s")
        holds &= taken < limit
    return holds, f"{trials:,} trials, {sum(1 for _ in read_events(run / FILE)):,} events: {', '.join(told)}"


def seconds_of(run: Path, words: tuple[str, ...]) -> float:
    """From the start of a command to its end; of resume to the line of the ledger that is written before a trial starts."""
    begins = sum(event["event"] == "resume" for event in read_events(run / FILE))
    size, start = (run / FILE).stat().st_size, time.monotonic()
    command = [*AUTOKD, words[0], str(run), *words[1:]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    taken = None
    while words[0] == "resume" and taken is None and process.poll() is None:
        if (run / FILE).stat().st_size > size:
            taken = time.monotonic() - start
        time.sleep(0.01)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(said.decode(errors="replace"))
    assert words[0] != "resume" or sum(event["event"] == "resume" for event in read_events(run / FILE)) == begins + 1
    return taken if taken is not None else time.monotonic() - start


def made_run(trials: int, seed: int, folder: Path) -> Path:
    """A finished run of so many trials that nobody trained: proposed and compared as in a search, scored by a formula."""
    import json
    import math

    import torch

    from autokd.config.search_space import load_space
    from autokd.models.build import build
    from autokd.models.checkpoint import save_weights
    from autokd.search.brain import Brain
    from autokd.search.plan import plan_of
    from autokd.search.run import fit
    from autokd.track.ledger import clean
    from autokd.track.recorder import Recorder

    run, draw = folder / "many-20260101-0000", random.Random(seed)
    run.mkdir()
    torch.manual_seed(seed)
    save_weights(build("resnet8x2", classes=10, channels=1, size=8), folder / "wide.safetensors")
    (folder / "space.yaml").write_text(TABLE.replace("wide.safetensors", str(folder / "wide.safetensors")), encoding="utf-8")
    space = load_space(folder / "space.yaml", overrides=[f"search.trials={trials}", "search.epochs=60", "search.sampler=random"])
    (run / "space.yaml").write_text(space.to_yaml(), encoding="utf-8")
    plan, feasible = plan_of(space), fit(space)
    events: list[dict[str, Any]] = []

    def emit(event: dict[str, Any]) -> dict[str, Any]:
        events.append(clean({"event": event["event"], "time": 1.7e9 + len(events), "elapsed": float(len(events)), **event}))
        return events[-1]

    length = {"epochs": plan.epochs, "rungs": list(plan.rungs), "eta": plan.eta}
    emit({"event": "begin", "run": str(run), "name": "many", "budgets": [one.to_dict() for one in space.budgets], "seed": seed,
          "length": length})  # fmt: skip
    brain = Brain(space, feasible, plan, emit=emit)
    brain.start()
    while (proposal := brain.propose()) is not None:
        best = 0.9 - 0.1 * abs(math.log10(proposal.config.recipe.lr) + 1.3) - 0.1 * draw.random()
        for number, mark in enumerate(proposal.marks):
            share = mark.epochs / plan.epochs
            top1 = best * (1 - math.exp(-4 * share))
            told = {"mark": number, "images": int(1000 * mark.epochs), "epochs": mark.epochs, "val_top1": top1}
            told |= {"val_loss": 1 - top1, "train_loss": 1 - top1, "lr": 0.1, "seconds": 10 * share}
            told |= {"checkpoint": f"ray/checkpoints/{proposal.trial}"}
            if brain.report(proposal.trial, told) != "go on":
                break
    brain.close()
    (run / FILE).write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events), encoding="utf-8")
    Recorder(run, past=events).close()
    return run


def lose_nodes(space: str, options: list[str], count: int, draw: random.Random, folder: Path) -> tuple[bool, str]:
    """Searches on a Ray of three nodes on this machine, so many in all; each loses one that trains, at a random moment."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.cluster_utils import Cluster

    trials = repeated = wrong = failed = moved = 0
    for search in range(count):
        runs, log = folder / f"cluster{search}", folder / f"cluster{search}.log"
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(3):
                cluster.add_node(num_cpus=1)
            process = start("search", space, "--runs", str(runs), "--address", cluster.address, *options, log=log)
            while len([e for e in ledger(runs) if e["event"] == "report"]) < draw.randint(6, 12):
                _alive(process, log)
            last = [e for e in ledger(runs) if e["event"] == "report"][-1]
            parent = _parent(last["pid"])
            node = next(one for one in cluster.worker_nodes if one.all_processes["raylet"][0].process.pid == parent)
            cluster.remove_node(node, allow_graceful=False)
            before = {e["trial"] for e in ledger(runs) if e["event"] == "end" and e["status"] != "stopped"}
            heard = len(ledger(runs))
            finish(process, log)
        finally:
            cluster.shutdown()
        events, (run,) = ledger(runs), [path.parent for path in runs.glob(f"*/{FILE}")]
        known = {e["trial"] for e in events if e["event"] == "trial"}
        rows = [(row["trial"], row["rung"]) for row in read_table(run).to_pylist() if row["rung"] is not None]
        ended = Counter(e["trial"] for e in events if e["event"] == "end")
        ended.subtract(e["trial"] for e in events if e["event"] == "again")  # stopped at a rung, and gone on with
        repeated += len({e["trial"] for e in events[heard:] if "trial" in e} & before)
        wrong += len(rows) != len(set(rows)) or ended != Counter(known)
        pids: dict[str, set[int]] = {}
        for event in (e for e in events if e["event"] == "report"):
            pids.setdefault(event["trial"], set()).add(event["pid"])
        moved += sum(len(some) > 1 for some in pids.values())
        failed += sum(e["event"] == "end" and e["status"] == "failed" for e in events)
        trials += len(known)
    told = f"{count} nodes lost in {count} searches of {trials} trials, all completed: {repeated} repeated that had ended, "
    told += f"{wrong} with a trial not just once in the table; {moved} trials went on elsewhere, {failed} failed"
    return not (repeated or wrong), told


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return -1


def alive(pid: int) -> bool:
    """Whether the process is still a worker of Ray's: a number may belong to another one by now."""
    try:
        return b"ray" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def children(runs: Path, run: Path) -> list[tuple[str | None, str]]:
    """(trial, state) of every MLflow run of a folder; None for the parent."""
    from mlflow.tracking import MlflowClient

    from autokd.track.mlflow_log import store_uri

    client = MlflowClient(tracking_uri=store_uri(runs))
    found = client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=5000)
    mine = [one for one in found if one.data.tags.get("autokd.run") == run.name]
    return [(one.data.tags.get("autokd.trial"), one.info.status) for one in mine]


def wait_for_begin(process: subprocess.Popen[bytes], runs: Path, log: Path) -> None:
    while not ledger(runs):
        _alive(process, log)


def wait_for_resume(process: subprocess.Popen[bytes], runs: Path, log: Path, before: int) -> None:
    while process.poll() is None and sum(e["event"] == "resume" for e in ledger(runs)) <= before:
        time.sleep(0.05)


def _alive(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        raise SystemExit(log.read_text(errors="replace"))
    time.sleep(0.05)


def finish(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.wait() != 0:
        raise SystemExit(log.read_text(errors="replace"))


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--driver", type=int, default=50, help="kills of the driver")
    parser.add_argument("--worker", type=int, default=20, help="kills of a worker")
    parser.add_argument("--table", type=int, default=0, help="trials of a simulated run on which commands are timed")
    parser.add_argument("--cluster", type=int, default=0, help="searches on three nodes, of which one is lost")
    parser.add_argument("--cache", type=int, default=0, help="processes that fill one signal cache")
    parser.add_argument("--space", default="search_spaces/digits.yaml")
    parser.add_argument("--set", action="append", default=[], help="as autokd search has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shortest", action="store_true", help="only see that it runs: one kill of a small search")
    asked = parser.parse_args(args)
    if asked.shortest:
        asked.driver, asked.worker, asked.cache = 1, 0, 2
        asked.set += ["search.trials=2", "search.epochs=1", "teachers={wide: {model: resnet8, train: {epochs: 1}}}"]
    draw, options = random.Random(asked.seed), [word for one in asked.set for word in ("--set", one)]
    holds = True
    with tempfile.TemporaryDirectory() as folder:
        for what, must, kill, count in (
            ("driver killed", "0 finished trials lost, trials = MLflow children, 0 RUNNING", kill_drivers, asked.driver),
            ("worker killed", "search completes; each trial once in the table", kill_workers, asked.worker),
            ("three nodes, one lost", "search completes, nothing repeated that had finished", lose_nodes, asked.cluster),
        ):
            if count:
                good, told = kill(asked.space, options, count, draw, Path(folder))
                print(f"| {what} at {count} random moments | {must} | {told} |", flush=True)
                holds &= good
        if asked.cache:
            good, told = fill_cache(asked.cache, Path(folder))
            print(f"| {asked.cache} processes filling the same signal cache | same bytes as one process; no torn file | {told} |")
            holds &= good
        if asked.table:
            good, told = big_table(asked.table, asked.seed, Path(folder))
            print(f"| {asked.table:,}-trial table (simulated) | status, report and resume each under 5 s | {told} |", flush=True)
            holds &= good
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
