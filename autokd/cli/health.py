"""What on this machine stops or slows a search, one function a check. Versions come from metadata: nothing heavy is imported."""

from __future__ import annotations

import errno
import importlib.util
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version

__all__ = [
    "Finding", "check_bytecode", "check_cores", "check_disk", "check_files", "check_gpu", "check_packages", "check_pair",
    "check_port", "check_python", "check_shared_memory", "examine",
]  # fmt: skip

_CHECKED = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow")
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One check's answer: `what` was found, and the way out where it is not ok."""

    check: str
    state: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3]), least: tuple[int, int] = (3, 11)) -> Finding:
    """Python against the oldest that autokd runs on."""
    told = ".".join(map(str, version))
    if version[:2] < least:
        return Finding("python", "fail", f"{told}, older than {least[0]}.{least[1]}", "install a newer Python")
    return Finding("python", "ok", told)


def wanted() -> dict[str, Requirement]:
    """What autokd asks of each package: from its pyproject.toml in a checkout, else from the installed metadata."""
    beside = Path(__file__).parents[2] / "pyproject.toml"
    lines: Sequence[str] = []
    if beside.is_file():
        project = tomllib.loads(beside.read_text(encoding="utf-8")).get("project", {})
        lines = project.get("dependencies", []) if project.get("name") == "autokd" else []
    if not lines:
        try:
            lines = metadata.requires("autokd") or []
        except metadata.PackageNotFoundError:
            lines = []
    asked = (Requirement(line) for line in lines)
    return {one.name: one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_packages(
    asked: dict[str, Requirement] | None = None, version: Callable[[str], str | None] = _version
) -> Iterator[Finding]:
    """The packages a search stands on, against the ranges autokd asks for."""
    asked = wanted() if asked is None else asked
    for name in _CHECKED:
        found = version(name)
        need = asked.get(name, Requirement(name))
        install = f"python -m pip install '{name}{need.specifier}'"
        if found is None:
            yield Finding(name, "fail", "not installed", install)
        elif not need.specifier.contains(found, prereleases=True):
            yield Finding(name, "fail", f"{found}, asked for {need.specifier}", install)
        else:
            yield Finding(name, "ok", found)


def _torch_of_torchvision() -> list[str]:
    try:
        return metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        return []


def check_pair(torch: str | None = None, lines: Sequence[str] | None = None) -> Finding:
    """torchvision asks for a torch; another one fails when its operators are loaded."""
    torch = torch or _version("torch")
    needs = [Requirement(line) for line in (_torch_of_torchvision() if lines is None else lines)]
    need = next((one for one in needs if one.name == "torch"), None)
    if torch is None or need is None:
        return Finding("torch/torchvision", "warn", "cannot be compared", "install both: python -m pip install torch torchvision")
    if not need.specifier.contains(Version(torch).public, prereleases=True):
        fix = "install the two together: python -m pip install --upgrade torch torchvision"
        return Finding("torch/torchvision", "fail", f"torchvision asks for torch{need.specifier}, here is {torch}", fix)
    return Finding("torch/torchvision", "ok", f"torchvision asks for torch{need.specifier}")


def check_gpu(asked: bool = False) -> Finding | None:
    """What nvidia-smi names; None where it is missing and nobody asked for a GPU."""
    tool = shutil.which("nvidia-smi")
    fix = "install the NVIDIA driver, or search with --device cpu"
    if tool is None:
        return Finding("GPU", "fail", "no nvidia-smi", fix) if asked else None
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("GPU", "fail" if asked else "warn", f"nvidia-smi does not answer: {error}", fix)
    names = [line.split(" (UUID")[0] for line in done.stdout.splitlines() if line.startswith("GPU ")]
    if done.returncode or not names:
        return Finding("GPU", "fail" if asked else "warn", "nvidia-smi finds no GPU", fix)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Finding("GPU", "fail" if asked else "warn", "hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES")
    return Finding("GPU", "ok", "; ".join(names))


def check_disk(name: str, folder: Path, *, least: float = 1.0, enough: float = 10.0) -> Finding:
    """Free space, in GiB, where `folder` is or would be made, and whether it may be written."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding(name, "fail", f"{there} cannot be written", "name another folder: --runs DIR, or AUTOKD_CACHE=DIR")
    free = shutil.disk_usage(there).free / _GIB
    told = f"{free:.1f} GiB free for {folder}"
    state: Literal["ok", "warn", "fail"] = "fail" if free < least else "warn" if free < enough else "ok"
    fix = "" if state == "ok" else "make room: delete old runs, or `autokd cache clear`"
    return Finding(name, state, told, fix)


def check_port(port: int = 5000) -> Finding:
    """Whether `autokd ui` can listen where it does by default."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free to a server
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            what = "in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error)).lower()
            return Finding("MLflow port", "warn", f"{port}: {what}", "another one: autokd ui --port N")
    return Finding("MLflow port", "ok", f"{port} is free")


def check_shared_memory(folder: Path = Path("/dev/shm"), *, enough: float = 2.0) -> Finding:
    """Ray keeps its objects in /dev/shm; where that is small it writes them to the disk, slowly. In GiB."""
    if not folder.is_dir():
        return Finding("shared memory", "warn", f"no {folder}", "Ray will keep its objects on the disk, which is slow")
    size = shutil.disk_usage(folder).total / _GIB
    if size < enough:
        return Finding("shared memory", "warn", f"{folder} is {size:.2f} GiB", "in Docker: --shm-size=4g")
    return Finding("shared memory", "ok", f"{folder} is {size:.1f} GiB")


def check_files(limit: int | None = None, *, enough: int = 4096) -> Finding:
    """Open files this process may have; Ray needs thousands."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return Finding("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft}")
    return Finding("open files", "fail" if soft < 256 else "warn", f"up to {soft}", f"ulimit -n {enough}")


def check_bytecode(folder: Path | None = None) -> Finding:
    """Where Ray was never compiled to byte code and may not be, every worker compiles it anew and starts slowly."""
    if folder is None:
        found = importlib.util.find_spec("ray")  # finds, does not import
        if found is None or found.origin is None:
            return Finding("byte code", "warn", "Ray is not installed", "install it first")
        folder = Path(found.origin).parent
    if any((folder / "__pycache__").glob("*.pyc")):
        return Finding("byte code", "ok", "compiled")
    kept = not os.environ.get("PYTHONDONTWRITEBYTECODE") and os.access(folder, os.W_OK)
    if kept:
        return Finding("byte code", "ok", "compiled at the first start")
    fix = f"once: python -m compileall -q {folder.parent}"
    return Finding("byte code", "warn", "Ray is not compiled and cannot be as it starts: slow workers", fix)


def check_cores(cores: int | None = None) -> Finding:
    """Cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if cores is None and hasattr(os, "sched_getaffinity") else cores or os.cpu_count() or 1
    if cores < 2:
        return Finding("cores", "warn", "1: trials run one after another", "a machine with more cores")
    return Finding("cores", "ok", f"{cores}, {platform.machine()}")


def examine(runs: Path, cache: Path, *, gpu: bool = False, port: int = 5000) -> list[Finding]:
    """Every check, in the order they are told."""
    card = check_gpu(gpu)
    return [
        check_python(),
        *check_packages(),
        check_pair(),
        *([card] if card else []),
        check_cores(),
        check_disk("disk, runs", runs),
        check_disk("disk, cache", cache),
        check_shared_memory(),
        check_files(),
        check_bytecode(),
        check_port(port),
    ]
