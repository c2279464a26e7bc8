"""What a search needs of the machine beside processors, looked at before anything costs time. `autokd doctor` asks the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autokd.files import cache_root
from autokd.machine import prepare, socket_folder, usable

__all__ = ["CACHE_FIX", "RUNS_FIX", "granted", "ray_folder"]

RUNS_FIX = "name another folder with --runs"
CACHE_FIX = "set AUTOKD_CACHE to a folder that you can write"
_SOCKETS = len("session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")  # the longest path below Ray's folder


def granted(tell: Callable[[str], None], runs: Path, *, ray: bool = False) -> None:
    """Set up what is missing and tell it; raises AutokdError where nothing can stand in for it.

    runs: what will be written into. ray: whether a Ray of this machine's own is started.
    """
    for text in prepare():
        tell(text)
    usable(runs, RUNS_FIX)
    usable(cache_root(), CACHE_FIX)
    if ray:
        ray_folder()


def ray_folder() -> Path:
    """Where a Ray of our own keeps its sockets and logs. Raises AutokdError where no place will do."""
    return socket_folder("ray", _SOCKETS)
