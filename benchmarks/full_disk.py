"""A disk that fills up at each place where a search writes: what is left is whole, and a resume ends as if nothing had been.

    python -m benchmarks.full_disk [--stage search] [--each 3] [--only PART]

A small search on digits runs once and notes every write below its folder, of whichever library (a shim in C between the process
and the system, benchmarks/full_disk.c; it needs a compiler and Linux). Then for each write site (a kind of write to a kind of
file) it runs again, once for the first write there, the last, and some between, and from that write on the disk is full. Then
there is room again and it is resumed. Prints a row of the table in docs/reliability.md; ends with 1 where it does not hold.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACE = """
name: full
data: {name: digits, fraction: 0.3}
teachers:
  wide: {model: resnet8x0.5, train: {epochs: 1}}
students: [resnet8x0.25]
space:
  policy: none
  method: {choose: {kd: {temperature: {log: [1, 20]}}, ce: {}}}
budgets:
  - {name: any}
search: {trials: 3, epochs: 0.3, rungs: {count: 1}}
tracking: {mlflow: false}
"""
STAGES = ("search", "tracked", "confirm", "report", "finalize")
FINISHED = ("confirm", "report", "finalize")  # stages that begin with a finished search
IN_WORDS, OTHERWISE = 2, 3  # how a child ended that could not write


def shim(folder: Path) -> Path:
    """The compiled shim. Ends where there is no compiler."""
    made = folder / "full_disk.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    for name in dict.fromkeys((compiler, "cc", "gcc", "clang")):
        if shutil.which(name):
            source = Path(__file__).with_suffix(".c")
            subprocess.run([name, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"], check=True)
            return made
    raise SystemExit("no C compiler: install gcc or clang")


def arm(folder: Path, number: int = 0, log: Path | None = None) -> None:
    """From now on this process's writes below the folder are counted, and from the number-th on (0: never) the disk is full."""
    ctypes.CDLL(None).full_arm(os.fsencode(folder), ctypes.c_long(number), os.fsencode(log) if log else b"")


