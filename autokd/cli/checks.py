"""What an installation needs, asked one thing at a time: from metadata, so that neither torch nor ray is imported."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from autokd.cli.hosts import taken
from autokd.errors import AutokdError
from autokd.files import cache_root
from autokd.machine import cpus, home, memory, prepare, usable
from autokd.search.granted import CACHE_FIX, RUNS_FIX, ray_folder

__all__ = ["Check", "all_checks"]

_GB = 1e9
_HELD = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow")  # what a person asks for first, told one by one


@dataclass(frozen=True)
class Check:
    """state: ok, warn (it works, but slower or for a shorter time than it could) or fail. fix: what to do about it."""

    name: str
    state: str
    found: str
    fix: str = ""


def all_checks(runs: Path, *, port: int = 5000) -> list[Check]:
    """Every check, in the order in which a person would mend things. runs: a folder that need not exist yet."""
    places = home_folder(prepare)  # first: it sets up what the others find
    return [
        python(sys.version_info[:3]),
        *packages(_required("autokd"), _version),
        twins(_version("torch"), _required("torchvision")),
        compiled(_source("ray"), dont_write="PYTHONDONTWRITEBYTECODE" in os.environ, prefix=sys.pycache_prefix),
        cores(cpus(), os.cpu_count() or 1),
        main_memory(memory()),
        gpu(_asked_nvidia(), _version("torch") or ""),
        places,
        folder("runs", lambda: runs, least=2 * _GB),
        folder("cache", cache_root, least=5 * _GB),
        sockets(ray_folder),
        shared_memory(Path("/dev/shm")),
        open_files(_open_files()),
        free_port(port),
    ]


def python(version: tuple[int, ...]) -> Check:
    told = f"{'.'.join(map(str, version))} ({sys.executable})"
    if version < (3, 11):
        return Check("python", "fail", told, "autokd needs Python 3.11 or later: make the environment with a newer one")
    return Check("python", "ok", told)


def packages(required: Iterable[str], version: Callable[[str], str | None]) -> list[Check]:
    """One check for each package that people know by name, one for all others. required: lines as in a wheel's metadata."""
    wanted = [one for line in required if not (one := Requirement(line)).marker or one.marker.evaluate({"extra": ""})]
    told, rest = [], []
    for one in wanted:
        have = version(one.name)
        if have is None:
            told.append(Check(one.name, "fail", "is not installed", f"pip install '{_named(one)}'"))
        elif not one.specifier.contains(have, prereleases=True):
            told.append(Check(one.name, "fail", f"{have}, and {one.specifier} is needed", f"pip install '{_named(one)}'"))
        elif one.name in _HELD:
            told.append(Check(one.name, "ok", have))
        else:
            rest.append(one.name)
    if rest:
        told.append(Check("other packages", "ok", f"{len(rest)} as required"))
    return told


def twins(torch: str | None, vision: Iterable[str]) -> Check:
    """torchvision holds compiled code for one torch. torch: its version. vision: what torchvision's metadata requires."""
    pinned = [one for line in vision if (one := Requirement(line)).name == "torch"]
    if torch is None or not pinned:
        return Check("torch and torchvision", "ok", "nothing to compare")
    if pinned[0].specifier.contains(torch.split("+")[0], prereleases=True):
        return Check("torch and torchvision", "ok", "made for each other")
    found = f"torchvision was built for torch {pinned[0].specifier}, and {torch} is here"
    return Check("torch and torchvision", "fail", found, "pip install --upgrade torch torchvision, both at once")


def compiled(source: Path | None, *, dont_write: bool, prefix: str | None) -> Check:
    """Whether Python finds compiled files: each Ray worker imports some thousand modules. source: a module of Ray."""
    if source is None:
        return Check("compiled files", "ok", "nothing to look at")
    cached = Path(importlib.util.cache_from_source(str(source)))
    if cached.exists():
        return Check("compiled files", "ok", "there")
    if dont_write and not prefix:
        found = "PYTHONDONTWRITEBYTECODE is set and nothing is compiled: every worker starts slowly"
        fix = "install with `uv pip install --compile-bytecode`, run `python -m compileall` on the environment, or unset it"
        return Check("compiled files", "warn", found, fix)
    return Check("compiled files", "ok", "written at the first start")


def cores(granted: int, there: int) -> Check:
    """granted: processors that this process may use, of those that are there."""
    told = f"{granted} of {there}" if granted < there else str(granted)
    if granted < 2:
        return Check("cores", "warn", f"{told}: trials train one after another", "ask for more cores, or for a GPU")
    return Check("cores", "ok", f"{told} ({platform.machine()})")


