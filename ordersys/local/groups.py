"""Process groups that are verifiably ours: found again by leader and start time, ended as a whole."""

import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil

TERM_SECONDS = 15.0
KILL_SECONDS = 5.0
_POLL = 0.05
# Start times are read with the precision of a clock tick.
_TICK = 0.05
_START_FIELD = 19  # behind the name of the program in /proc/PID/stat: "starttime" of proc(5)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Group(NamedTuple):
    """A process group, by its leader's id and start, as `started` tells it."""

    leader: int
    started: float


def started(pid: int) -> float:
    """The seconds from the start of this machine to that of a process: a time since 1970 changes as the clock is set.

    Raises psutil.NoSuchProcess.
    """
    if not psutil.LINUX:
        return psutil.Process(pid).create_time() - psutil.boot_time()
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")


def is_the_same(pid: int, since: float) -> bool:
    """True where the process with this id is the one that was `started` then: numbers are used again."""
    try:
        return abs(started(pid) - since) <= _TICK
    except psutil.NoSuchProcess:
        return False


@cache
def boot() -> str:
    """An id of this start of the machine, without blanks; a dash where the system tells none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "-"


def group_of(leader: int) -> Group:
    """The group led by a process that was started as its leader just now."""
    return Group(leader, started(leader))


def members(group: Group) -> list[psutil.Process]:
    """The living processes of `group`; none when its number now belongs to somebody else."""
    belonging = [process for process in psutil.process_iter() if _belongs(process, group)]
    leaders = [process for process in belonging if process.pid == group.leader]
    return belonging if all(is_the_same(leader.pid, group.started) for leader in leaders) else []


def end(groups: Iterable[Group], term_seconds: float = TERM_SECONDS) -> None:
    """Ends `groups`: SIGTERM, that many seconds, then SIGKILL. Returns when no process is left of them."""
    wait(ending(groups, term_seconds))


def ending(groups: Iterable[Group], term_seconds: float = TERM_SECONDS) -> Iterator[None]:
    """As `end`, for whoever has more to do meanwhile: yields while there is something to wait for."""
    known = list(groups)
    send(known, signal.SIGTERM)
    yield from going(known, term_seconds)
    if _live(known):
        kill(known)


def wait(steps: Iterator[None]) -> None:
    """Takes all steps, with a pause between them."""
    for _ in steps:
        time.sleep(_POLL)


def kill(groups: Iterable[Group]) -> None:
    """Kills `groups`, each with one signal: of processes that are killed one by one some fork meanwhile.

    Returns when none is left.
    """
    known = list(groups)
    for group in known:
        if members(group):
            with suppress(ProcessLookupError, PermissionError):  # gone; none of it is ours
                os.killpg(group.leader, signal.SIGKILL)
    wait(going(known, KILL_SECONDS))


def send(groups: Iterable[Group], number: signal.Signals) -> None:
    """Signals every process of `groups`."""
    for group in groups:
        for process in members(group):
            _signal(process, number)


def going(groups: Collection[Group], seconds: float) -> Iterator[None]:
    """Yields while some of `groups` live, for that long at most."""
    until = time.monotonic() + seconds
    while _live(groups) and time.monotonic() <= until:
        yield


def _live(groups: Iterable[Group]) -> bool:
    return any(members(group) for group in groups)


def _belongs(process: psutil.Process, group: Group) -> bool:
    try:
        same = os.getpgid(process.pid) == group.leader
        alive = same and process.status() != psutil.STATUS_ZOMBIE
        return alive and started(process.pid) >= group.started - _TICK
    except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