def child(work: Callable[[], None], said: Path, **armed: Any) -> int:
    """Run `work` in a process of its own; what it could not do is written to `said`. Returns its exit code."""
    pid = os.fork()
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return int(code)
    code = 0
    with open(said, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            if armed:
                arm(**armed)
            work()
        except BaseException as fault:
            from autokd.errors import AutokdError

            ended = {0: 0, None: 0, 2: IN_WORDS}.get(fault.code, OTHERWISE) if isinstance(fault, SystemExit) else OTHERWISE
            code = IN_WORDS if isinstance(fault, AutokdError) else ended
            if code:
                traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def quiet(event: dict[str, Any]) -> None:
    if event["event"] == "phase" and event["text"]:
        print(event["text"])


def search(base: Path, **changes: Any) -> None:
    from autokd.config.search_space import load_space
    from autokd.search.run import search as begin

    overrides = [f"{path}={value}" for path, value in changes.items()]
    begin(load_space(base.parent / "space.yaml", overrides=overrides), runs=base / "runs", engine="inline", on_event=quiet)


def resume(base: Path, **changes: Any) -> None:
    """Go on with the run that is there; where none had begun, begin."""
    from autokd.search.run import resume as go_on

    found = [path.parent for path in (base / "runs").glob("*/ledger.jsonl")]
    if found:
        go_on(found[0], engine="inline", on_event=quiet)
    else:
        search(base, **changes)


def confirm(base: Path) -> None:
    from autokd.config.sections import ConfirmSettings
    from autokd.search.run import Run

    Run(run_of(base)).confirm(settings=ConfirmSettings(top=1, seeds=2, controls=[]), engine="inline")


def report(base: Path) -> None:
    """As the command writes it: what a library raises with a file's name, it tells in words."""
    from autokd.cli.main import main

    main(["report", str(run_of(base)), "--format", "html"])


def finalize(base: Path) -> None:
    from autokd.search.run import Run

    Run(run_of(base)).finalize(seeds=1, epochs=0.3, formats=["safetensors", "onnx"])


def run_of(base: Path) -> Path:
    (found,) = [path.parent for path in (base / "runs").glob("*/ledger.jsonl")]
    return found


def happened(base: Path) -> list[tuple[Any, ...]]:
    """What the search, its confirmation and its end tried and measured, less clocks and paths."""
    from autokd.track.ledger import read_events

    told: list[tuple[Any, ...]] = []
    for path in sorted(run_of(base).rglob("ledger.jsonl")):
        for event in read_events(path):
            if event["event"] == "trial":
                told.append(tuple(str(event[key]) for key in ("trial", "budget", "student", "method", "seed", "values")))
            elif event["event"] == "report":
                told.append(tuple(event[key] for key in ("trial", "mark", "val_top1", "val_loss", "train_loss", "decision")))
            elif event["event"] == "end":
                told.append((event["trial"], event["status"]))
    if (run_of(base) / "confirm.json").exists():
        confirmed = json.loads((run_of(base) / "confirm.json").read_text(encoding="utf-8"))
        told += [(name, one["chosen"]) for name, one in confirmed["budgets"].items()] + [(confirmed["state"],)]
    for path in sorted(run_of(base).glob("final/*/metrics.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        told.append((metrics["budget"], metrics["test"]["mean"], sorted(metrics["exports"]), metrics["weights"]["sha256"]))
    return told


def torn(base: Path) -> list[str]:
    """Files that cannot be read whole. A ledger's last line may be torn: whoever reads it leaves that out."""
    import numpy as np
    import onnx
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import load_file

    from autokd.track.ledger import read_events

    def lines(path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):  # the last one is left out by whoever reads it
                json.loads(line)

    def table(path: Path) -> None:
        pq.read_table(path)

    readers: dict[str, Callable[[Path], Any]] = {
        ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
        ".jsonl": lambda path: list(read_events(path)) if path.name == "ledger.jsonl" else lines(path),
        ".journal": lines,
        ".parquet": table,
        ".npy": lambda path: np.load(path, allow_pickle=False),
        ".npz": lambda path: dict(np.load(path, allow_pickle=False)),
        ".onnx": lambda path: onnx.checker.check_model(onnx.load(path)),
        ".safetensors": load_file,
        ".pt": lambda path: torch.load(path, weights_only=True),
        ".html": lambda path: path.read_text(encoding="utf-8").rstrip().endswith("</html>") or 1 / 0,
        ".png": lambda path: path.read_bytes().endswith(b"IEND\xaeB`\x82") or 1 / 0,
    }
    found = []
    for path in sorted(base.rglob("*")):
        reader = readers.get(path.suffix)
        if reader is None or not path.is_file() or any(part.startswith(".") for part in path.relative_to(base).parts):
            continue
        try:
            reader(path)
        except Exception as fault:
            found.append(f"{path.relative_to(base)}: {type(fault).__name__}: {fault}")
    return found


def untracked(base: Path) -> list[str]:
    """What MLflow does not have as the ledger has it."""
    from autokd.track.table import read_table
    from benchmarks.reliability import children

    there = children(base / "runs", run_of(base))
    trials = sorted(set(read_table(run_of(base))["trial"].to_pylist()))
    wrong = [] if sorted(trial for trial, _ in there if trial) == trials else [f"MLflow has {there}"]
    return wrong + [f"{trial} is RUNNING" for trial, state in there if state == "RUNNING"]


def kind_of(line: str, base: Path) -> str:
    """A write without its names and numbers: what it is done to, and how."""
    _, how, path = line.split(" ", 2)
    path = os.path.relpath(path, base)
    path = re.sub(r"full-\d{8}-[0-9a-f]{4}", "RUN", path)
    path = re.sub(r"(?<=[-./_])(?=[0-9a-f]*[0-9])[0-9a-f]{5,}|t\d{5}|\d+", "N", path)
    return f"{how} {path}"


def numbers_of(log: Path, base: Path, each: int) -> dict[str, list[int]]:
    """Which writes of each site are tried: the first, the last, and some between."""
    sites: dict[str, list[int]] = {}
    for number, line in enumerate(log.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        sites.setdefault(kind_of(line, base), []).append(number)
    return {
        site: sorted({some[round(at * (len(some) - 1) / max(1, each - 1))] for at in range(each)}) for site, some in sites.items()
    }


def stage(name: str, home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Try every site of one stage. Returns counts, and what did not hold."""
    tracked = name == "tracked"
    changes: dict[str, Any] = {"tracking.mlflow": "true"} if tracked else {}
    work: Callable[[Path], None] = {"confirm": confirm, "report": report, "finalize": finalize}.get(
        name, lambda base: search(base, **changes)
    )
    again: Callable[[Path], None] = work if name in FINISHED else lambda base: resume(base, **changes)
    said, log, base = home / "said.txt", home / "writes.txt", home / "base"

    def begin() -> None:
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir()
        if name in FINISHED:
            shutil.copytree(home / "finished", base, dirs_exist_ok=True)
        elif tracked and (home / "store").exists():
            shutil.copytree(home / "store", base / "runs")
        os.environ["AUTOKD_CACHE"] = str(base / "cache")

    def must(code: int, what: str) -> None:
        if code:
            raise SystemExit(f"{what} ended with {code}\n{said.read_text(errors='replace')}")

    if name in FINISHED and not (home / "finished").exists():
        os.environ["AUTOKD_CACHE"] = str(base / "cache")
        shutil.rmtree(base, ignore_errors=True)
        must(child(lambda: search(base), said), "the search")
        shutil.copytree(base, home / "finished")
    if tracked:  # the database is made once, so that each try need not
        begin()
        must(child(lambda: search(base, **changes, **{"search.trials": 1}), said), "the search")
        (home / "store").mkdir()
        shutil.copy(base / "runs" / "mlflow.db", home / "store")
    begin()
    must(child(lambda: work(base), said, folder=base, log=log), f"the undisturbed {name}")
    expected = happened(base)
    sites = numbers_of(log, base, asked.each)
    stores = ("mlflow", "mlartifacts") if tracked else ("",)
    sites = {site: some for site, some in sites.items() if asked.only in site and any(one in site for one in stores)}
    sites = {site: late for site, some in sites.items() if (late := [number for number in some if number >= asked.since])}
    faults: list[str] = []
    tries, ends = 0, {0: 0, IN_WORDS: 0}
    for site, some in sites.items():
        for number in some:
            begin()
            tries += 1
            start = time.monotonic()
            code = child(lambda: work(base), said, folder=base, number=number)
            words = said.read_text(errors="replace")
            wrong = torn(base)
            runs = (base / "runs").glob("full-*")
            wrong += [f"{one.name} is half a run" for one in runs if not (one / "ledger.jsonl").exists()]
            if code not in ends:
                wrong.append(f"ended with {code}: {(words.strip().splitlines() or ['?'])[-1]}")
            else:
                ends[code] += 1
            code = child(lambda: again(base), said)
            if code:
                wrong.append(f"could not go on: {(said.read_text(errors='replace').strip().splitlines() or ['?'])[-1]}")
            else:
                wrong += torn(base)
                if happened(base) != expected:
                    wrong.append("what happened differs from the undisturbed search")
                if tracked:  # in a process of its own: a database that was opened is not opened again
                    child(lambda: print(json.dumps(untracked(base))), said)
                    wrong += json.loads(said.read_text(errors="replace").strip().splitlines()[-1])
            faults += [f"{name}: write {number} ({site}): {one}" for one in wrong]
            if asked.verbose or wrong:
                print(f"{name} {number} {site} {time.monotonic() - start:.1f} s {wrong or 'good'}", file=sys.stderr, flush=True)
            if wrong and asked.verbose:
                print(words, file=sys.stderr)
    return {"sites": len(sites), "tries": tries, "silent": ends[0], "words": ends[IN_WORDS], "faults": faults}


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stage", action="append", choices=STAGES, help="all of them where left out; repeatable")
    parser.add_argument("--each", type=int, default=3, help="writes tried of each site")
    parser.add_argument("--only", default="", help="only sites with this in their name")
    parser.add_argument("--since", type=int, default=0, help="only writes from this number on")
    parser.add_argument("--verbose", action="store_true", help="tell of each try")
    parser.add_argument("--shortest", action="store_true", help="only see that it runs: one write of one stage")
    asked = parser.parse_args(args)
    if asked.shortest:
        asked.stage, asked.each, asked.only = ["search"], 1, asked.only or "ledger"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        if "full_disk" not in os.environ.get("LD_PRELOAD", ""):
            environment = {**os.environ, "LD_PRELOAD": str(shim(home)), "OMP_NUM_THREADS": "1"}
            words = args if args is not None else sys.argv[1:]
            return subprocess.run([sys.executable, "-m", "benchmarks.full_disk", *words], env=environment).returncode
        (home / "space.yaml").write_text(SPACE, encoding="utf-8")
        preload()
        holds = True
        for name in asked.stage or STAGES:
            told = stage(name, home, asked)
            holds &= not told["faults"]
            said = f"{told['tries']} tries at {told['sites']} sites of `{name}`: {len(told['faults'])} faults "
            said += f"({told['words']} ended in words, {told['silent']} went on without the file)"
            print(f"| disk full at every write site | no corrupt file; resume works after space returns | {said} |", flush=True)
    return 0 if holds else 1


def preload() -> None:
    """What every child imports, once, and nothing that starts a thread."""
    import importlib

    import torch

    torch.set_num_threads(1)
    for name in ("autokd.train.workshop", "autokd.train.trial", "autokd.train.teachers", "autokd.search.brain",
                 "autokd.search.run", "autokd.search.confirm",
                 "autokd.search.inline_engine", "autokd.search.work", "autokd.report.run_page", "autokd.finalize.retrain",
                 "autokd.finalize.finish", "onnx", "onnxruntime", "onnxscript",
                 "autokd.signals.cache", "autokd.track.mlflow_log", "mlflow.tracking", "pyarrow.parquet", "sklearn.datasets",
                 "safetensors.torch"):  # fmt: skip
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
