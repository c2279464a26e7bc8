"""What else a machine did while something was timed: other processes, and a host that took the processor away.

Only the processors that this process may use are looked at, as /proc/stat counts them; where there is no such file (another
system than Linux), the load average says how many processes wanted to run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Counted", "Surroundings", "counted"]

_OTHERS = 0.25  # of the processors that others kept busy: caches, memory and clock are shared with them
_STOLEN = 0.02  # of the processors' time, by the host of a virtual machine


@dataclass(frozen=True)
class Counted:
    """Processor seconds since the machine started, over `processors` of them: of all processes, and taken by the host."""

    processors: int
    busy: float
    stolen: float


def counted(path: Path = Path("/proc/stat")) -> Counted | None:
    """None where nothing counts it."""
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
        return Counted(found, busy, stolen) if found else None
    except (OSError, ValueError, AttributeError):
        return None


class Surroundings:
    """From its making on. read: what is counted by now. own: processor seconds of this process. clock: seconds."""

    def __init__(
        self,
        read: Callable[[], Counted | None] = counted,
        own: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.perf_counter,
        load: Callable[[], float | None] = lambda: os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    ) -> None:
        self.read, self.own, self.clock, self.load = read, own, clock, load
        self.begin = read(), own(), clock()

    def doubt(self, threads: int = 1) -> str:
        """Why what was timed since then is not to be trusted; "" where nothing speaks against it. threads: of what is timed."""
        before, worked, since = self.begin
        now, seconds = self.read(), max(self.clock() - since, 1e-9)
        if before is None or now is None or now.processors != before.processors:
            load, processors = self.load(), os.cpu_count() or 1
            waiting = 0.0 if load is None else load - threads
            return f"the load average was {load:.1f} on {processors} processors" if waiting > 2 * _OTHERS * processors else ""
        stolen = (now.stolen - before.stolen) / (seconds * now.processors)
        if stolen > _STOLEN:
            return f"the host took {100 * stolen:.0f} % of the processor time"
        others = (now.busy - before.busy - (self.own() - worked)) / seconds
        if others > _OTHERS * now.processors:
            return f"other processes kept {others:.1f} of {now.processors} processors busy"
        return ""
