"""The machine as it is granted to this process: processors, memory, a home folder, and places for what need not last.

A job may use 2 of 64 cores, run under a number that no account has, with a home folder that is missing or cannot be written.
Everyone who asks for such a thing asks here, so that `autokd doctor` tells what a search will meet.
"""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from autokd.errors import AutokdError

__all__ = ["aside", "cpus", "expanded", "home", "memory", "prepare", "socket_folder", "temporary", "usable",
           "writable"]  # fmt: skip

_ROOT = Path("/")
_SOCKET_PATH = 103  # bytes of the path of a Unix socket on macOS; Linux takes four more


def cpus(root: Path = _ROOT) -> int:
    """Processors this process may use: the fewest of those there are, its affinity and its control groups' quotas.

    A quota of 1.5 processors counts as 2, one of 0.2 as 1. root: where /proc and /sys lie.
    """
    counts = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    if hasattr(os, "process_cpu_count"):  # Python 3.13: also what PYTHON_CPU_COUNT says
        counts.append(os.process_cpu_count() or 1)
    quotas = [quota for group in _groups("cpu", root) if (quota := _quota(group)) is not None]
    counts += [int(quota + 0.5) for quota in quotas]
    return max(1, min(counts))


def memory(root: Path = _ROOT) -> int | None:
    """Bytes of main memory this process may use: what the machine has, or the least of its control groups' limits.

    None where neither is told. root: where /proc and /sys lie.
    """
    found = []
    try:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not a Unix, or one that does not tell
        pass
    for group in _groups("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):  # version 2, version 1
            told = _words(group / name)
            if told and told[0].isdecimal():
                found.append(int(told[0]))
    return min(found, default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the control groups that hold this process, its own first, then those above it; of both versions."""
    top = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        for mount in (top / names, top / controller) if names else (top, top / "unified"):
            group = mount / path.lstrip("/")
            if ".." in group.parts or not group.is_dir():  # a container sees its own group as the top one
                group = mount
            while True:
                yield group
                if group == mount:
                    break
                group = group.parent


def _quota(group: Path) -> float | None:
    """Processors that a control group may use at once; None where it sets no limit."""
    told = _words(group / "cpu.max") or [*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")]
    if len(told) != 2 or not all(word.isdecimal() for word in told) or told[1] == "0":  # "max", or -1
        return None
    return int(told[0]) / int(told[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return []


def home() -> Path | None:
    """This user's home folder; None where neither HOME nor an account names one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ~ and ~user put in. What names no home folder stays as it was written, and is then found missing."""
    return Path(os.path.expanduser(path))


def usable(folder: Path, fix: str) -> Path:
    """The folder, or the nearest one above it that exists. Raises AutokdError with this way out where it cannot be written."""
    near = _nearest(folder)
    if not os.path.isdir(near):
        raise AutokdError(f"{near} is no folder", fix=fix)
    if not os.access(near, os.W_OK | os.X_OK):
        raise AutokdError(f"{near} cannot be written", fix=fix)
    return near


def writable(folder: Path) -> bool:
    """Whether a folder, or the nearest one above it that exists, can be written."""
    try:
        usable(folder, "")
    except AutokdError:
        return False
    return True


def _nearest(folder: Path) -> Path:
    """The folder, or the first one above it that exists."""
    near = folder.absolute()
    while not os.path.lexists(near) and near != near.parent:
        near = near.parent
    return near


def temporary() -> Path:
    """The folder for temporary files, as Python chooses it. Raises AutokdError where none can be written."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as fault:
        what = "no folder for temporary files can be written: " + ", ".join(tempfile._candidate_tempdir_list())  # type: ignore
        raise AutokdError(what, fix="set TMPDIR to a folder that you can write") from fault


def aside() -> Path:
    """A folder of this user's alone among the temporary files; it is made where it is missing.

    Raises AutokdError where somebody else has put something there.
    """
    return _private(temporary())


def _private(place: Path) -> Path:
    """The folder that is this user's alone."""
    number = _user()
    folder = place / f"autokd-{number}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as fault:
        raise AutokdError(f"this folder cannot be made: {fault.strerror}", where=str(folder), fix=_ANOTHER) from fault
    if not stat.S_ISDIR(found.st_mode):
        raise AutokdError("this is no folder", where=str(folder), fix=f"delete it, or {_ANOTHER}")
    if hasattr(os, "geteuid") and found.st_uid != number:
        raise AutokdError("this folder belongs to another user", where=str(folder), fix=_ANOTHER)
    if hasattr(os, "geteuid") and found.st_mode & 0o022:
        raise AutokdError("others can write this folder", where=str(folder), fix=f"chmod 700 {folder}")
    return folder


_ANOTHER = "set TMPDIR to a folder of your own"


def _user() -> int | str:
    return os.geteuid() if hasattr(os, "geteuid") else getpass.getuser()


def socket_folder(name: str, below: int) -> Path:
    """A folder of this user's alone with a path short enough for Unix sockets in it; it is made where it is missing.

    below: bytes of the longest socket's path below the folder. The folder for temporary files is preferred. Raises AutokdError
    where no place is short enough and can be written.
    """
    faults = []
    for place in dict.fromkeys([temporary(), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]):
        folder = place / f"autokd-{_user()}" / name
        if len(os.fsencode(folder)) + 1 + below > _SOCKET_PATH:
            faults.append(f"{place}: its path is too long for a Unix socket")
            continue
        if not (os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)):
            faults.append(f"{place}: it cannot be written")
            continue
        try:
            folder = _private(place) / name
            folder.mkdir(exist_ok=True)
            return folder
        except (AutokdError, OSError) as fault:
            faults.append(f"{place}: {fault.what if isinstance(fault, AutokdError) else fault.strerror}")
    most = _SOCKET_PATH - below - len(f"/autokd-{_user()}/{name}") - 1
    fix = f"set TMPDIR to a folder that you can write and whose path has at most {most} bytes"
    raise AutokdError("no folder for sockets: " + "; ".join(faults), fix=fix)


@lru_cache(maxsize=1)
def prepare() -> tuple[str, ...]:
    """Set up what libraries take for granted, in this process and those it starts, once: a user name, a home, caches.

    Returns what a person should know, a sentence each. Raises AutokdError where no folder for temporary files can be written.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):  # a number without an account
        os.environ["LOGNAME"] = f"uid{_user()}"
    return (*_temporary_files(), *_home_folder())


def _temporary_files() -> list[str]:
    asked, chosen = os.environ.get("TMPDIR"), temporary()
    if not asked or (os.path.isdir(asked) and os.path.samefile(asked, chosen)):
        return []
    os.environ["TMPDIR"] = str(chosen)
    why = "cannot be written" if os.path.isdir(asked) else "is no folder"
    return [f"TMPDIR={asked} {why}: temporary files go to {chosen}"]


_WRITTEN = {  # by libraries: the variable that moves it, where it lies below the home folder, and where below another
    "XDG_CACHE_HOME": (".cache", ".cache"),  # weights of torchvision and timm
    "MPLCONFIGDIR": (".config/matplotlib", ".config/matplotlib"),
    "TRITON_HOME": (".triton", "."),
}


def _home_folder() -> list[str]:
    own, named = home(), os.environ.get("AUTOKD_CACHE")
    why, moved = _unwritable(own), {}
    missing = own is None or (bool(why) and not os.path.isdir(own))
    if own is not None and not missing:
        for variable, (name, other) in _WRITTEN.items():
            if not writable(own / name) and not os.path.isdir(own / name):  # what is there may be read
                moved[variable] = other
    if not (missing or moved or why):
        return []
    place = expanded(named).absolute() if named and writable(expanded(named)) else aside()
    if missing:
        os.environ["HOME"] = str(place)
    for variable, other in moved.items():
        os.environ.setdefault(variable, str(place / other))
    if not why or named:
        return []
    return [f"{why}: caches go to {place}, which a restart may empty; AUTOKD_CACHE names another place"]


def _unwritable(own: Path | None) -> str:
    """Why autokd's cache cannot lie in the home folder; empty where it can."""
    if own is None:
        return "there is no home folder"
    try:
        usable(own / ".cache/autokd", "")
    except AutokdError as fault:
        return fault.what
    return ""
