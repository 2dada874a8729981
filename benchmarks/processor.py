"""Processor time: user and system, of all threads of a process, as the kernel has counted it.

How much an order costs stays true on a busy machine, where orders a second do not: who waits for a core uses none.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping

import psutil

Used = Mapping[str, float]
"""Seconds of processor time by process."""
Meter = Callable[[], Used]
"""Reads what each process has used so far."""


def seconds(pid: int) -> float:
    """The processor time of a process so far, in seconds; 0 when it has ended.

    Linux keeps a clock of each process in nanoseconds (clock_getcpuclockid(3)); elsewhere it comes in ticks of 10 ms.
    """
    try:
        if sys.platform == "linux":
            return time.clock_gettime(_clock(pid))
        return sum(psutil.Process(pid).cpu_times()[:2])
    except (OSError, psutil.NoSuchProcess):
        return 0.0


def whole(pids: Iterable[int]) -> float:
    """The processor time of several processes together, in seconds."""
    return sum(seconds(pid) for pid in pids)


def family(pid: int) -> float:
    """The processor time of a process and all its children, also of those that have ended, in seconds.

    Such as a server that makes a process for each connection. Of the ended ones it comes in ticks of 10 ms.
    """
    try:
        process = psutil.Process(pid)
        of_ended = process.cpu_times()
        children = [child.pid for child in process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    return whole([pid, *children]) + of_ended.children_user + of_ended.children_system


def since(before: Used, now: Used) -> dict[str, float]:
    """The processor time of each between two readings, in seconds."""
    return {name: used - before.get(name, 0.0) for name, used in now.items()}


def _clock(pid: int) -> int:
    """The clock's number, as the C library makes it: CPUCLOCK_SCHED of the whole process."""
    return (~pid << 3) | 2


Spent = tuple[float, float]
"""Seconds, and seconds of processor time."""


class Stopwatch:
    """The time and the processor time of this process since it was made."""

    def __init__(self) -> None:
        self._began, self._worked = time.monotonic(), time.process_time()

    def read(self) -> Spent:
        """The sum of two readings."""
        return time.monotonic() - self._began, time.process_time() - self._worked
