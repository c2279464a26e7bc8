"""The machines of a Ray cluster: how many trials they hold, and whether all of them see the folder of the run.

Trials write their checkpoints into the run folder and the search reads them there, so that a trial whose machine is lost goes
on elsewhere. A machine that does not see the folder would train and lose what it trained, so it is looked for first.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError
from autokd.files import write_text

__all__ = ["Nodes", "places"]

_PATIENCE = 120.0  # seconds for a machine to look: its first process may have to start
_DELAY = 5.0  # seconds after which a network's file system shows what another machine wrote


def places(nodes: Sequence[Mapping[str, float]], *, cpus: float, gpus: float = 0.0, workers: int = 1) -> int:
    """How many trials run at once on machines that have so much `CPU` and `GPU` each.

    cpus: of one worker; gpus: of one trial, a share below one or one for each worker. A worker stands on one machine; those of
    a trial may stand on several.
    """
    held = 0
    for node in nodes:
        fits = int(node.get("CPU", 0.0) / cpus + 1e-9)
        if gpus:
            each, there = gpus / workers, int(node.get("GPU", 0.0) + 1e-9)
            fits = min(fits, there * int(1 / each + 1e-9) if each < 1 else int(there / each + 1e-9))
        held += fits
    return held // workers


class Nodes:
    """The machines as they come and go, and what each answered."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.waiting: dict[Any, str] = {}  # what Ray promised: the machine's address
        self.blind: dict[str, str] = {}  # a machine that does not see the folder: why
        self.folder: Path | None = None
        self.sign: Path | None = None

    def alive(self) -> list[dict[str, Any]]:
        """What Ray tells of each machine that it holds for alive."""
        import ray

        return [node for node in ray.nodes() if node["Alive"]]

    def reach(self, folder: str | os.PathLike[str]) -> None:
        """Have every machine look for the folder. Raises AutokdError with the machines that do not see it."""
        self.folder = Path(folder).resolve()
        self.asked.clear()
        self._ask()
        until = time.monotonic() + _PATIENCE
        while self.waiting and time.monotonic() < until:
            self._hear(0.5)
        self._complain()

    def look(self) -> None:
        """Without waiting: ask the machines that are new, hear those that have answered. Raises AutokdError as `reach`."""
        if self.folder is not None:
            self._ask()
            self._hear(0.0)
            self._complain()

    def close(self) -> None:
        self.waiting.clear()
        if self.sign is not None:
            self.sign.unlink(missing_ok=True)
            self.sign = None

    def _ask(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        assert self.folder is not None
        self.asked.add(ray.get_runtime_context().get_node_id())  # the search's own
        new = [node for node in self.alive() if node["NodeID"] not in self.asked]
        if not new:
            return
        if self.sign is None or self.sign.parent != self.folder:
            self.close()
            self.folder.mkdir(parents=True, exist_ok=True)
            self.sign = self.folder / f".here-{secrets.token_hex(4)}"
            write_text(self.sign, self.sign.name)
        task = ray.remote(num_cpus=0, max_retries=0)(_look)
        for node in new:
            self.asked.add(node["NodeID"])
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            self.waiting[task.options(scheduling_strategy=there).remote(str(self.sign))] = node["NodeManagerAddress"]

    def _hear(self, seconds: float) -> None:
        import ray

        if not self.waiting:
            return
        ready, _ = ray.wait(list(self.waiting), num_returns=len(self.waiting), timeout=seconds)
        for one in ready:
            address = self.waiting.pop(one)
            try:
                name, fault, left = ray.get(one)
            except ray.exceptions.RayTaskError as raised:  # it could not even import autokd
                self.blind[address] = str(raised.cause or raised).splitlines()[-1]
                continue
            except ray.exceptions.RayError:
                continue  # lost before it answered
            mine = self.sign.parent / left if self.sign is not None and left else None
            if not fault and (mine is None or not _appears(mine)):
                fault = "what it writes does not arrive"
            if mine is not None:
                mine.unlink(missing_ok=True)
            if fault:
                self.blind[f"{name} ({address})"] = fault

    def _complain(self) -> None:
        if not self.blind:
            return
        told = "; ".join(f"{name}: {fault}" for name, fault in self.blind.items())
        raise AutokdError(
            f"not every machine of the cluster can use the run folder: {told}",
            where=str(self.folder),
            fix="put the runs on storage that all machines share, under the same path (--runs); docs/cluster.md shows how",
        )


def _look(sign: str) -> tuple[str, str, str]:
    """On another machine. Returns its name, what is wrong ("" where nothing is), and the name of the file it left."""
    here, left = Path(sign), f"{Path(sign).name}-{secrets.token_hex(4)}"
    name = socket.gethostname()
    if not _appears(here):
        return name, "it does not see the folder", ""
    try:
        write_text(here.parent / left, name)
    except OSError as fault:
        return name, f"it cannot write there ({fault.strerror})", ""
    return name, "", left


def _appears(path: Path) -> bool:
    until = time.monotonic() + _DELAY
    while True:
        try:
            path.read_bytes()
            return True
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