def main_memory(granted: int | None) -> Check:
    """granted: bytes."""
    return Check("memory", "ok", "not told by this system" if granted is None else f"{granted / _GB:.1f} GB")


def home_folder(prepared: Callable[[], Sequence[str]]) -> Check:
    """prepared: sets up a user name and places for what libraries keep, and says what stands in for something missing."""
    try:
        notes = prepared()
    except AutokdError as fault:
        return Check("home folder", "fail", fault.what, fault.fix)
    if notes:
        return Check("home folder", "warn", "; ".join(notes), "set HOME, TMPDIR and AUTOKD_CACHE to folders that you can write")
    return Check("home folder", "ok", str(home()))


def sockets(place: Callable[[], Path]) -> Check:
    """place: where Ray will put its sockets."""
    try:
        return Check("folder of Ray", "ok", str(place()))
    except AutokdError as fault:
        return Check("folder of Ray", "fail", fault.what, fault.fix)


def gpu(asked: tuple[bool, str], torch: str) -> Check:
    """asked: whether nvidia-smi is there, and what it said. torch: its version, whose ending names what it was built for."""
    there, said = asked
    if not there:
        return Check("gpu", "ok", "none: trials run on the CPU")
    names = [line.strip() for line in said.splitlines() if line.strip()]
    if not names:
        return Check("gpu", "fail", "nvidia-smi is here and names no GPU", "reinstall or reload the NVIDIA driver")
    if torch.endswith("+cpu"):
        return Check("gpu", "fail", f"{', '.join(names)}, but torch {torch} cannot use it", "pip install torch for CUDA")
    return Check("gpu", "ok", ", ".join(names))


def folder(name: str, place: Callable[[], Path], *, least: float) -> Check:
    """Whether a folder, or the nearest one above it that exists, can be written and has `least` bytes left."""
    title, way = f"{name} folder", CACHE_FIX if name == "cache" else RUNS_FIX
    try:
        path = place()
        free = shutil.disk_usage(usable(path, way)).free
    except AutokdError as fault:
        return Check(title, "fail", fault.what, fault.fix)
    told = f"{free / _GB:.3g} GB free at {path}"
    if free < least:
        way = "AUTOKD_CACHE moves it, `autokd cache clear` empties it" if name == "cache" else way
        return Check(title, "warn", f"{told}; {least / _GB:.0f} GB are wise", way)
    return Check(title, "ok", told)


def shared_memory(path: Path, least: float = 1 * _GB) -> Check:
    """Ray keeps its objects there; in a container it is often 64 MB."""
    if not path.is_dir():
        return Check("shared memory", "ok", f"no {path} on this system")
    size = shutil.disk_usage(path).total
    if size < least:
        found = f"{path} holds {size / 1e6:.0f} MB; Ray will keep its objects on the disk"
        return Check("shared memory", "warn", found, "docker run --shm-size=2g, or mount a larger one")
    return Check("shared memory", "ok", f"{size / _GB:.1f} GB")


def open_files(limits: tuple[int, int] | None, least: int = 4096) -> Check:
    """limits: (soft, hard); Ray raises the soft one itself, as far as the hard one allows."""
    if limits is None:
        return Check("open files", "ok", "no limit on this system")
    soft, hard = limits
    if 0 <= hard < least:
        found = f"{hard} at most; Ray wants {least}, more on many cores"
        return Check("open files", "warn", found, f"ulimit -n {least}, or LimitNOFILE= of the service")
    return Check("open files", "ok", f"{soft} (up to {'any number' if hard < 0 else hard})")


def free_port(port: int) -> Check:
    if told := taken(port):
        return Check("port", "warn", f"{told}, and autokd ui would use it", "autokd ui --port N")
    return Check("port", "ok", f"{port} is free for autokd ui")


# --- what is here


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _required(name: str) -> list[str]:
    """Nothing where the package runs from its folder without having been installed."""
    return metadata.requires(name) or [] if _version(name) is not None else []


def _named(one: Requirement) -> str:
    extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
    return f"{one.name}{extras}{one.specifier}"


def _source(package: str) -> Path | None:
    found = importlib.util.find_spec(package)  # finds, and does not import
    return Path(found.origin) if found is not None and found.origin else None


def _asked_nvidia() -> tuple[bool, str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return False, ""
    words = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True)
        return True, told.stdout
    except (OSError, subprocess.SubprocessError):
        return True, ""


def _open_files() -> tuple[int, int] | None:
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)
