"""Process groups that are verifiably ours: found again by leader and start time, ended as a whole."""

import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil

TERM_SECONDS = 15.0
KILL_SECONDS = 5.0
_POLL = 0.05
# Start times are read with the precision of a clock tick.
_TICK = 0.05


class Group(NamedTuple):
    """A process group, by its leader's id and start time in seconds since 1970."""

    leader: int
    started: float


def group_of(leader: int) -> Group:
    """The group led by a process that was started as its leader just now."""
    return Group(leader, psutil.Process(leader).create_time())


def members(group: Group) -> list[psutil.Process]:
    """The living processes of `group`; none when its number now belongs to somebody else."""
    belonging = [process for process in psutil.process_iter() if _belongs(process, group)]
    leaders = [process for process in belonging if process.pid == group.leader]
    return [] if any(abs(_started(leader) - group.started) > _TICK for leader in leaders) else belonging


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
        return alive and _started(process) >= group.started - _TICK
    except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
        return False


def _started(process: psutil.Process) -> float:
    try:
        return process.create_time()
    except psutil.NoSuchProcess:
        return 0.0


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
