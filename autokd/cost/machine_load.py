"""Load of the machine while something is timed: other processes, and CPU time taken by the host (steal).

Read from /proc/stat, for the CPUs that this process may use. Without that file (other systems than Linux) from the load average.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autokd.machine import cpus

__all__ = ["CpuTimes", "MachineLoad", "cpu_times"]

_OTHERS = 0.25  # share of the CPUs used by other processes, above which caches, memory and clock suffer
_STOLEN = 0.02  # share of the CPU time taken by the host of a virtual machine


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds since the machine started, summed over `processors` CPUs: used by all processes, and taken by the host."""

    processors: int
    busy: float
    stolen: float


def cpu_times(path: Path = Path("/proc/stat")) -> CpuTimes | None:
    """None if they cannot be read."""
    try:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        tick = os.sysconf("SC_CLK_TCK")
        busy = stolen = 0.0
        found = 0
        for line in path.read_text(encoding="ascii").splitlines():
            name, *fields = line.split()
            if name in mine:
                user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
                busy += (user + nice + system + irq + softirq) / tick
                stolen += steal / tick
                found += 1
        return CpuTimes(found, busy, stolen) if found else None
    except (OSError, ValueError, AttributeError):
        return None


class MachineLoad:
    """Measures the load from its creation on. own: CPU seconds of this process. load: the 1-minute load average."""

    def __init__(
        self,
        read: Callable[[], CpuTimes | None] = cpu_times,
        own: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.perf_counter,
        load: Callable[[], float | None] = lambda: os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    ) -> None:
        self.read, self.own, self.clock, self.load = read, own, clock, load
        self.begin = read(), own(), clock()

    def doubt(self, threads: int = 1) -> str:
        """Why a measurement since then is not trustworthy; "" if it is. threads: of the measured code."""
        before, worked, since = self.begin
        now, seconds = self.read(), max(self.clock() - since, 1e-9)
        if before is None or now is None or now.processors != before.processors:
            load, processors = self.load(), cpus()
            waiting = 0.0 if load is None else load - threads
            return f"the load average was {load:.1f} on {processors} CPUs" if waiting > 2 * _OTHERS * processors else ""
        stolen = (now.stolen - before.stolen) / (seconds * now.processors)
        if stolen > _STOLEN:
            return f"the host took {100 * stolen:.0f} % of the CPU time"
        others = (now.busy - before.busy - (self.own() - worked)) / seconds
        if others > _OTHERS * now.processors:
            return f"other processes used {others:.1f} of {now.processors} CPUs"
        return ""
